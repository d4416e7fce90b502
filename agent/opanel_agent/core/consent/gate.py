"""Decides whether a request may leave now: the gate.

Theory of operation. Any one objection denies and anything unclear is an
objection. A grant comes from one place, the administrator's consent file; every
other input can only narrow. A denial tells every objection, each with its
reason and its place, so that `consent why` can name the line to change.
Evaluate asks before collecting and before sealing; courier and fetch ask again,
from a reading of their own, immediately before sending: a "no" that was said in
between counts.

For a consent-based purpose, a permit takes all of these:

- the file is good, says yes to this purpose, and was answered to the installed
  notice;
- that yes was not withdrawn: by command, by panel, or by the file itself
  before an older copy was put back;
- no policy and no opt-out objects, and the agent is not offline;
- the ledger is good, and this is the machine whose administrator answered;
- the fields are declared, and hold and review are over;
- the destination is the root's, in an allowed region.

For the other purposes: what their row of `purposes.POLICIES` says, never
offline, declared fields, destination. A purpose that has no row is denied.

Pure and total: no input makes it raise. Left out: reading anything
(`network.gate_inputs`), and what to do about a denial.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.consent_file import ConsentReading
from opanel_agent.core.consent.opt_outs import Signal, SignalKind, Signals
from opanel_agent.core.consent.purposes import CONSENT_BASED, FIXED, POLICIES, Basis, Purpose, UnderDoNotTrack
from opanel_agent.core.values import field, frozen

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


@frozen
class SettingsView:
    """Holds what the settings say of the license purposes, `refused` being the detail of a file that was refused whole."""

    check: bool = True
    renew: bool = True
    advisories: bool = True
    refused: str | None = None


@frozen
class RequestView:
    """Holds what the gate looks at of one request.

    - `method`, `url`: as they would be sent.
    - `fields`: the names in its body, None when the body could not be read.
    - `offending`: the names that the catalog objects to, by name, type or
      value; None when it was not asked, and a report is then denied.
    - `waited_s`: for how many seconds a report has lain ready.
    - `reviewed`: somebody looked at it and released it, which ends its hold as
      well.
    """

    method: str
    url: str
    fields: frozenset[str] | None = frozenset()
    offending: tuple[str, ...] | None = None
    waited_s: int = 0
    reviewed: bool = False


@frozen
class GateInputs:
    """Holds everything that one decision rests on, read afresh for it.

    - `signals`: the opt-outs that were found; `standing`: the settings.
    - `destinations`: base URLs that the root or the settings name for this
      purpose in an allowed region.
    - `elsewhere`: those that the root names in other regions, which only make
      the objection clearer.
    - `asked`: the request, None while nothing is collected yet.
    - `commanded`: only true for the run that an administrator's command
      started.
    - `consent`, `installed_notice`: what was answered, and the notice that
      answers must be to.
    - `ledger`: what is wrong with the ledger. `clone`: this machine is another
      than the one whose administrator answered. The courier knows neither, and
      they only narrow.
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


@frozen
class Objection:
    """Holds one reason to deny: the place it comes from, the line there, and what stands there where that says more."""

    reason: Reason
    place: str
    line: int | None = None
    what: str | None = None


@frozen
class Permit:
    """States that a request of this purpose may leave now."""

    purpose: Purpose


@frozen
class Denial:
    """States that a request may not leave, and why.

    `grounds` are all objections, in the order of the table.

    `to_file`: a command may still write the request to a file, to be carried by
    other ways, because only the network was refused.
    """

    grounds: tuple[Objection, ...]
    to_file: bool = False


def decide(purpose: str, snapshot: GateInputs) -> Permit | Denial:
    """Returns a permit if no row of the table objects, else a denial with every objection.

    Total: a purpose without a row is denied, and a row that fails objects
    (`internal`) instead of raising.
    """
    known = next((known for known in POLICIES if known.value == purpose), None)
    if known is None:
        return Denial(grounds=(Objection(reason=Reason.INTERNAL, place=f"purpose {purpose}"),))
    return _decide(known, snapshot)


def decide_all(inputs: Mapping[Purpose, GateInputs]) -> dict[Purpose, Permit | Denial]:
    """Returns the decision on each of these purposes, for what is shown: the same as `decide` for each."""
    return {purpose: _decide(purpose, snapshot) for purpose, snapshot in inputs.items()}


def _decide(known: Purpose, snapshot: GateInputs) -> Permit | Denial:
    """Asks each row of the table that the purpose's basis chooses, and collects every objection."""
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
    """Returns what one row objects to; a row that fails objects too, so that no fault of ours opens the gate."""
    try:
        return tuple(row(purpose, snapshot))
    except Exception as fault:  # noqa: BLE001 - what could not be decided is a "no", told as a fault of ours
        return (Objection(reason=Reason.INTERNAL, place=f"{row.__name__}: {type(fault).__name__}"),)


# ---- rows: each yields what it objects to


