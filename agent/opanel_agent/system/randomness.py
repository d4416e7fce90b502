"""Randomness, behind a Protocol so that a simulation can draw the same numbers twice."""

import secrets
from random import SystemRandom
from typing import Protocol


class RandomSource(Protocol):
    def token_bytes(self, count: int) -> bytes:
        """`count` unpredictable octets, fit for keys and salts."""
        ...

    def random(self) -> float:
        """A number in [0, 1), for times that nobody should be able to foresee."""
        ...


class OsRandom:
    """The kernel's own."""

    def token_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)

    def random(self) -> float:
        return SystemRandom().random()
