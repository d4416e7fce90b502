"""The gate over its whole lattice: every state, against the page's words written again, knowing no code of the gate.

A state is one value for each independent fact. What the page says about a state is a list of reasons, one for each
"no" in it; the gate must permit exactly where that list is empty, and must tell exactly that list otherwise.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import pytest

from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.consent_file import ConsentReading, parse, parse_policy
from opanel_agent.core.consent.gate import (
    GateInputs,
    Permit,
    RequestView,
    SettingsView,
    Signal,
    SignalKind,
    Signals,
    decide,
)
from opanel_agent.core.consent.withdrawals import (
    AgentRecord,
    Origin,
    OwnerRecord,
    Withdrawable,
    Withdrawal,
    Withdrawals,
    grant_id,
)
from opanel_agent.core.errors import Misconfigured

HOUR_S = 3600
NOTICE = "2026-12-01"
HOME, ABROAD, STRANGER = "https://home.example", "https://abroad.example", "https://stranger.example"
PATHS = {
    "license_status": "/v1/status.jwt",
    "security_advisories": "/v1/advisories.jws",
    "license_renewal": "/v1/renewals",
    "license_activation": "/v1/activations",
    "usage_statistics": "/v1/reports/usage_statistics",
    "crash_reports": "/v1/reports/crash_reports",
    "data_rights": "/v1/rights",
}
REPORTS = ("usage_statistics", "crash_reports")
OUTSIDE = (SignalKind.FILE, SignalKind.ENVIRONMENT, SignalKind.SETTING)  # what is withdrawn is in a record of its own
KINDS = ("none", *OUTSIDE, "all")
NOT_GOOD = ("absent", "refused", "refused, perhaps dnt")
ANSWERED = ("no", "no, old notice", "yes, old notice", "yes", "yes, dnt")
FILES = (*NOT_GOOD, "not asked", *ANSWERED)
POLICIES = ("none", "denies", "lengthens", "dnt", "refused")
# by the panel, of the file's own grant, of another, of any; ended by a grant; the two in question at once; unreadable
WITHDRAWALS = ("none", "offline", "its grant", "another grant", "any grant", "ended", "dnt", "refused")
EARLY, OWN, LONG = 72 * HOUR_S - 1, 72 * HOUR_S, 240 * HOUR_S  # the file's own hold, and the lengthened one
REVIEWS = ("off", "pending", "released")
PLACES = ("ok", "other region", "foreign")
BODIES = ("ok", "undeclared", "unreadable")


class Request(NamedTuple):
    """Of a finished one; None while nothing is collected yet."""

    waited_s: int
    review: str
    place: str
    body: str


@dataclass(frozen=True, slots=True)
class State:
    signals: str
    offline: bool
    file: str
    policy: str
    settings_refused: bool
    ledger_broken: bool
    clone: bool
    request: Request | None
    standing: bool = True
    commanded: bool = True
    withdrawn: str = "none"


# ---- the page, in its own words


def specified(purpose: str, state: State) -> list[str]:
    """Every reason that the page gives to deny, with repetition: one for each place that says no."""
    consent_based = purpose in REPORTS
    why = ["offline"] * (state.offline + (state.withdrawn == "offline"))  # "never offline"
    if purpose not in {"license_status", "security_advisories"}:  # those go on under do-not-track
        why += ["opt_out"] * opt_outs_set(state)
    if state.settings_refused:  # "a refused file denies every request"
        why += ["settings_refused"]
    if consent_based:
        why += consent_missing(state)
    elif purpose in {"license_activation", "data_rights"}:  # "the administrator's command, each time"
        why += [] if state.commanded else ["not_asked"]
    elif not state.standing and not state.settings_refused:
        why += ["denied_by_file"]
    if state.request is not None:
        why += waiting(purpose, state, state.request) if consent_based else []
        why += {"ok": [], "other region": ["region"], "foreign": ["destination"]}[state.request.place]
        why += {"ok": [], "undeclared": ["field_undeclared"], "unreadable": ["field_undeclared"]}[state.request.body]
    return why


def opt_outs_set(state: State) -> int:
    """Any one denies: the signals outside, `do_not_track = true` in the file (in a refused one, perhaps), a policy's."""
    outside = {"none": 0, "all": 3}.get(state.signals, 1)
    doubted = state.withdrawn in {"dnt", "refused"}  # a record that cannot be read may have held it
    return outside + ("dnt" in state.file) + (state.policy == "dnt") + doubted


