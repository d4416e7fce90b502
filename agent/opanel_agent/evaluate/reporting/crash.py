"""Keeps crashes of this agent until they are reported: `crashes.json`, scrubbed before it is written.

`note` is called where something unforeseen ended a process: by whoever runs as the agent's own user, after the state's
lock was let go. It keeps the latest three that are different, and none that was made into a report before: a fault that
comes every day is one report. What is noted says no more than a report may, so reading this file tells nothing either.

A consent is not retroactive: while crash reports are not allowed, `forget` throws away what was noted.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import opanel_agent
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.errors import AgentError, Untrusted
from opanel_agent.core.reporting import crash
from opanel_agent.core.values import frozen
from opanel_agent.evaluate.storage.ledger_file import digest
from opanel_agent.system.log import log_event
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths

MAX_PENDING: Final = 3
MAX_REPORTED: Final = 16
PACKAGE: Final = str(Path(opanel_agent.__file__).parent)
_MAX_BYTES: Final = 64 * 1024

Facts = dict[str, Json]


@frozen
class _Noted:
    """`pending` in the order of their coming; `reported` are digests of those that became reports."""

    pending: tuple[Facts, ...] = ()
    reported: tuple[str, ...] = ()

    def encode(self) -> bytes:
        return dumps({"schema": 1, "pending": [*self.pending], "reported": [*self.reported]})

    def with_(self, facts: Facts) -> "_Noted":
        known = {*self.reported, *map(_digest, self.pending)}
        if _digest(facts) in known:
            return self
        return _Noted(pending=(*self.pending, facts)[-MAX_PENDING:], reported=self.reported)

    def without(self, facts: Facts) -> "_Noted":
        left = tuple(kept for kept in self.pending if kept != facts)
        return _Noted(pending=left, reported=(*self.reported, _digest(facts))[-MAX_REPORTED:])


def facts_of(exc: BaseException) -> Facts:
    """Returns the facts of an exception that a report may have. Message, cause and variables are never read."""
    import traceback  # every pass imports this module, and next to none has an exception

    kind = type(exc)
    stack = traceback.StackSummary.extract(traceback.walk_tb(exc.__traceback__), lookup_lines=False)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    frames = crash.from_traceback(stack, package=PACKAGE)
    return crash.scrub(f"{kind.__module__}.{kind.__qualname__}", frames, opanel_agent.__version__, python)


def note(files: Files, paths: Paths, exc: BaseException) -> None:
    """Keeps a crash. Never raises an error of its own: the crash at hand matters more than its report."""
    try:
        with files.lock(paths.lock):
            noted = _read(files, paths)
            after = noted.with_(facts_of(exc))
            if after != noted:
                files.write(_path(paths), after.encode())
    except AgentError as error:
        log_event("crash_not_noted", level="warning", code=str(error.code), detail=error.detail)


def waits(files: Files, paths: Paths) -> bool:
    """Returns whether there is a list of crashes at all. Without one there is nothing to report or to forget."""
    return files.exists(_path(paths))


def pending(files: Files, paths: Paths) -> Iterator[Facts]:
    """Yields each crash to report. One is taken off the list when the next is asked for, so after it was sealed."""
    noted = _read(files, paths)
    for facts in noted.pending:
        yield facts
        noted = noted.without(facts)
        files.write(_path(paths), noted.encode())


def forget(files: Files, paths: Paths) -> None:
    """Removes all noted crashes: nobody permits crash reports, and what was noted before a consent is never reported."""
    files.remove(_path(paths))


def _path(paths: Paths) -> Path:
    return paths.state_dir / "crashes.json"


def _read(files: Files, paths: Paths) -> _Noted:
    data = files.read(_path(paths), max_bytes=_MAX_BYTES)
    try:
        return _Noted() if data is None else _decode(data)
    except Untrusted as refused:
        log_event("crashes_lost", level="warning", detail=refused.detail)
        return _Noted()


def _decode(data: bytes) -> _Noted:
    members = Members(loads(data, max_bytes=_MAX_BYTES), "crashes.json")
    members.constant("schema", 1)
    pending, reported = members.value("pending"), members.value("reported")
    members.end()
    match pending, reported:
        case list(), list():
            noted = _Noted(
                pending=tuple(item for item in pending if isinstance(item, dict)),
                reported=tuple(item for item in reported if isinstance(item, str)),
            )
            if noted.encode() == data:
                return noted
    raise members.refuse("pending")


def _digest(facts: Facts) -> str:
    return digest(dumps(facts))
