"""The gate: may this request leave, now? Pure and total; every "no" is told, each with its reason and its place.

Any one "no" wins and anything unclear is a "no". A grant comes from one place, the administrator's consent file; every other
input can only narrow. Evaluate asks before collecting and before sealing; courier and fetch ask again, from their own
reading, immediately before sending.

For a consent-based purpose, a permit takes all of: the file is good, says yes to this purpose and to the installed notice
· no policy and no opt-out objects · not offline · the ledger is good, the machine no clone · the fields are declared · hold
and review are over · the destination is the root's, in an allowed region. For the others: what their row says, never
offline, declared fields, destination. A purpose that has no row is denied.

A *signal* is an opt-out that was found somewhere: existence is enough, its absence never grants anything.
"""

from dataclasses import dataclass, field
from enum import StrEnum, unique

from opanel_agent.core.consent_file import ConsentReading
from opanel_agent.core.purposes import FIXED, TERMS, Governor, Purpose, Terms, UnderDoNotTrack
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
    """The request in question.

    `fields` is None when the body could not be read; `offending` are those that the catalog objects to, by name, type or
    value. `waited_s` is how long a report has lain ready, `reviewed` whether somebody released it.
    """

    method: str
    url: str
    fields: frozenset[str] | None = frozenset()
    offending: tuple[str, ...] = ()
    waited_s: int = 0
    reviewed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything a decision rests on, read afresh for it.

    `destinations` are base URLs that the root or the settings name for this purpose in an allowed region; `elsewhere`
    those that the root names in other regions. `asked` is None while nothing is collected yet. `commanded` is true only
    for the run that an administrator's command started. `ledger` says what is wrong with the ledger, `clone` that this
    machine is another than the one whose administrator answered; the courier knows neither, and they only narrow.
    """

    signals: Signals
    standing: Standing
    destinations: tuple[str, ...]
    elsewhere: tuple[str, ...] = ()
    asked: Asked | None = None
    commanded: bool = False
    consent: ConsentReading = field(default_factory=ConsentReading)
    installed_notice: str = ""
    ledger: str | None = None
    clone: bool = False


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
        *_governor(known, terms, snapshot),
        *_proof(terms, snapshot),
        *_waiting(known, terms, snapshot),
        *_destination(known, terms, snapshot),
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
    consent = snapshot.consent
    said = [_ground(Reason.OPT_OUT, signal) for signal in snapshot.signals.do_not_track]
    if consent.file is not None and consent.file.do_not_track:
        said.append(Ground(reason=Reason.OPT_OUT, place="do_not_track in consent.toml"))
    said += [
        Ground(reason=Reason.OPT_OUT, place=f"do_not_track in {policy.place}")
        for policy in consent.policies
        if policy.do_not_track
    ]
    return tuple(said)


def _governor(purpose: Purpose, terms: Terms, snapshot: Snapshot) -> tuple[Ground, ...]:
    if terms.governor is Governor.CONSENT:
        return (*_settings(snapshot), *_answer(purpose, snapshot), *_policies(purpose, snapshot))
    standing = snapshot.standing
    if standing.refused is not None:
        return _settings(snapshot)
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


def _settings(snapshot: Snapshot) -> tuple[Ground, ...]:
    refused = snapshot.standing.refused
    return () if refused is None else (Ground(reason=Reason.SETTINGS_REFUSED, place=refused),)


def _answer(purpose: Purpose, snapshot: Snapshot) -> tuple[Ground, ...]:
    """The administrator's own word, in the one file that can grant."""
    consent = snapshot.consent
    if consent.refused is not None:
        line = consent.refused.values.get("line")
        place = str(consent.refused.values.get("file", "consent.toml"))
        return (Ground(reason=Reason.CONSENT_REFUSED, place=place, line=line if isinstance(line, int) else None),)
    choice = None if consent.file is None else consent.file.purposes.get(purpose)
    if consent.file is None or choice is None:
        return (Ground(reason=Reason.NOT_ASKED, place="consent.toml"),)
    if not choice.allow:
        return (Ground(reason=Reason.DENIED_BY_FILE, place="consent.toml"),)
    if consent.file.notice != snapshot.installed_notice:
        return (Ground(reason=Reason.NOTICE_CHANGED, place=f"notice {snapshot.installed_notice}"),)
    return ()


def _policies(purpose: Purpose, snapshot: Snapshot) -> tuple[Ground, ...]:
    return tuple(
        Ground(reason=Reason.POLICY, place=policy.place)
        for policy in snapshot.consent.policies
        if purpose in policy.denied
    )


def _proof(terms: Terms, snapshot: Snapshot) -> tuple[Ground, ...]:
    """What cannot be proven later, or was answered for another machine, does not leave."""
    if terms.governor is not Governor.CONSENT:
        return ()
    grounds = [] if snapshot.ledger is None else [Ground(reason=Reason.LEDGER, place=snapshot.ledger)]
    if snapshot.clone:
        grounds.append(Ground(reason=Reason.CLONE, place="machine identity"))
    return tuple(grounds)


def _waiting(purpose: Purpose, terms: Terms, snapshot: Snapshot) -> tuple[Ground, ...]:
    asked = snapshot.asked
    if asked is None or terms.governor is not Governor.CONSENT or asked.reviewed:
        return ()
    if snapshot.consent.review(purpose):
        return (Ground(reason=Reason.REVIEW_PENDING, place="review in consent.toml"),)
    if asked.waited_s < snapshot.consent.hold_s(purpose):
        return (Ground(reason=Reason.HELD, place="hold in consent.toml"),)
    return ()


def _destination(purpose: Purpose, terms: Terms, snapshot: Snapshot) -> tuple[Ground, ...]:
    asked = snapshot.asked
    if asked is None:
        return ()
    base, path = _base_and_path(asked.url, terms.paths)
    if path is None or asked.method != ("GET" if purpose in FIXED else "POST"):
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
    undeclared = frozenset() if terms.governor is Governor.CONSENT else fields - terms.fields
    names = sorted(undeclared | frozenset(snapshot.asked.offending))
    return tuple(Ground(reason=Reason.FIELD_UNDECLARED, place=name) for name in names)


def _ground(reason: Reason, signal: Signal) -> Ground:
    return Ground(reason=reason, place=f"{signal.what} in {signal.place}", line=signal.line)
