"""Draws random numbers, behind a Protocol so that a simulation can draw the same numbers twice."""

import secrets
from random import SystemRandom
from typing import Protocol


class RandomSource(Protocol):
    """Draws random numbers. Tests replace it."""

    def token_bytes(self, count: int) -> bytes:
        """`count` unpredictable octets, fit for keys and salts."""
        ...

    def random(self) -> float:
        """A number in [0, 1), for times that nobody should be able to foresee."""
        ...


class OsRandom:
    """The kernel's own."""

    def token_bytes(self, count: int) -> bytes:
        """Returns `count` random bytes of the kernel's (getrandom(2))."""
        return secrets.token_bytes(count)

    def random(self) -> float:
        """Returns a random float in [0, 1)."""
        return SystemRandom().random()