def _offline(_: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """Objects to everything while the server is offline, the fixed GETs too."""
    for signal in (*snapshot.signals.offline, *snapshot.consent.offline()):
        yield _ground(Reason.OFFLINE, signal)


def _opted_out(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """Objects to what tells this server apart while do-not-track stands."""
    # Do-not-track is about telling apart. A GET that is the same for everyone
    # tells nothing apart, so it goes on (purposes.UnderDoNotTrack).
    if POLICIES[purpose].under_do_not_track is UnderDoNotTrack.GOES_ON:
        return
    for signal in (*snapshot.signals.do_not_track, *snapshot.consent.signals()):
        yield _ground(Reason.OPT_OUT, signal)


def _settings_refused(_: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """Objects where the settings cannot be read: they might have said no."""
    if snapshot.standing.refused is not None:
        yield Objection(reason=Reason.SETTINGS_REFUSED, place=snapshot.standing.refused)


def _setting(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """Objects by the purpose's own setting.

    Of a refused file nothing is known, and `_settings_refused` objects to that.
    """
    standing, governor = snapshot.standing, POLICIES[purpose].governor
    enabled = {
        Basis.CHECK_SETTING: standing.check,
        Basis.RENEW_SETTING: standing.renew,
        Basis.ADVISORIES_SETTING: standing.advisories,
    }[governor]
    if standing.refused is None and not enabled:
        yield Objection(reason=Reason.DENIED_BY_FILE, place=governor.value)


def _command(_: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """Objects to a run that no command asked for: a command permits one run and no other."""
    if not snapshot.commanded:
        yield Objection(reason=Reason.NOT_ASKED, place=Basis.COMMAND.value)


def _refused(_: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """Objects to all where consent.toml or a policy has a fault: nobody knows what else the file was meant to say."""
    for fault in snapshot.consent.faults():
        line = fault.values.get("line")
        place = str(fault.values.get("file", snapshot.consent.place))
        yield Objection(reason=Reason.CONSENT_REFUSED, place=place, line=line if isinstance(line, int) else None)


def _answer(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """Objects by the administrator's own answer, in the one file that can grant.

    Of a refused file nothing is known.
    """
    consent = snapshot.consent
    if consent.refused is not None:
        return
    choice = None if consent.file is None else consent.file.purposes.get(purpose)
    if choice is None:
        yield Objection(reason=Reason.NOT_ASKED, place=consent.place)
    elif not choice.allow:
        yield _ground(Reason.DENIED_BY_FILE, consent.locate("allow = false", f"purposes.{purpose}.allow"))


def _withdrawn(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """Objects by a withdrawal, which holds by itself until a later grant ends it, whatever the file says meanwhile."""
    withdrawal = snapshot.consent.withdrawal(purpose)
    if withdrawal is not None:
        yield Objection(reason=Reason.WITHDRAWN, place=withdrawal.by.value, what=withdrawal.day_and_time)


def _notice(_: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """Objects to a yes to an older notice: it is no yes to what the installed one adds."""
    consent = snapshot.consent
    if consent.file is not None and consent.file.notice != snapshot.installed_notice:
        yield _ground(Reason.NOTICE_CHANGED, consent.locate(f'notice = "{consent.file.notice}"', "notice"))


def _policies(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """Objects by the fleet's policies: they can deny what one server's administrator allowed, never the other way round."""
    for policy in snapshot.consent.policies:
        if purpose in policy.denied:
            yield _ground(Reason.POLICY, policy.locate("allow = false", f"purposes.{purpose}.allow"))


def _ledger(_: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """Objects to a report that could not be proven later."""
    if snapshot.ledger is not None:
        yield Objection(reason=Reason.LEDGER, place=snapshot.ledger)


def _clone(_: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """Objects to an answer that was given for another machine."""
    if snapshot.clone:
        yield Objection(reason=Reason.CLONE, place="machine identity")


def _hold(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """Objects to a report until its hold is over, so that its owner can look at it first and drop it."""
    # Nothing is held before it exists: `asked` is None while nothing is sealed.
    asked = snapshot.asked
    if asked is not None and not asked.reviewed and asked.waited_s < snapshot.consent.hold_s(purpose):
        yield _ground(Reason.HELD, snapshot.consent.longest_hold(purpose))


def _review(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """Objects to a crash report until somebody has looked at it."""
    asked = snapshot.asked
    if asked is not None and not asked.reviewed and snapshot.consent.review(purpose):
        yield _ground(Reason.REVIEW_PENDING, snapshot.consent.locate("review", f"purposes.{purpose}.review"))


def _destination(purpose: Purpose, snapshot: GateInputs) -> Iterator[Objection]:
    """Objects to a request unless it goes, by one method, to a path of its purpose below a known base.

    The root or the settings name that base.
    """
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
    """Objects to a report by the catalog; to another body by its row and, where the catalog declares it, by that too."""
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
    """Returns the URL without one of the purpose's paths, as the root writes it; None where it ends in none of them.

    Compared whole rather than parsed: what a URL parser forgives, another reads
    in a different way.
    """
    return next((url.removesuffix(path) for path in paths if url.endswith(path)), None)


def _ground(reason: Reason, signal: Signal) -> Objection:
    """Returns an objection at the place of an opt-out or of a key."""
    return Objection(reason=reason, place=signal.place, line=signal.line, what=signal.what)


# ---- the table: what may object to a purpose, by what governs it

# Asked of every purpose, first: so an objection that holds for all is told before
# one that is the purpose's own.
_OF_THE_MACHINE: Final[tuple[Row, ...]] = (_offline, _opted_out, _settings_refused)
_OF_THE_GOVERNOR: Final[dict[Basis, tuple[Row, ...]]] = {
    Basis.CHECK_SETTING: (_setting,),
    Basis.RENEW_SETTING: (_setting,),
    Basis.ADVISORIES_SETTING: (_setting,),
    Basis.COMMAND: (_command,),
    Basis.CONSENT: (_refused, _answer, _withdrawn, _notice, _policies, _ledger, _clone, _hold, _review),
}
_OF_THE_REQUEST: Final[tuple[Row, ...]] = (_destination, _fields)
