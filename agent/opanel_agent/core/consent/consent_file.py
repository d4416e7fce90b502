"""Reads and edits consent.toml and the policy files of consent.d: whole, or refused whole.

`consent.toml` is the one place that a grant can come from; a fault in it denies
every consent. A policy file in `consent.d` may deny, lengthen a hold and ask
not to be tracked; a grant there is a fault, and a fault there denies every
consent too, because nobody knows what else the file was meant to deny. The
schema is small on purpose: a report of usage waits for a time (`hold`), one of
a crash until it was looked at (`review`).

A refusal of the file must not lose a "no": `in_doubt` finds the line by which a
refused file may ask not to be tracked.

`edit` changes the literal of one line and nothing else, so that comments, order
and an administrator's template survive. It tries, parses what it made and
compares; where no one literal does it, it refuses and says what to type. A TOML
writer that keeps formatting would be a dependency for one boolean.

Left out: ownership and size of the files, which are judged where they are read
(`system.consent.consent_store`).
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from datetime import date
from functools import lru_cache
from typing import Final

from opanel_agent.core.codec.strict_toml import Table, boolean, loads, string
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.opt_outs import Signal, SignalKind
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.consent.withdrawals import Withdrawable, Withdrawal, Withdrawals, grant_id
from opanel_agent.core.errors import Misconfigured
from opanel_agent.core.text_safety import is_safe
from opanel_agent.core.units import DAY_S, HOUR_S
from opanel_agent.core.values import field, frozen, replace

DEFAULT_HOLD_S: Final = 72 * HOUR_S
MAX_HOLD_S: Final = 30 * DAY_S
_HOLD: Final = r"(?a)(\d{1,4})([hd])"
_DAY: Final = r"(?a)\d{4}-\d{2}-\d{2}"
_LITERAL: Final = r"(?a)\b(?:true|false)\b"
_OPT_OUT: Final = r"(?ai)do[-_ .]?not[-_ .]?track"
_NO_OPT_OUT: Final = r"""(?a)\s*(?:#.*|["']?do_not_track["']?\s*=\s*false\s*(?:#.*)?)"""
_MAX_NAME: Final = 200


@frozen
class Choice:
    """Holds the answer for one purpose.

    `hold_s`: how many seconds a finished report waits before it may leave.
    `review`: each report waits until somebody has looked at it and released it.
    """

    allow: bool
    hold_s: int
    review: bool


@frozen
class Granted:
    """Holds who granted in a preseeded file: name, role, and the day as YYYY-MM-DD."""

    by: str
    role: str
    on: str


@frozen
class ConsentFile:
    """Holds a consent.toml that was read without a fault.

    - `notice`: the version of the notice that the answers were given to.
    - `do_not_track`: the file asks for it.
    - `purposes`: the answers; a purpose that is not among them was never asked.
    - `granted`: who answered, where the file was preseeded.
    - `lines`: where each key is written (`purposes.usage_statistics.allow`),
      counted from 1.
    - `data`: the very bytes that were read.

    Two files that say the same are equal, wherever it is written.
    """

    notice: str
    do_not_track: bool
    purposes: Mapping[Purpose, Choice]
    granted: Granted | None
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)
    data: bytes = field(default=b"", compare=False)

    @property
    def sha256(self) -> str:
        """Returns the digest of the bytes that were read, in hex."""
        import hashlib  # late: it loads OpenSSL (2 ms), and `status` asks for no digest

        return hashlib.sha256(self.data).hexdigest()

    @property
    def grant(self) -> str:
        """Returns the identity of what this file grants, as withdrawals name it (`withdrawals.grant_id`)."""
        granted = self.granted
        return grant_id(None if granted is None else {"by": granted.by, "role": granted.role, "on": granted.on})

    def allows(self, purpose: Purpose) -> bool:
        """Tells whether the file says yes to a purpose, whatever else stands against it."""
        choice = self.purposes.get(purpose)
        return choice is not None and choice.allow


@frozen
class Policy:
    """Holds a file of consent.d: what it denies, the holds in seconds that it lengthens to, and its do-not-track."""

    place: str
    denied: frozenset[Purpose]
    holds: Mapping[Purpose, int]
    do_not_track: bool
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)

    def locate(self, what: str, key: str) -> Signal:
        """Returns the place of a key in this file, as an objection names it."""
        return Signal(kind=SignalKind.SETTING, what=what, place=self.place, line=self.lines.get(key))


