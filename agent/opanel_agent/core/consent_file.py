"""consent.toml and consent.d: what the administrator said, read whole or refused whole. Pure.

`consent.toml` is the one place that a grant can come from; a fault in it denies every consent. A policy file in `consent.d`
may deny, lengthen a hold and ask not to be tracked; a grant there is a fault, and a fault there denies every consent too.

`edit` changes the literal of one line and nothing else, so that comments, order and a template survive. It parses what it
made and compares; where the file is written in a way in which one literal cannot be found, it refuses and says the line to
type. Ownership and size are judged where files are read (`system.consents`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from opanel_agent.core.errors import Misconfigured
from opanel_agent.core.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.reasons import Reason
from opanel_agent.core.strict_toml import Table, boolean, line_of, loads, string

HOUR_S: Final = 3600
DEFAULT_HOLD_S: Final = 72 * HOUR_S
MAX_HOLD_S: Final = 30 * 24 * HOUR_S
_HOLD: Final = re.compile(r"(\d{1,4})([hd])", re.ASCII)
_NOTICE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MAX_NAME: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One purpose's answer. `hold_s`: how long a finished report waits; `review`: each waits until it was looked at."""

    allow: bool
    hold_s: int
    review: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """Who granted in a preseeded file, in which role, on which day."""

    by: str
    role: str
    on: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentFile:
    """`notice` is the version that the answers were given to; a purpose that is not among `purposes` was never asked."""

    notice: str
    do_not_track: bool
    purposes: Mapping[Purpose, Choice]
    granted: Granted | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A file of consent.d: what it denies, the holds that it lengthens to, and whether it asks not to be tracked."""

    place: str
    denied: frozenset[Purpose]
    holds: Mapping[Purpose, int]
    do_not_track: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentReading:
    """What stands now. `file` None with `refused` None: there is no file, nobody was asked."""

    file: ConsentFile | None = None
    refused: Misconfigured | None = None
    policies: tuple[Policy, ...] = ()

    def hold_s(self, purpose: Purpose) -> int:
        """How long a report of this purpose waits: the longest that anyone asks for."""
        choice = None if self.file is None else self.file.purposes.get(purpose)
        own = DEFAULT_HOLD_S if choice is None else choice.hold_s
        return max([own, *(policy.holds.get(purpose, 0) for policy in self.policies)])

    def review(self, purpose: Purpose) -> bool:
        choice = None if self.file is None else self.file.purposes.get(purpose)
        return purpose is Purpose.CRASH_REPORTS if choice is None else choice.review


def parse(data: bytes) -> ConsentFile:
    """Raises Misconfigured(consent_refused, …) with `name` and `line` of the first fault."""
    table = loads(data, Reason.CONSENT_REFUSED)
    told = table.table("purposes")
    purposes = {purpose: _choice(told.table(purpose), purpose) for purpose in CONSENT_BASED if told.has(purpose)}
    told.end()
    file = ConsentFile(
        notice=table.need("notice", _notice),
        do_not_track=table.take("do_not_track", boolean) or False,
        purposes=purposes,
        granted=_granted(table.table("granted")) if table.has("granted") else None,
    )
    table.end()
    return file


def parse_policy(data: bytes, place: str) -> Policy:
    """A file of consent.d. Raises Misconfigured(consent_refused, …): a grant there is a fault."""
    table = loads(data, Reason.CONSENT_REFUSED)
    told = table.table("purposes")
    denied: set[Purpose] = set()
    holds: dict[Purpose, int] = {}
    for purpose in CONSENT_BASED:
        if not told.has(purpose):
            continue
        row = told.table(purpose)
        if row.take("allow", boolean):
            raise row.refuse("consent_policy_grants", "allow")
        if row.has("allow"):
            denied.add(purpose)
        hold_s = row.take("hold", _hold)
        if hold_s is not None:
            holds[purpose] = hold_s
        row.end()
    told.end()
    policy = Policy(
        place=place,
        denied=frozenset(denied),
        holds=holds,
        do_not_track=table.take("do_not_track", boolean) or False,
    )
    table.end()
    return policy


def edit(data: bytes, purpose: Purpose, *, allow: bool) -> bytes:
    """The file with that purpose's `allow` changed and every other byte as it was.

    Raises Misconfigured: for a file that is refused, or `consent_edit` where this cannot find the one literal to change.
    """
    before = parse(data)
    choice = before.purposes.get(purpose)
    if choice is not None and choice.allow is allow:
        return data
    wanted = "true" if allow else "false"
    text = data.decode("utf-8")
    lines = text.split("\n")
    number = None if choice is None else _allow_line(lines, purpose)
    if choice is not None and number is not None:
        lines[number] = re.sub(r"(=\s*)(?:true|false)", rf"\g<1>{wanted}", lines[number], count=1)
        after = "\n".join(lines).encode("utf-8")
        expected = replace(before, purposes={**before.purposes, purpose: replace(choice, allow=allow)})
        if parse(after) == expected:
            return after
    raise Misconfigured(
        Reason.CONSENT_REFUSED,
        "consent_edit",
        line=line_of(text, purpose),
        type=f"[purposes.{purpose}] allow = {wanted}",
    )


def fresh(notice: str, answers: Mapping[Purpose, bool], *, granted: Granted | None = None) -> dict[str, object]:
    """The content of a new consent.toml, for tomli_w: one answer a purpose, holds and review at their defaults."""
    told: dict[str, object] = {"schema": 1, "notice": notice, "do_not_track": False}
    if granted is not None:
        told["granted"] = {"by": granted.by, "role": granted.role, "on": granted.on}
    told["purposes"] = {
        str(purpose): {"allow": answers.get(purpose, False), **_DEFAULTS[purpose]} for purpose in CONSENT_BASED
    }
    return told


_DEFAULTS: Final[Mapping[Purpose, Mapping[str, object]]] = {
    Purpose.USAGE_STATISTICS: {"hold": "72h"},
    Purpose.CRASH_REPORTS: {"review": True},
}


def _choice(row: Table, purpose: Purpose) -> Choice:
    hold_s = row.take("hold", _hold)
    review = row.take("review", boolean)
    choice = Choice(
        allow=row.need("allow", boolean),
        hold_s=hold_s if hold_s is not None else (0 if purpose is Purpose.CRASH_REPORTS else DEFAULT_HOLD_S),
        review=review if review is not None else purpose is Purpose.CRASH_REPORTS,
    )
    row.end()
    return choice


def _granted(row: Table) -> Granted:
    granted = Granted(by=row.need("by", _name), role=row.need("role", _name), on=row.need("on", _notice))
    row.end()
    return granted


def _allow_line(lines: list[str], purpose: Purpose) -> int | None:
    """The index of the line `allow = …` under the header [purposes.<purpose>]; None where it is written otherwise."""
    header = re.compile(rf"\s*\[\s*purposes\s*\.\s*{purpose}\s*\]\s*(?:#.*)?")
    begun = next((index for index, line in enumerate(lines) if header.fullmatch(line)), None)
    if begun is None:
        return None
    for index in range(begun + 1, len(lines)):
        if lines[index].lstrip().startswith("["):
            return None
        if re.match(r"\s*allow\s*=\s*(?:true|false)\b", lines[index]):
            return index
    return None


def _hold(value: object) -> int:
    found = _HOLD.fullmatch(string(value))
    seconds = -1 if found is None else int(found[1]) * (HOUR_S if found[2] == "h" else 24 * HOUR_S)
    if not 0 <= seconds <= MAX_HOLD_S:
        raise ValueError
    return seconds


def _notice(value: object) -> str:
    if not _NOTICE.fullmatch(string(value)):
        raise ValueError
    return string(value)


def _name(value: object) -> str:
    text = string(value)
    if not text.strip() or len(text) > _MAX_NAME or not text.isprintable():
        raise ValueError
    return text
