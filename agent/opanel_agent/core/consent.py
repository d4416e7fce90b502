"""The gate: may this request leave, now? Pure and total; every "no" is told, each with its reason and its place.

Any one "no" wins and anything unclear is a "no". Evaluate asks before collecting and before sealing; courier and fetch ask
again, from their own reading, immediately before sending. The rows for consent-based purposes join with the promise; a
purpose that has no row is denied.

A *signal* is an opt-out that was found somewhere: existence is enough, its absence never grants anything.
"""

from dataclasses import dataclass
from enum import StrEnum, unique

from opanel_agent.core.purposes import TERMS, Governor, Purpose, Terms, UnderDoNotTrack
from opanel_agent.core.reasons import Reason


@unique
class SignalKind(StrEnum):
    """Where an opt-out can be said."""

    FILE = "file"
    ENVIRONMENT = "environment"
    SETTING = "setting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """An opt-out found: `what` is the file or the assignment, `place` where it stands, `line` counted from 1."""

    kind: SignalKind
    what: str
    place: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    do_not_track: tuple[Signal, ...] = ()
    offline: tuple[Signal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the settings say of the license purposes. `refused` is the code's detail when the file is refused whole."""

    check: bool = True
    renew: bool = True
    advisories: bool = True
    refused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The request in question. `fields` is None when the body could not be read."""

    method: str
    url: str
    fields: frozenset[str] | None = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything a decision rests on, read afresh for it.

    `destinations` are base URLs that the root or the settings name for this purpose in an allowed region; `elsewhere`
    those that the root names in other regions. `asked` is None while nothing is collected yet. `commanded` is true only
    for the run that an administrator's command started.
    """

    signals: Signals
    standing: Standing
    destinations: tuple[str, ...]
    elsewhere: tuple[str, ...] = ()
    asked: Asked | None = None
    commanded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """One reason to deny, and the place that it came from."""

    reason: Reason
    place: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    purpose: Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """`to_file`: the command may still write the request to a file, to be carried by other ways."""

    grounds: tuple[Ground, ...]
    to_file: bool = False


def decide(purpose: str, snapshot: Snapshot) -> Permit | Denial:
    """Permit iff no row of the table objects."""
    known = _known(purpose)
    if known is None:
        return Denial(grounds=(Ground(reason=Reason.INTERNAL, place=f"purpose {purpose}"),))
    terms = TERMS[known]
    grounds = (
        *_offline(snapshot),
        *_opt_outs(terms, snapshot),
        *_governor(terms, snapshot),
        *_destination(terms, snapshot),
        *_fields(terms, snapshot),
    )
    if not grounds:
        return Permit(purpose=known)
    carried = all(ground.reason in _CARRIED for ground in grounds)
    return Denial(grounds=grounds, to_file=carried and terms.under_do_not_track is UnderDoNotTrack.TO_FILE)


# The signals under which an administrator's own command writes its request to a file instead of failing.
_CARRIED = frozenset({Reason.OFFLINE, Reason.OPT_OUT})


def _known(purpose: str) -> Purpose | None:
    return next((known for known in TERMS if known.value == purpose), None)


def _offline(snapshot: Snapshot) -> tuple[Ground, ...]:
    return tuple(_ground(Reason.OFFLINE, signal) for signal in snapshot.signals.offline)


def _opt_outs(terms: Terms, snapshot: Snapshot) -> tuple[Ground, ...]:
    if terms.under_do_not_track is UnderDoNotTrack.GOES_ON:
        return ()
    return tuple(_ground(Reason.OPT_OUT, signal) for signal in snapshot.signals.do_not_track)


def _governor(terms: Terms, snapshot: Snapshot) -> tuple[Ground, ...]:
    standing = snapshot.standing
    if standing.refused is not None:
        return (Ground(reason=Reason.SETTINGS_REFUSED, place=standing.refused),)
    says_yes = {
        Governor.CHECK_SETTING: standing.check,
        Governor.RENEW_SETTING: standing.renew,
        Governor.ADVISORIES_SETTING: standing.advisories,
        Governor.COMMAND: snapshot.commanded,
    }[terms.governor]
    if says_yes:
        return ()
    reason = Reason.NOT_ASKED if terms.governor is Governor.COMMAND else Reason.DENIED_BY_FILE
    return (Ground(reason=reason, place=terms.governor.value),)


def _destination(terms: Terms, snapshot: Snapshot) -> tuple[Ground, ...]:
    asked = snapshot.asked
    if asked is None:
        return ()
    base, path = _base_and_path(asked.url, terms.paths)
    if path is None or asked.method != ("POST" if terms.fields else "GET"):
        return (Ground(reason=Reason.DESTINATION, place=asked.url),)
    if base in snapshot.destinations:
        return ()
    wrong_region = base in snapshot.elsewhere
    return (Ground(reason=Reason.REGION if wrong_region else Reason.DESTINATION, place=asked.url),)


def _base_and_path(url: str, paths: frozenset[str]) -> tuple[str, str | None]:
    """The URL parted into a base, as the root writes it, and one of the purpose's paths."""
    for path in paths:
        if url.endswith(path):
            return url.removesuffix(path), path
    return url, None


def _fields(terms: Terms, snapshot: Snapshot) -> tuple[Ground, ...]:
    if snapshot.asked is None:
        return ()
    fields = snapshot.asked.fields
    if fields is None:
        return (Ground(reason=Reason.FIELD_UNDECLARED, place="body"),)
    return tuple(Ground(reason=Reason.FIELD_UNDECLARED, place=name) for name in sorted(fields - terms.fields))


def _ground(reason: Reason, signal: Signal) -> Ground:
    return Ground(reason=reason, place=f"{signal.what} in {signal.place}", line=signal.line)
