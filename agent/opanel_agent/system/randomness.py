"""Draws random numbers, behind a Protocol so that a simulation can draw the same numbers twice."""

import os
from typing import Final, Protocol

_FLOAT_BITS: Final = 53  # of a float's mantissa, as `random.SystemRandom` draws them


class RandomSource(Protocol):
    """Draws random numbers. Tests replace it."""

    def token_bytes(self, count: int) -> bytes:
        """Returns `count` unpredictable octets, fit for keys and salts."""
        ...

    def random(self) -> float:
        """Returns a number in [0, 1), for times that nobody should be able to foresee."""
        ...


class OsRandom:
    """The kernel's own."""

    def token_bytes(self, count: int) -> bytes:
        """Returns `count` random bytes of the kernel's (getrandom(2))."""
        return os.urandom(count)

    def random(self) -> float:
        """Returns a random float in [0, 1)."""
        return (int.from_bytes(os.urandom(7)) >> 56 - _FLOAT_BITS) * 2.0**-_FLOAT_BITS