def consent_missing(state: State) -> list[str]:
    """The file is good · its `allow` is true · its `notice` is the installed one; and what only narrows."""
    refused = state.file.startswith("refused"), state.policy == "refused", state.withdrawn == "refused"
    why = ["consent_refused"] * sum(refused)
    why += ["withdrawn"] if is_withdrawn(state) else []
    why += ["not_asked"] if state.file in {"absent", "not asked"} else []
    why += ["denied_by_file"] if state.file.startswith("no,") or state.file == "no" else []
    why += ["notice_changed"] if state.file.endswith("old notice") else []
    why += ["policy"] if state.policy == "denies" else []
    why += ["ledger"] if state.ledger_broken else []
    return why + (["clone"] if state.clone else [])


def is_withdrawn(state: State) -> bool:
    """A yes, or what may be one, of before the withdrawal: any where it is not known what was granted."""
    may_grant = state.file.startswith(("yes", "refused"))
    of_this = {"its grant", "any grant"} | ({"another grant"} if state.file.startswith("refused") else set())
    return may_grant and state.withdrawn in of_this


def waiting(purpose: str, state: State, request: Request) -> list[str]:
    """Hold and review are over: by the longest hold that anyone asks for, or because somebody released the report."""
    if request.review == "released":
        return []
    if purpose == "crash_reports":  # "each reviewed unless review = false", which only a good file can say
        return [] if request.review == "off" and state.file in ANSWERED else ["review_pending"]
    hold_h = 240 if state.policy == "lengthens" else 72
    return ["held"] if request.waited_s < hold_h * HOUR_S else []


# ---- the same states, as the gate is given them


def consent_text(file: str, *, review: bool) -> bytes:
    allow = "true" if file.startswith("yes") else "false"
    answers = (
        ""
        if file == "not asked"
        else (
            f'[purposes.usage_statistics]\nallow = {allow}\nhold = "72h"\n'
            f"[purposes.crash_reports]\nallow = {allow}\nreview = {str(review).lower()}\n"
        )
    )
    notice = "2025-01-01" if file.endswith("old notice") else NOTICE
    dnt = "true" if file.endswith("dnt") else "false"
    return f'schema = 1\nnotice = "{notice}"\ndo_not_track = {dnt}\n{answers}'.encode()


POLICY_TEXTS = {
    "denies": "[purposes.usage_statistics]\nallow = false\n[purposes.crash_reports]\nallow = false",
    "lengthens": '[purposes.usage_statistics]\nhold = "10d"',
    "dnt": "do_not_track = true",
}
FAULT = Misconfigured(Reason.CONSENT_REFUSED, "toml_type", file="/f", line=6, name="purposes.usage_statistics.allow")
DOUBT = Signal(kind=SignalKind.SETTING, what="do_not_track", place="/f", line=3)


def withdrawal(subject: str, grants: tuple[str, ...] | None) -> Withdrawal:
    name = f"{list(Withdrawable).index(Withdrawable(subject)):016x}"
    return Withdrawal(id=name, subject=Withdrawable(subject), by=Origin.PANEL, at=1, grants=grants)


def withdrawals(withdrawn: str) -> Withdrawals:
    """Of both purposes alike."""
    grants = {
        "its grant": (grant_id(None),),
        "another grant": (grant_id({"by": "Ada"}),),
        "any grant": None,
        "ended": None,
    }
    made: list[Withdrawal] = []
    if withdrawn in grants:
        made = [withdrawal(purpose, grants[withdrawn]) for purpose in REPORTS]
    if withdrawn in ("dnt", "offline"):
        made = [withdrawal("do_not_track" if withdrawn == "dnt" else withdrawn, None)]
    ended = tuple(each.id for each in made) if withdrawn == "ended" else ()
    return Withdrawals(agent=AgentRecord(withdrawals=tuple(made)), owner=OwnerRecord(ended=ended))


