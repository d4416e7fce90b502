"""The agent's last answer as a command reads it: from the daemon, or from the file that it leaves for monitoring.

The answer is another process's word, perhaps of another version: members that are unknown here are ignored, and what is
missing or of another type is one error, never a guess.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from opanel_agent.cli.client import decode_reply
from opanel_agent.cli.context import Context
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import loads
from opanel_agent.core.codes import Fault
from opanel_agent.core.documents.controller import Controller, read_controller
from opanel_agent.core.errors import AgentError, Misconfigured, NotPermitted, Storage, Unavailable, Untrusted
from opanel_agent.core.license.states import Undecided, UnreadPart
from opanel_agent.core.units import LANGUAGES

MAX_BYTES: Final = 1024 * 1024
_YEAR_10000_S: Final = 253_402_300_800
PERMITS: Final = ("run", "change", "create", "paid_features")
CONTACT: Final = ("email", "phone", "url")


class LicenseView(NamedTuple):
    """`GET /v1/license`. Times are seconds since the epoch; `members` is the whole as it came."""

    state: str
    reasons: tuple[str, ...]
    since: int
    until: int | None
    permits: Mapping[str, bool]
    features: tuple[str, ...]
    limits: Mapping[str, Json]
    tier: str | None
    reseller: Mapping[str, str]
    reseller_controller: Controller | None
    action: str
    action_texts: Mapping[str, str]
    as_of: int
    good_until: int
    warned: bool
    members: Json
    terms: Mapping[str, Json] = MappingProxyType({})


class AnswerView(NamedTuple):
    """`GET /v1/answer`. `live`: the daemon itself gave it; else it is what the file held."""

    license: LicenseView
    members: Mapping[str, Json]
    live: bool

    @property
    def trouble(self) -> AgentError | None:
        """Why the last evaluation failed, where it did; the answer is then that of an earlier one."""
        trouble_json = self.part("trouble")
        return AgentError.from_json(trouble_json) if trouble_json else None

    @property
    def advisories(self) -> tuple[Json, ...]:
        """Those that are in force, as objects; docs/json.md says of what members."""
        value = self.members.get("advisories")
        return tuple(each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()

    @property
    def permitted(self) -> Mapping[str, bool]:
        """Whether the gate would let each purpose pass now; a command's as if it were given."""
        return {purpose: decision.get("permitted") is True for purpose, decision in self._purposes.items()}

    def denied(self, purpose: str) -> tuple[str, ...]:
        """Returns the code of every reason for which the gate would not let the purpose pass now."""
        reasons = self._purposes.get(purpose, {}).get("reasons")
        codes = [each.get("reason") for each in reasons if isinstance(each, dict)] if isinstance(reasons, list) else []
        return tuple(dict.fromkeys(code for code in codes if isinstance(code, str)))

    @property
    def _purposes(self) -> Mapping[str, Mapping[str, Json]]:
        purposes = self.part("consent").get("purposes")
        return (
            {name: each for name, each in purposes.items() if isinstance(each, dict)}
            if isinstance(purposes, dict)
            else {}
        )

    def part(self, name: str) -> Mapping[str, Json]:
        """Returns a member that is an object; an empty one where this version's daemon tells none."""
        value = self.members.get(name)
        return value if isinstance(value, dict) else {}


def number(members: Mapping[str, Json], name: str) -> int | None:
    """Returns a member that is a whole number; None where an older daemon does not tell it, or it is null."""
    value = members.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def unread(answer: AnswerView) -> tuple[UnreadPart, ...]:
    """Returns the parts of the activated machine that could not be read."""
    parts = answer.part("machine").get("unread")
    return tuple(
        UnreadPart(part=part, file=_text_or_none(each, "file"), errno=_text_or_none(each, "errno"))
        for each in (parts if isinstance(parts, list) else ())
        if isinstance(each, dict) and isinstance(part := each.get("part"), str)
    )


def undecided(answer: AnswerView) -> Undecided | None:
    """Returns the days for which such parts leave it open whether this is the activated server; else None."""
    days = answer.part("machine").get("undecided")
    if not isinstance(days, dict):
        return None
    since, grace, until = (number(days, name) for name in ("since", "grace", "until"))
    if since is None or grace is None or until is None or not 0 <= since <= grace <= until < _YEAR_10000_S:
        return None
    return Undecided(since=since, grace=grace, until=until)


def _text_or_none(members: Mapping[str, Json], name: str) -> str | None:
    value = members.get(name)
    return value if isinstance(value, str) else None


def latest(world: Context) -> AnswerView:
    """Returns from the daemon, else from the file. Raises the daemon's own failure where there is neither."""
    try:
        return read(world.client.get("/v1/answer"), live=True)
    except (Unavailable, NotPermitted) as failure:
        if failure.code not in (Fault.NOT_RUNNING, Fault.NO_PERMISSION):
            raise
        kept = _kept(world)
        if kept is None:
            raise
        return read(kept, live=failure.code is not Fault.NOT_RUNNING)


def read(members: Members, *, live: bool) -> AnswerView:
    """Raises Unavailable for anything but an answer."""
    with decode_reply():
        return AnswerView(
            license=license_of(members.members("license")),
            members={name: members.value(name) for name in members.names()},
            live=live,
        )


def license_of(members: Members) -> LicenseView:
    """Raises Untrusted where it is not what docs/json.md says."""
    permits, action = members.members("permits"), members.members("next_action")
    reseller, limits = members.value("reseller"), members.value("limits")
    return LicenseView(
        state=members.text("state"),
        reasons=_texts(members, "reasons"),
        since=members.integer("since"),
        until=members.optional_integer("until"),
        permits={name: permits.boolean(name) for name in PERMITS},
        features=_texts(members, "features"),
        limits=limits if isinstance(limits, dict) else {},
        tier=members.optional_text("tier"),
        reseller=_contact(Members(reseller, "reseller")) if isinstance(reseller, dict) else {},
        reseller_controller=_controller(reseller),
        action=action.text("code"),
        action_texts={lang: action.text(lang, max_length=2048) for lang in LANGUAGES},
        as_of=members.integer("as_of"),
        good_until=members.integer("good_until"),
        warned=bool(members.value("warnings")),
        terms=_terms(members),
        members={name: members.value(name) for name in members.names()},
    )


def _terms(members: Members) -> Mapping[str, Json]:
    """Returns the installed license; nothing where there is none, or an older daemon does not tell of it."""
    value = members.value("license") if members.has("license") else None
    return value if isinstance(value, dict) else {}


def _kept(world: Context) -> Members | None:
    """Returns the file, where there is one that this user may read and that holds an object."""
    try:
        data = world.files.read(world.paths.answer, max_bytes=MAX_BYTES)
        return None if data is None else Members(loads(data, max_bytes=MAX_BYTES), "answer")
    except (Storage, Misconfigured, Untrusted):
        return None  # the daemon's failure says more: it is what has to be cured


def _texts(members: Members, name: str) -> tuple[str, ...]:
    value = members.value(name)
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()


def _controller(reseller: Json) -> Controller | None:
    """Tells who answers for personal data at the reseller; None where his delegation does not name one."""
    named = reseller.get("controller") if isinstance(reseller, dict) else None
    if not isinstance(named, dict):
        return None
    given: Json = {name: value for name, value in named.items() if value is not None}
    return read_controller(Members({"controller": given}, "reseller"))


def _contact(members: Members) -> dict[str, str]:
    known = {name: members.value(name) for name in ("name", *CONTACT) if members.has(name)}
    return {name: value for name, value in known.items() if isinstance(value, str)}
