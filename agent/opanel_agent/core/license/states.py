"""The nine license states: what each permits, and the one thing to do about each reason; and what may lead to one.

Words and two tables, light enough for whoever only shows an answer. Which state
holds is decided in `verdict`. Always permitted, in every state: `run` (sites,
mail, DNS, cron, certificates, backup, restore, export, delete, disable,
passwords, security updates, administrator login). license-format.md, "States".
"""

from collections.abc import Mapping
from enum import StrEnum, unique
from types import MappingProxyType
from typing import Final, NamedTuple

from opanel_agent.core.codes import Reason
from opanel_agent.core.values import frozen


@unique
class State(StrEnum):
    """What the panel is told, in the order of evaluation."""

    UNLICENSED = "unlicensed"
    REVOKED = "revoked"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    WRONG_MACHINE = "wrong_machine"
    NOT_ACTIVATED = "not_activated"
    GRACE = "grace"
    ACTIVE = "active"


@unique
class Action(StrEnum):
    """The one thing to do next."""

    NONE = "none"
    INSTALL_LICENSE = "install_license"
    ACTIVATE = "activate"
    RENEW = "renew"
    CONTACT_RESELLER = "contact_reseller"
    CHECK_NETWORK = "check_network"
    CHECK_CLOCK = "check_clock"
    WAIT = "wait"
    MOVE_BACK_OR_RELEASE = "move_back_or_release"
    REINSTALL_BUNDLE = "reinstall_bundle"
    UPDATE_AGENT = "update_agent"
    CHECK_STORAGE = "check_storage"


class Permits(NamedTuple):
    """`run` is everything that keeps sites, mail, backups and exports going: true in every state."""

    run: bool = True
    change: bool = False
    create: bool = False
    paid_features: bool = False


_RUN: Final = Permits()
_CHANGE: Final = Permits(change=True)
EVERYTHING: Final = Permits(change=True, create=True, paid_features=True)

PERMITS: Final[Mapping[State, Permits]] = MappingProxyType(
    {
        State.UNLICENSED: _RUN,
        State.REVOKED: _RUN,
        State.NOT_YET_VALID: _RUN,
        State.EXPIRED: _CHANGE,
        State.SUSPENDED: _CHANGE,
        State.WRONG_MACHINE: _CHANGE,
        State.NOT_ACTIVATED: _CHANGE,
        State.GRACE: EVERYTHING,
        State.ACTIVE: EVERYTHING,
    }
)

ACTIONS: Final[Mapping[Reason, Action]] = MappingProxyType(
    {
        Reason.NO_LICENSE: Action.INSTALL_LICENSE,
        Reason.REVOKED: Action.CONTACT_RESELLER,
        Reason.SUSPENDED: Action.CONTACT_RESELLER,
        Reason.RESELLER_REVOKED: Action.CONTACT_RESELLER,
        Reason.NOT_YET_VALID: Action.WAIT,
        Reason.CLOCK_SUSPECT: Action.CHECK_CLOCK,
        Reason.EXPIRED: Action.RENEW,
        Reason.RENEW_SOON: Action.RENEW,
        Reason.STATUS_STALE: Action.CHECK_NETWORK,
        Reason.STATUS_UNAVAILABLE: Action.CHECK_NETWORK,
        Reason.UNREACHABLE_DNS: Action.CHECK_NETWORK,
        Reason.UNREACHABLE_TCP: Action.CHECK_NETWORK,
        Reason.TLS_UNTRUSTED: Action.CHECK_NETWORK,
        Reason.PROXY_ERROR: Action.CHECK_NETWORK,
        Reason.SERVER_ERROR: Action.CHECK_NETWORK,
        Reason.CAPTIVE_PORTAL: Action.CHECK_NETWORK,
        Reason.MACHINE_MISMATCH: Action.MOVE_BACK_OR_RELEASE,
        Reason.SUPERSEDED: Action.MOVE_BACK_OR_RELEASE,
        Reason.ACTIVATION_DUE: Action.ACTIVATE,
        Reason.SIGNATURE_INVALID: Action.REINSTALL_BUNDLE,
        Reason.CHAIN_INVALID: Action.REINSTALL_BUNDLE,
        Reason.FORMAT_INVALID: Action.REINSTALL_BUNDLE,
        Reason.PRODUCT_MISMATCH: Action.REINSTALL_BUNDLE,
        Reason.ROOT_OLD: Action.UPDATE_AGENT,
        Reason.STATE_UNREADABLE: Action.CHECK_STORAGE,
    }
)


@frozen
class UnreadPart:
    """Holds a part of the machine that could not be read, the file and the errno (`EIO`) as far as they are known."""

    part: str
    file: str | None
    errno: str | None


@frozen
class Undecided:
    """Holds from when on the parts do not tell whether this is the activated server, and when grace begins and ends.

    Effective seconds.
    """

    since: int
    grace: int
    until: int