def reading(file: str, policy: str, withdrawn: str = "none", *, review: bool) -> ConsentReading:
    text = POLICY_TEXTS.get(policy)
    good = file not in NOT_GOOD
    return ConsentReading(
        file=parse(consent_text(file, review=review)) if good else None,
        refused=FAULT if file.startswith("refused") else None,
        in_doubt=(DOUBT,) * ((file == "refused, perhaps dnt") + (withdrawn == "refused")),
        policies=() if text is None else (parse_policy(f"schema = 1\n{text}\n".encode(), "/p"),),
        policies_refused=(FAULT,) if policy == "refused" else (),
        withdrawals=withdrawals(withdrawn),
        withdrawals_refused=(FAULT,) if withdrawn == "refused" else (),
    )


READINGS = {
    (file, policy, withdrawn, review): reading(file, policy, withdrawn, review=review != "off")
    for file, policy, withdrawn, review in product(FILES, POLICIES, WITHDRAWALS, REVIEWS)
}


def signals(kinds: str, *, offline: bool) -> Signals:
    kinds_set = [kind for kind in OUTSIDE if kinds in (kind, "all")]
    return Signals(
        do_not_track=tuple(Signal(kind=kind, what=kind, place="somewhere") for kind in kinds_set),
        offline=(Signal(kind=SignalKind.FILE, what="offline", place="somewhere"),) if offline else (),
    )


SIGNALS = {(kinds, offline): signals(kinds, offline=offline) for kinds, offline in product(KINDS, (False, True))}


def asked(purpose: str, request: Request) -> RequestView:
    bases = {"ok": HOME, "other region": ABROAD, "foreign": STRANGER}
    undeclared = request.body == "undeclared"
    declared = purpose in REPORTS  # by the catalog, whose objections the gate is told
    return RequestView(
        method="GET" if purpose in {"license_status", "security_advisories"} else "POST",
        url=bases[request.place] + PATHS[purpose],
        fields=None if request.body == "unreadable" else frozenset({"hostname"} if undeclared and not declared else ()),
        offending=("hostname",) if undeclared and declared else (),
        waited_s=request.waited_s,
        reviewed=request.review == "released",
    )


def snapshot(state: State, what: RequestView | None) -> GateInputs:
    refused = "toml_syntax" if state.settings_refused else None
    yes = state.standing
    return GateInputs(
        signals=SIGNALS[state.signals, state.offline],
        standing=SettingsView(check=yes, renew=yes, advisories=yes, refused=refused),
        destinations=(HOME,),
        elsewhere=(ABROAD,),
        asked=what,
        commanded=state.commanded,
        consent=READINGS[
            state.file, state.policy, state.withdrawn, "pending" if state.request is None else state.request.review
        ],
        installed_notice=NOTICE,
        ledger="line 7" if state.ledger_broken else None,
        clone=state.clone,
    )


# ---- enumerated

BOTH = (False, True)


def requests(waits: tuple[int, ...], reviews: tuple[str, ...]) -> tuple[Request | None, ...]:
    return (None, *(Request(*each) for each in product(waits, reviews, PLACES, BODIES)))


def by_consent(waits: tuple[int, ...], reviews: tuple[str, ...]) -> Iterator[State]:
    """Every combination of every fact that a consent-based purpose depends on; all signals at once stand for any."""
    facts = (("none", "all"), BOTH, FILES, POLICIES, BOTH, BOTH, BOTH, requests(waits, reviews))
    return (State(*each) for each in product(*facts))


def by_signal(waits: tuple[int, ...], reviews: tuple[str, ...]) -> Iterator[State]:
    """Each kind of signal alone, against every file, policy and request, with nothing else in the way."""
    facts = (KINDS, BOTH, FILES, POLICIES, (False,), (False,), (False,), requests(waits, reviews))
    return (State(*each) for each in product(*facts))