@frozen
class ConsentReading:
    """Holds what the consent files say at one moment: the input of the gate.

    - `place`: the path of consent.toml, as objections name it.
    - `file`: None with `refused` None: there is no file, so nobody was asked.
    - `refused`: what is wrong with consent.toml.
    - `policies`: the good files of consent.d; `policies_refused`: what is wrong
      with each of the others; `ignored`: files there whose names do not count.
    - `in_doubt`: where a refused file may ask not to be tracked.
    - `stamp`: what differs once consent.toml was written, replaced or taken
      away, whatever it says then; empty where it is not looked at.
    - `withdrawals`: what was withdrawn; `withdrawals_refused`: what is wrong
      with a record of it, which may then have held any withdrawal.
    """

    place: str = "consent.toml"
    file: ConsentFile | None = None
    refused: Misconfigured | None = None
    policies: tuple[Policy, ...] = ()
    policies_refused: tuple[Misconfigured, ...] = ()
    ignored: tuple[str, ...] = ()
    in_doubt: tuple[Signal, ...] = ()
    stamp: str = field(default="", compare=False)
    withdrawals: Withdrawals = field(default_factory=Withdrawals)
    withdrawals_refused: tuple[Misconfigured, ...] = ()

    def locate(self, what: str, key: str) -> Signal:
        """Returns the place of a key in consent.toml, as an objection names it; without a line where there is no file."""
        line = None if self.file is None else self.file.lines.get(key)
        return Signal(kind=SignalKind.SETTING, what=what, place=self.place, line=line)

    def faults(self) -> tuple[Misconfigured, ...]:
        """Returns every fault of the files, each of which denies every consent."""
        own = () if self.refused is None else (self.refused,)
        return (*own, *self.policies_refused, *self.withdrawals_refused)

    def withdrawal(self, purpose: Purpose) -> Withdrawal | None:
        """Returns the withdrawal that stands against the file's yes to a purpose; None where there is none.

        A refused file may say yes. One that says no, or nothing, needs no
        withdrawal beside it.
        """
        if self.refused is None and (self.file is None or not self.file.allows(purpose)):
            return None
        return self.withdrawals.covering(Withdrawable(purpose.value), None if self.file is None else self.file.grant)

    def signals(self) -> Iterator[Signal]:
        """Yields every place at which these files ask, or may ask, not to be tracked."""
        if self.file is not None and self.file.do_not_track:
            yield self.locate("do_not_track = true", "do_not_track")
        for policy in self.policies:
            if policy.do_not_track:
                yield policy.locate("do_not_track = true", "do_not_track")
        yield from self.in_doubt
        yield from self._withdrawn(Withdrawable.DO_NOT_TRACK)

    def offline(self) -> Iterator[Signal]:
        """Yields every withdrawal by which nothing at all may leave."""
        yield from self._withdrawn(Withdrawable.OFFLINE)

    def _withdrawn(self, opt_out: Withdrawable) -> Iterator[Signal]:
        for withdrawal in self.withdrawals.standing(opt_out):
            yield Signal(kind=SignalKind.WITHDRAWAL, what=withdrawal.day_and_time, place=withdrawal.by.value)

    def hold_s(self, purpose: Purpose) -> int:
        """Returns how many seconds a report of this purpose waits: the longest hold that any file asks for."""
        return max(self._own_hold_s(purpose), *(policy.holds.get(purpose, 0) for policy in self.policies), 0)

    def longest_hold(self, purpose: Purpose) -> Signal:
        """Returns the place of the file that asks for the longest hold; consent.toml where several ask for the same."""
        hold_s, key = self.hold_s(purpose), f"purposes.{purpose}.hold"
        if self._own_hold_s(purpose) < hold_s:
            policy = next(policy for policy in self.policies if policy.holds.get(purpose) == hold_s)
            return policy.locate("hold", key)
        return self.locate("hold", key)

    def review(self, purpose: Purpose) -> bool:
        """Tells whether each report of this purpose waits until somebody has looked at it.

        Crash reports do where nobody has answered, since a traceback is the one
        report whose content nobody can foresee.
        """
        choice = self._choice(purpose)
        return purpose is Purpose.CRASH_REPORTS if choice is None else choice.review

    def _own_hold_s(self, purpose: Purpose) -> int:
        """Returns what consent.toml asks for, or the default."""
        choice = self._choice(purpose)
        return _default_hold_s(purpose) if choice is None else choice.hold_s

    def _choice(self, purpose: Purpose) -> Choice | None:
        """Returns the answer in consent.toml, None where there is none."""
        return None if self.file is None else self.file.purposes.get(purpose)


