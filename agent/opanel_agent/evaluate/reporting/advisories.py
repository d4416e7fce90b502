"""Keeps the signed advisories: installs a set, verifies the installed one, logs each advisory once.

`advisories.jws` holds the newest set as it was signed and is verified from its bytes at every load. `advisories.json` holds
the newest `seq` installed by key and which advisories the journal has; losing it costs a second line in the journal,
because the installed set raises the floors again by itself.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.documents import advisory
from opanel_agent.core.documents.advisory import MAX_ADVISORIES, Advisory, Severity
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.values import field, frozen
from opanel_agent.evaluate.storage import state_files
from opanel_agent.evaluate.storage.state import AgentState
from opanel_agent.system.log import log_event
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths

_MAX_BYTES: Final = 16 * 1024
_URGENT: Final = frozenset({Severity.HIGH, Severity.CRITICAL})


@frozen
class _Known:
    """`floors` is the newest `seq` by key, `logged` the names of the advisories that the journal has."""

    floors: dict[str, int] = field(default_factory=dict)
    logged: frozenset[str] = frozenset()


@frozen
class AdvisoryStore:
    """The advisories on this machine, verified under one root."""

    files: Files
    paths: Paths
    root: Root

    def load(self, state: AgentState) -> tuple[Advisory, ...]:
        """Returns the installed set, oldest first; () where it does not verify (the root dropped its key).

        A set that is refused is noted in the state, so that the journal has it once.
        """
        text = state_files.read(self.files, self.paths.advisories, max_bytes=advisory.MAX_BYTES)
        if text is None:
            return ()
        try:
            return advisory.read(text, self.root, floors={})
        except Untrusted as refused:
            if state.note_refused(hashlib.sha256(text).hexdigest()):
                log_event("advisories_refused", level="warning", code=str(refused.code), detail=refused.detail)
            return ()

    def install(self, text: bytes, installed: tuple[Advisory, ...], now: int) -> tuple[Advisory, ...]:
        """Verifies and writes a set, logs what is new in it, and returns it. Raises Untrusted: nothing changed then."""
        known = self._known()
        floors = advisory.raised(known.floors, installed, self.root)
        taken = advisory.read(text, self.root, floors=floors)
        # The set first: after a crash in between it raises the floors again, and is logged once more.
        self.files.write(self.paths.advisories, text)
        _log(item for item in taken if item.jti not in known.logged and item.exp > now)
        self._write(advisory.raised(floors, taken, self.root), taken)
        return taken

    @property
    def _path(self) -> Path:
        return self.paths.advisories.with_suffix(".json")

    def _known(self) -> _Known:
        """Reads what is known; a file that `_write` did not write is logged and written anew."""
        data = state_files.read(self.files, self._path, max_bytes=_MAX_BYTES)
        try:
            return _Known() if data is None else _decode(data)
        except Untrusted as refused:
            log_event("advisories_state_lost", level="warning", detail=refused.detail)
            return _Known()

    def _write(self, floors: dict[str, int], taken: tuple[Advisory, ...]) -> None:
        """Writes what is known; one that was not logged because it had ended counts as logged: it will not begin again."""
        members: dict[str, Json] = {"schema": 1, "floors": dict(floors), "told": [item.jti for item in taken]}
        self.files.write(self._path, dumps(members))


def in_force(advisories: tuple[Advisory, ...], now: int) -> list[Json]:
    """Returns the advisories that have not ended, newest first, as the answer carries them."""
    return [_json(item) for item in reversed(advisories) if item.exp > now]


def _log(advisories: Iterable[Advisory]) -> None:
    for item in advisories:
        log_event(
            "security_advisory",
            level="warning" if item.severity in _URGENT else "info",
            id=item.jti,
            severity=str(item.severity),
            title=item.title["en"],
            fixed_in=item.fixed_in or "none",
        )


def _json(item: Advisory) -> Json:
    return {
        "id": item.jti,
        "seq": item.seq,
        "severity": str(item.severity),
        "title": dict(item.title),
        "body": dict(item.body),
        "fixed_in": item.fixed_in,
        "exp": item.exp,
    }


def _decode(data: bytes) -> _Known:
    members = Members(loads(data, max_bytes=_MAX_BYTES), "advisories.json")
    members.constant("schema", 1)
    floors = members.members("floors")  # thumbprints, which need not begin as a name does
    known = _Known(
        floors={kid: floors.integer(kid) for kid in floors.names()},
        logged=members.texts("told", max_items=MAX_ADVISORIES),
    )
    members.end()
    return known