def by_withdrawal(waits: tuple[int, ...], reviews: tuple[str, ...]) -> Iterator[State]:
    """Each kind of withdrawal, against every file and policy, every signal at once or none, and every request."""
    nothing = (False,)
    facts = (("none", "all"), nothing, FILES, POLICIES, nothing, nothing, nothing, requests(waits, reviews))
    return (
        replace(State(*each), withdrawn=withdrawn)
        for each in product(*facts)
        for withdrawn in WITHDRAWALS
        if withdrawn != "none"
    )


def by_row() -> Iterator[State]:
    """What the other purposes depend on, and that consent, its withdrawal, ledger and clone are nothing to them."""
    files, policies = (
        ("absent", "refused", "refused, perhaps dnt", "no", "yes, dnt"),
        ("none", "denies", "dnt", "refused"),
    )
    finished = (None, *(Request(0, "pending", *each) for each in product(PLACES, BODIES)))
    withdrawn = ("none", "any grant", "dnt", "offline")
    facts = (("none", "all"), BOTH, files, policies, BOTH, (True,), (True,), finished, BOTH, BOTH)
    return (replace(State(*each), withdrawn=kind) for each in product(*facts) for kind in withdrawn)


def differences(purpose: str, states: Iterator[State]) -> tuple[Counter[str], list[str]]:
    """What was decided, counted, and every state in which the gate says something else than the page."""
    counted: Counter[str] = Counter()
    wrong: list[str] = []
    known: dict[Request | None, RequestView | None] = {None: None}
    for state in states:
        if state.request not in known:
            known[state.request] = asked(purpose, state.request) if state.request else None
        decided = decide(purpose, snapshot(state, known[state.request]))
        reasons = [] if isinstance(decided, Permit) else [ground.reason.value for ground in decided.grounds]
        expected = specified(purpose, state)
        counted["permitted" if isinstance(decided, Permit) else "denied"] += 1
        if sorted(reasons) != sorted(expected) or isinstance(decided, Permit) == bool(expected):
            wrong.append(f"{purpose} {state}: told {reasons}, specified {expected}")
    return counted, wrong


def usage_states() -> Iterator[State]:
    return by_consent((EARLY, OWN), ("off", "released"))


def usage_signals() -> Iterator[State]:
    return by_signal((EARLY, OWN, LONG), ("off", "released"))


def crash_states() -> Iterator[State]:
    return by_consent((0,), REVIEWS)


def crash_signals() -> Iterator[State]:
    return by_signal((0,), REVIEWS)


def usage_withdrawals() -> Iterator[State]:
    return by_withdrawal((EARLY, OWN), ("off", "released"))


def crash_withdrawals() -> Iterator[State]:
    return by_withdrawal((0,), REVIEWS)


ROWS = (
    ("usage_statistics", usage_states, 2 * 2 * 9 * 5 * 8 * (1 + 2 * 2 * 9)),
    ("usage_statistics", usage_signals, 5 * 2 * 9 * 5 * (1 + 3 * 2 * 9)),
    ("crash_reports", crash_states, 2 * 2 * 9 * 5 * 8 * (1 + 3 * 9)),
    ("crash_reports", crash_signals, 5 * 2 * 9 * 5 * (1 + 3 * 9)),
    ("usage_statistics", usage_withdrawals, 2 * 9 * 5 * (1 + 2 * 2 * 9) * 7),
    ("crash_reports", crash_withdrawals, 2 * 9 * 5 * (1 + 3 * 9) * 7),
    *((purpose, by_row, 2 * 2 * 5 * 4 * 2 * (1 + 9) * 2 * 2 * 4) for purpose in PATHS if purpose not in REPORTS),
)


@pytest.mark.parametrize(("purpose", "states", "count"), ROWS)
def test_the_gate_says_in_every_state_what_the_page_says(
    purpose: str,
    states: Callable[[], Iterator[State]],
    count: int,
    record_property: Callable[[str, object], None],
) -> None:
    counted, wrong = differences(purpose, states())
    record_property("states", counted.total())
    record_property("permitted", counted["permitted"])
    assert not wrong, f"{len(wrong)} of {counted.total()} states: " + "\n".join(wrong[:5])
    assert counted.total() == count
    assert 0 < counted["permitted"] < count


def test_the_lattice_is_as_large_as_it_is_said_to_be() -> None:
    assert sum(count for _, _, count in ROWS) == 299_900
