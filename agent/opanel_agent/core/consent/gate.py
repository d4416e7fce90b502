"""The gate: may this request leave, now? Pure and total; every "no" is told, each with its reason and its place.

Any one "no" wins and anything unclear is a "no". A grant comes from one place,
the administrator's consent file; every other input can only narrow. Evaluate
asks before collecting and before sealing; courier and fetch ask again, from
their own reading, immediately before sending.

For a consent-based purpose, a permit takes all of: the file is good, says yes
to this purpose and to the installed notice · no policy and no opt-out objects ·
not offline · the ledger is good, the machine no clone · the fields are declared
· hold and review are over · the destination is the root's, in an allowed
region. For the others: what their row says, never offline, declared fields,
destination. A purpose that has no row is denied.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.consent_file import ConsentReading
from opanel_agent.core.consent.opt_outs import Signal, SignalKind, Signals
from opanel_agent.core.consent.purposes import CONSENT_BASED, FIXED, POLICIES, Basis, Purpose, UnderDoNotTrack

__all__ = [
    "Denial",
    "GateInputs",
    "Objection",
    "Permit",
    "RequestView",
    "SettingsView",
    "Signal",
    "SignalKind",
    "Signals",
    "decide",
    "decide_all",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsView:
    """What the settings say of the license purposes.

    `refused` is the code's detail when the file is refused whole.
    """

    check: bool = True
    renew: bool = True
    advisories: bool = True
    refused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """The request in question.

    `fields` is None when the body could not be read; `offending` are those that
    the catalog objects to, by name, type or value, None when it was not asked:
    a report is then denied. `waited_s` is how long a report has lain ready,
    `reviewed` whether somebody looked at it and released it, which ends its
    hold as well.
    """

    method: str
    url: str
    fields: frozenset[str] | None = frozenset()
    offending: tuple[str, ...] | None = None
    waited_s: int = 0
    reviewed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GateInputs:
    """Everything a decision rests on, read afresh for it.

    `destinations` are base URLs that the root or the settings name for this
    purpose in an allowed region; `elsewhere` those that the root names in other
    regions. `asked` is None while nothing is collected yet. `commanded` is true
    only for the run that an administrator's command started. `ledger` says what
    is wrong with the ledger, `clone` that this machine is another than the one
    whose administrator answered; the courier knows neither, and they only
    narrow.
    """

    signals: Signals
    standing: SettingsView
    destinations: tuple[str, ...]
    elsewhere: tuple[str, ...] = ()
    asked: RequestView | None = None
    commanded: bool = False
    consent: ConsentReading = field(default_factory=ConsentReading)
    installed_notice: str = ""
    ledger: str | None = None
    clone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """One reason to deny, and where it came from: the `place`, its `line`, and `what` stands there, where that says more."""

    reason: Reason
    place: str
    line: int | None = None
    what: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    purpose: Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """`to_file`: the command may still write the request to a file, to be carried by other ways."""

    grounds: tuple[Objection, ...]
    to_file: bool = False


def decide(purpose: str, snapshot: GateInputs) -> Permit | Denial:
    """Permit iff no row of the table objects.

    Total: a row that fails objects too.
    """
    known = next((known for known in POLICIES if known.value == purpose), None)
    if known is None:
        return Denial(grounds=(Objection(reason=Reason.INTERNAL, place=f"purpose {purpose}"),))
    return _decide(known, snapshot)


def decide_all(inputs: Mapping[Purpose, GateInputs]) -> dict[Purpose, Permit | Denial]:
    """Returns the decision on each of these purposes, for what is shown: the same as `decide`, one question for all."""
    return {purpose: _decide(purpose, snapshot) for purpose, snapshot in inputs.items()}


def _decide(known: Purpose, snapshot: GateInputs) -> Permit | Denial:
    terms = POLICIES[known]
    rows = (*_OF_THE_MACHINE, *_OF_THE_GOVERNOR[terms.governor], *_OF_THE_REQUEST)
    grounds = tuple(ground for row in rows for ground in _objections(row, known, snapshot))
    if not grounds:
        return Permit(purpose=known)
    carried = all(ground.reason in _CARRIED for ground in grounds)
    return Denial(grounds=grounds, to_file=carried and terms.under_do_not_track is UnderDoNotTrack.TO_FILE)


# The signals under which an administrator's own command writes its request to a
# file instead of failing.
_CARRIED: Final = frozenset({Reason.OFFLINE, Reason.OPT_OUT})

Row = Callable[[Purpose, GateInputs], Iterable[Objection]]


def _objections(row: Row, purpose: Purpose, snapshot: GateInputs) -> tuple[Objection, ...]:
    try:
        return tuple(row(purpose, snapshot))
    except Exception as fault:  # noqa: BLE001 - what could not be decided is a "no", told as a fault of ours
        return (Objection(reason=Reason.INTERNAL, place=f"{row.__name__}: {type(fault).__name__}"),)


# ---- rows: each yields what it objects to


def _offline(_: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    for signal in snapshot.signals.offline:
        yield _ground(Reason.OFFLINE, signal)


def _opted_out(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    if POLICIES[purpose].under_do_not_track is UnderDoNotTrack.GOES_ON:
        return
    for signal in (*snapshot.signals.do_not_track, *snapshot.consent.signals()):
        yield _ground(Reason.OPT_OUT, signal)


def _settings_refused(_: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    if snapshot.standing.refused is not None:
        yield Objection(reason=Reason.SETTINGS_REFUSED, place=snapshot.standing.refused)


def _setting(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """The purpose's own setting; of a refused file nothing is known."""
    standing, governor = snapshot.standing, POLICIES[purpose].governor
    says_yes = {
        Basis.CHECK_SETTING: standing.check,
        Basis.RENEW_SETTING: standing.renew,
        Basis.ADVISORIES_SETTING: standing.advisories,
    }[governor]
    if standing.refused is None and not says_yes:
        yield Objection(reason=Reason.DENIED_BY_FILE, place=governor.value)


