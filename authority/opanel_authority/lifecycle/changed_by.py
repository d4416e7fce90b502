"""Who changes something, for the change log and for what he may reach."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedBy:
    """Who changes something, and why. `delegation` is the reseller whose licenses alone he may reach; None is the vendor."""

    actor: str = "command"
    reason: str | None = None
    delegation: int | None = None
