"""Advisories on this machine: taken, kept, told.

`advisories.jws` holds the newest set as it was signed and is verified from its bytes at every load. `advisories.json` holds
the newest `seq` taken by key and which advisories the journal already has; losing it costs a second line in the journal,
because the kept set raises the floors again by itself.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.strict_json import Json, Members, dumps, loads
from opanel_agent.core.documents import advisory
from opanel_agent.core.documents.advisory import MAX_ADVISORIES, Advisory, Severity
from opanel_agent.core.errors import Untrusted
from opanel_agent.evaluate import state_files
from opanel_agent.evaluate.context import PassContext
from opanel_agent.system.log import log_event

_MAX_BYTES: Final = 16 * 1024
_LOUD: Final = frozenset({Severity.HIGH, Severity.CRITICAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """`floors` is the newest `seq` by key, `told` the names of those that the journal has."""

    floors: dict[str, int] = field(default_factory=dict)
    told: frozenset[str] = frozenset()


def adopt(context: PassContext, text: bytes) -> None:
    """A set of advisories, from a mirror or put here by hand. Raises Untrusted; the set at hand then stays."""
    known = _known(context)
    floors = advisory.raised(known.floors, _kept(context), context.root)
    taken = advisory.read(text, context.root, floors=floors)
    # The set first: after a crash in between it raises the floors again, and is told once more.
    context.world.files.write(context.world.paths.advisories, text)
    _tell(each for each in taken if each.jti not in known.told and each.exp > context.now)
    _write(context, advisory.raised(floors, taken, context.root), taken)


def load(context: PassContext) -> list[Json]:
    """What is in force now, newest first, as the answer carries it."""
    return [_json(each) for each in reversed(_kept(context)) if each.exp > context.now]


def _kept(context: PassContext) -> tuple[Advisory, ...]:
    """The set at hand; none where it does not verify any more (the root dropped its key), until the next one comes."""
    text = state_files.read(context.world.files, context.world.paths.advisories, max_bytes=advisory.MAX_BYTES)
    if text is None:
        return ()
    try:
        return advisory.read(text, context.root, floors={})
    except Untrusted as refused:
        if context.memory.tell(hashlib.sha256(text).hexdigest()):
            log_event("advisories_refused", level="warning", code=str(refused.code), detail=refused.detail)
        return ()


def _tell(advisories: Iterable[Advisory]) -> None:
    for each in advisories:
        log_event(
            "security_advisory",
            level="warning" if each.severity in _LOUD else "info",
            id=each.jti,
            severity=str(each.severity),
            title=each.title["en"],
            fixed_in=each.fixed_in or "none",
        )


def _json(told: Advisory) -> Json:
    return {
        "id": told.jti,
        "seq": told.seq,
        "severity": str(told.severity),
        "title": dict(told.title),
        "body": dict(told.body),
        "fixed_in": told.fixed_in,
        "exp": told.exp,
    }


def _path(context: PassContext) -> Path:
    return context.world.paths.advisories.with_suffix(".json")


def _known(context: PassContext) -> _Known:
    """A file that is not what `_write` writes is said and written anew."""
    data = state_files.read(context.world.files, _path(context), max_bytes=_MAX_BYTES)
    try:
        return _Known() if data is None else _decode(data)
    except Untrusted as refused:
        log_event("advisories_state_lost", level="warning", detail=refused.detail)
        return _Known()


def _write(context: PassContext, floors: dict[str, int], taken: tuple[Advisory, ...]) -> None:
    """One that was not told because it had ended counts as told: it will not begin again."""
    told: dict[str, Json] = {"schema": 1, "floors": dict(floors), "told": [each.jti for each in taken]}
    context.world.files.write(_path(context), dumps(told))


def _decode(data: bytes) -> _Known:
    said = Members(loads(data, max_bytes=_MAX_BYTES), "advisories.json")
    said.constant("schema", 1)
    floors = said.members("floors")  # thumbprints, which need not begin as a name does
    known = _Known(
        floors={kid: floors.integer(kid) for kid in floors.names()},
        told=said.texts("told", max_items=MAX_ADVISORIES),
    )
    said.end()
    return known