@lru_cache(maxsize=8)  # the gate asks many times a pass, and the same bytes say the same
def parse(data: bytes) -> ConsentFile:
    """Returns a consent.toml as it was read.

    Raises Misconfigured (`consent_refused`) with `name` and `line` of the first
    fault.

    The result is cached by the bytes: the gate asks several times in a pass,
    and the same bytes say the same.
    """
    table = loads(data, Reason.CONSENT_REFUSED)
    purposes = table.table("purposes")
    rows = {purpose: purposes.table(purpose) for purpose in CONSENT_BASED if purposes.has(purpose)}
    purposes.end()
    file = ConsentFile(
        notice=table.need("notice", _day),
        do_not_track=table.take("do_not_track", boolean) or False,
        purposes={purpose: _choice(row, purpose) for purpose, row in rows.items()},
        granted=_granted(table.table("granted")) if table.has("granted") else None,
        lines=_lines(table, rows),
        data=data,
    )
    table.end()
    return file


@lru_cache(maxsize=64)
def parse_policy(data: bytes, place: str) -> Policy:
    """Returns a file of consent.d.

    Raises Misconfigured (`consent_refused`); a grant there is
    `consent_policy_grants`.
    """
    table = loads(data, Reason.CONSENT_REFUSED)
    purposes = table.table("purposes")
    rows = {purpose: purposes.table(purpose) for purpose in CONSENT_BASED if purposes.has(purpose)}
    purposes.end()
    policy = Policy(
        place=place,
        denied=frozenset(purpose for purpose, row in rows.items() if _denies(row)),
        holds={purpose: hold_s for purpose, row in rows.items() if (hold_s := _take_hold(row, purpose)) is not None},
        do_not_track=table.take("do_not_track", boolean) or False,
        lines=_lines(table, rows),
    )
    for row in (*rows.values(), table):
        row.end()
    return policy


def in_doubt(data: bytes) -> int | None:
    """Returns the first line by which a refused file may ask not to be tracked, counted from 1; None where none does.

    Anything that names the key, in capitals or with another mark between its
    words, counts but a comment and a plain `do_not_track = false`: a typing
    error in the file, or a wrong owner, must not undo a "no". Read as Latin-1, which has a character for every byte, so a
    broken encoding hides nothing.
    """
    if b"\0" in data:  # no text in an encoding that we read
        return 1
    lines = data.decode("latin-1").split("\n")
    named = (number for number, line in enumerate(lines, start=1) if re.search(_OPT_OUT, line))
    return next((number for number in named if not re.fullmatch(_NO_OPT_OUT, lines[number - 1])), None)


def edit(data: bytes, purpose: Purpose, *, allow: bool) -> bytes:
    """Returns the file with that purpose's `allow` changed and every other byte as it was.

    Raises Misconfigured: for a file that is refused, or `consent_edit` for a
    purpose that it does not answer, with the lines to type: `type` below
    `under`, at the end of the file (`line`).
    """
    before = parse(data)
    wanted = "true" if allow else "false"
    choice = before.purposes.get(purpose)
    if choice is None:
        line = data.count(b"\n") + 1
        raise _not_edited(line, purpose, wanted)
    if choice.allow is allow:
        return data
    expected = replace(before, purposes={**before.purposes, purpose: replace(choice, allow=allow)})
    line = before.lines[f"purposes.{purpose}.allow"]
    for after in _changed(data.decode("utf-8"), line, wanted):
        with contextlib.suppress(Misconfigured):  # the literal stood within a text: try the next one
            if parse(after) == expected:
                return after
    raise _not_edited(line, purpose, wanted)


def _changed(text: str, line: int, wanted: str) -> Iterator[bytes]:
    """Yields the text with one literal of that line changed, for each literal of it."""
    lines = text.split("\n")
    old = lines[line - 1]
    for found in re.finditer(_LITERAL, old):
        lines[line - 1] = old[: found.start()] + wanted + old[found.end() :]
        yield "\n".join(lines).encode("utf-8")


