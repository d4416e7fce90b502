"""Randomness, behind a Protocol so that a simulation can draw the same numbers twice."""

import secrets
from random import SystemRandom
from typing import Protocol


class Chance(Protocol):
    def octets(self, count: int) -> bytes:
        """`count` unpredictable octets, fit for keys and salts."""
        ...

    def fraction(self) -> float:
        """A number in [0, 1), for times that nobody should be able to foresee."""
        ...


class SystemChance:
    """The kernel's own."""

    def octets(self, count: int) -> bytes:
        return secrets.token_bytes(count)

    def fraction(self) -> float:
        return SystemRandom().random()