def _command(_: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    if not snapshot.commanded:
        yield Objection(reason=Reason.NOT_ASKED, place=Basis.COMMAND.value)


def _refused(_: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """A fault in consent.toml or in a policy: nobody knows what else it was meant to say."""
    for fault in snapshot.consent.faults():
        line = fault.values.get("line")
        place = str(fault.values.get("file", snapshot.consent.place))
        yield Objection(reason=Reason.CONSENT_REFUSED, place=place, line=line if isinstance(line, int) else None)


def _answer(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """The administrator's own word, in the one file that can grant; of a refused file nothing is known."""
    consent = snapshot.consent
    if consent.refused is not None:
        return
    choice = None if consent.file is None else consent.file.purposes.get(purpose)
    if choice is None:
        yield Objection(reason=Reason.NOT_ASKED, place=consent.place)
    elif not choice.allow:
        yield _ground(Reason.DENIED_BY_FILE, consent.said("allow = false", f"purposes.{purpose}.allow"))


def _notice(_: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    consent = snapshot.consent
    if consent.file is not None and consent.file.notice != snapshot.installed_notice:
        yield _ground(Reason.NOTICE_CHANGED, consent.said(f'notice = "{consent.file.notice}"', "notice"))


def _policies(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    for policy in snapshot.consent.policies:
        if purpose in policy.denied:
            yield _ground(Reason.POLICY, policy.said("allow = false", f"purposes.{purpose}.allow"))


def _ledger(_: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """What cannot be proven later does not leave."""
    if snapshot.ledger is not None:
        yield Objection(reason=Reason.LEDGER, place=snapshot.ledger)


def _clone(_: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """What was answered for another machine was not answered for this one."""
    if snapshot.clone:
        yield Objection(reason=Reason.CLONE, place="machine identity")


def _hold(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    asked = snapshot.asked
    if asked is not None and not asked.reviewed and asked.waited_s < snapshot.consent.hold_s(purpose):
        yield _ground(Reason.HELD, snapshot.consent.longest_hold(purpose))


def _review(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    asked = snapshot.asked
    if asked is not None and not asked.reviewed and snapshot.consent.review(purpose):
        yield _ground(Reason.REVIEW_PENDING, snapshot.consent.said("review", f"purposes.{purpose}.review"))


def _destination(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    asked = snapshot.asked
    if asked is None:
        return
    base = _base(asked.url, POLICIES[purpose].paths)
    if base is None or asked.method != ("GET" if purpose in FIXED else "POST"):
        yield Objection(reason=Reason.DESTINATION, place=asked.url)
    elif base not in snapshot.destinations:
        reason = Reason.REGION if base in snapshot.elsewhere else Reason.DESTINATION
        yield Objection(reason=reason, place=asked.url)


def _fields(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """A report is judged by the catalog, the other bodies by their row and, where it declares them, by the catalog too."""
    asked = snapshot.asked
    if asked is None:
        return
    by_catalog = purpose in CONSENT_BASED
    if asked.fields is None or (by_catalog and asked.offending is None):
        yield Objection(reason=Reason.FIELD_UNDECLARED, place="body")
        return
    undeclared = frozenset() if by_catalog else asked.fields - POLICIES[purpose].fields
    for name in sorted(undeclared | frozenset(asked.offending or ())):
        yield Objection(reason=Reason.FIELD_UNDECLARED, place=name)


def _base(url: str, paths: frozenset[str]) -> str | None:
    """The URL without one of the purpose's paths, as the root writes it; None where it ends in none of them."""
    return next((url.removesuffix(path) for path in paths if url.endswith(path)), None)


def _ground(reason: Reason, said: Signal) -> Objection:
    return Objection(reason=reason, place=said.place, line=said.line, what=said.what)


# ---- the table: what may object to a purpose, by what governs it

_OF_THE_MACHINE: Final[tuple[Row, ...]] = (_offline, _opted_out, _settings_refused)
_OF_THE_GOVERNOR: Final[dict[Basis, tuple[Row, ...]]] = {
    Basis.CHECK_SETTING: (_setting,),
    Basis.RENEW_SETTING: (_setting,),
    Basis.ADVISORIES_SETTING: (_setting,),
    Basis.COMMAND: (_command,),
    Basis.CONSENT: (_refused, _answer, _notice, _policies, _ledger, _clone, _hold, _review),
}
_OF_THE_REQUEST: Final[tuple[Row, ...]] = (_destination, _fields)