def _not_edited(line: int, purpose: Purpose, wanted: str) -> Misconfigured:
    """Returns the refusal that says what to type instead, and where."""
    return Misconfigured(
        Reason.CONSENT_REFUSED,
        "consent_edit",
        line=line,
        name=str(purpose),
        under=f"[purposes.{purpose}]",
        type=f"allow = {wanted}",
    )


def fresh(notice: str, answers: Mapping[Purpose, bool], *, granted: Granted | None = None) -> dict[str, object]:
    """Returns the content of a new consent.toml, for a TOML writer: an answer for each purpose, holds at their defaults.

    A purpose without an answer is denied, so a file that this makes never
    grants what was not asked.
    """
    content: dict[str, object] = {"schema": 1, "notice": notice, "do_not_track": False}
    if granted is not None:
        content["granted"] = {"by": granted.by, "role": granted.role, "on": granted.on}
    content["purposes"] = {
        str(purpose): {"allow": answers.get(purpose, False), **_DEFAULTS[purpose]} for purpose in CONSENT_BASED
    }
    return content


_DEFAULTS: Final[Mapping[Purpose, Mapping[str, object]]] = {
    Purpose.USAGE_STATISTICS: {"hold": "72h"},
    Purpose.CRASH_REPORTS: {"review": True},
}


def _choice(row: Table, purpose: Purpose) -> Choice:
    """Returns the answer for one purpose, with the defaults of the keys that the file leaves out."""
    hold_s = _take_hold(row, purpose)
    review = row.take("review", boolean) if purpose is Purpose.CRASH_REPORTS else False
    choice = Choice(
        allow=row.need("allow", boolean),
        hold_s=_default_hold_s(purpose) if hold_s is None else hold_s,
        review=True if review is None else review,
    )
    row.end()
    return choice


def _take_hold(row: Table, purpose: Purpose) -> int | None:
    """Returns the hold that a row asks for, None where it does not.

    Only reports of usage have one.
    """
    return row.take("hold", _hold) if purpose is Purpose.USAGE_STATISTICS else None


def _default_hold_s(purpose: Purpose) -> int:
    """Returns the hold of a file that names none: three days, a weekend and a day to look at a report."""
    return DEFAULT_HOLD_S if purpose is Purpose.USAGE_STATISTICS else 0


def _denies(row: Table) -> bool:
    """Tells whether a policy's row denies its purpose.

    Raises Misconfigured for one that allows: a fleet may narrow alone.
    """
    if row.take("allow", boolean):
        raise row.refuse("consent_policy_grants", "allow")
    return row.has("allow")


def _granted(row: Table) -> Granted:
    """Tells who granted, of a preseeded file."""
    granted = Granted(by=row.need("by", _name), role=row.need("role", _name), on=row.need("on", _day))
    row.end()
    return granted


def _lines(table: Table, rows: Mapping[Purpose, Table]) -> dict[str, int]:
    """Tells where each key stands that an objection can name."""
    places = {"notice": table.line("notice"), "do_not_track": table.line("do_not_track")}
    for purpose, row in rows.items():
        places |= {f"purposes.{purpose}.{name}": row.line(name) for name in ("allow", "hold", "review")}
    return {key: line for key, line in places.items() if line is not None}


def _hold(value: object) -> int:
    """Returns the seconds of a hold such as `72h` or `3d`, MAX_HOLD_S at the most.

    Raises ValueError or TypeError.
    """
    found = re.fullmatch(_HOLD, string(value))
    seconds = -1 if found is None else int(found[1]) * (HOUR_S if found[2] == "h" else DAY_S)
    if not 0 <= seconds <= MAX_HOLD_S:
        raise ValueError
    return seconds


def _day(value: object) -> str:
    """Returns a day as YYYY-MM-DD that the calendar has.

    Raises ValueError or TypeError.
    """
    text = string(value)
    if not re.fullmatch(_DAY, text):
        raise ValueError
    date.fromisoformat(text)  # a ValueError of its own for the 31st of February
    return text


def _name(value: object) -> str:
    """Returns a person's name or role: not blank, 200 characters at most, safe to print.

    Raises ValueError or TypeError.
    """
    text = string(value)
    if not text.strip() or len(text) > _MAX_NAME or not is_safe(text):
        raise ValueError
    return text
