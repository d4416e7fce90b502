"""When a newer edition of the installed license is asked for, and which answer is one.

Theory of operation. From the moment when 30 % of the license's term are left,
one request on each day (UTC days of effective time), at a time drawn anew,
until a newer edition is here; the first one at a time drawn within the day
after that moment, so that licenses that were sold together are not asked about
together. The draw is made once for each license and kept, also while its moment
is a year away. `renew_soon` (verdict) begins later, at a quarter of the term or
30 days: whoever reads it knows that asking has not helped.

An installation that cannot prove itself does not ask: without the activation
that its license requires, on a machine that does not match it, without its key,
or while the status list says that license, activation or reseller are not good.
The answer is known then, and the list tells when it changes.

Pure: `now` is effective time, `draw` in [0, 1). Not here: whether it may leave
(the gate), and who keeps the plan.
"""

from typing import Final

from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.license import License
from opanel_agent.core.errors import NotYet, Untrusted
from opanel_agent.core.license.schedule import AHEAD_MAX_S, RETRY_AFTER_MAX_S
from opanel_agent.core.license.verdict import SKEW_S
from opanel_agent.core.units import DAY_S
from opanel_agent.core.values import frozen, replace

LEFT_PERCENT: Final = 30


@frozen
class Plan:
    """Holds when to ask next for a renewal of the license with the digest `license`, and how the last request ended.

    `asked_at` is None before the first. `failure` is the code of what kept it
    from bringing a newer edition; None also where the license at hand is what
    it brought.
    """

    license: str
    next_s: int
    asked_at: int | None = None
    failure: str | None = None


def begins_s(nbf: int, exp: int) -> int:
    """Returns the time from which a license may be renewed: 30 % of its term are left."""
    return exp - (exp - nbf) * LEFT_PERCENT // 100


def wanted(held: Bundle | None, *, kid: str | None, matches: bool, bad: bool) -> bool:
    """Tells whether this installation asks at all.

    `kid`: of its key. `matches`: this machine. `bad`: what the list says.
    """
    if held is None or bad:
        return False
    if held.activation is None:
        return not held.license.activation.required
    return matches and held.activation.jkt == kid


def plan(kept: Plan | None, license_: License, now: int, draw: float) -> Plan:
    """Returns the plan that holds for this license: the one that was kept for it, or the first."""
    starts_s = max(now, begins_s(license_.nbf, license_.exp))
    left_s = license_.exp - starts_s
    first_s = starts_s + int(draw * (min(DAY_S, left_s // 2) if left_s > 0 else DAY_S))
    if kept is None or kept.license != license_.digest:
        return Plan(license=license_.digest, next_s=first_s)
    if kept.next_s - starts_s > AHEAD_MAX_S:  # effective time went back, as when the root drops a key
        return replace(kept, next_s=first_s)
    return kept


def due(planned: Plan, now: int) -> bool:
    return planned.next_s <= now


def asked_today(attempted_s: int | None, now: int) -> bool:
    """Tells whether the last attempt was made today, whatever the plan remembers of it.

    A crash may have come in between.
    """
    return attempted_s is not None and attempted_s // DAY_S == now // DAY_S


def tomorrow(planned: Plan, now: int, draw: float, *, retry_after_s: int | None = None) -> Plan:
    """Returns the plan for the next day, later where a server asked for it, by 24 h at most."""
    held_s = now + min(retry_after_s or 0, RETRY_AFTER_MAX_S)
    return replace(planned, next_s=max(held_s, (now // DAY_S + 1) * DAY_S + int(draw * DAY_S)))


def require_renewal(old: License, new: License, now: int) -> None:
    """Raises where `new` is no newer edition of `old`: Untrusted for another license, NotYet for one whose time will come.

    An edition that begins later is not taken up before: the license at hand is
    good until then.
    """
    if (new.sub, new.slot, new.status) != (old.sub, old.slot, old.status):
        raise Untrusted(Reason.PRODUCT_MISMATCH, "renewal_other_license")
    if new.iat <= old.iat:
        raise NotYet(Fault.NOT_YET, "renewal_not_newer")
    if max(new.nbf, new.iat) - SKEW_S > now:
        raise NotYet(Fault.NOT_YET, "renewal_not_begun")
