"""Measures how much time one request has left."""

import time
from collections.abc import Callable


class Deadline:
    """A moment on the monotonic clock by which a request has to be over."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Ends `seconds` from now."""
        self._clock = clock
        self._ends_at = clock() + seconds

    def left(self, at_most_s: float) -> float:
        """Returns the seconds left, at most `at_most_s`. Raises TimeoutError where there are none."""
        left_s = min(self._ends_at - self._clock(), at_most_s)
        if left_s <= 0:
            raise TimeoutError
        return left_s
