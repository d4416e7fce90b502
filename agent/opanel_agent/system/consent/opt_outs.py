"""Reads the opt-outs do-not-track and offline from every place where they may stand, afresh at each call (docs: consent).

A daemon does not inherit the administrator's shell, so files are read: existence for some, assignments for others. What
is there and cannot be read or understood counts as a signal, because a signal can only narrow: links are followed and
owners do not matter for the same reason. Its name and what stands in it may be of any bytes, and are shown escaped: a
signal is told, stored and compared as text. Capitals do not matter in a variable's name. An assignment of nothing or of
`0` is no signal; any other line that names one of the two variables is, whatever the shell would make of it.

`do_not_track = true` in consent.toml is read with that file, not here.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

from opanel_agent.core.consent.opt_outs import PROCESS_ENVIRONMENT, Signal, SignalKind, Signals
from opanel_agent.core.errors import AgentError
from opanel_agent.core.text_safety import escape
from opanel_agent.system.environment import opt_out_names
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths

MAX_BYTES: Final = 64 * 1024
_NAMED: Final = r"(?ai)(?<!\w)(?:OPANEL_AGENT_)?DO_NOT_TRACK(?!\w)"
_OFF_ASSIGNMENT: Final = r"""(?ai)\s*(?:export\s+)?(?:OPANEL_AGENT_)?DO_NOT_TRACK=(?:0|""|''|"0"|'0')?\s*"""
_COMMENT: Final = r"\s*[#;]"
_LINE_END: Final = r"\r\n|\n|\r"  # a lone carriage return ends a comment for systemd
_ASSIGNMENT: Final = r"(?a)(?:export\s+)?(\w+=\S{1,32})"


class OptOuts(Protocol):
    """Reads opt-outs. Tests replace it."""

    def read(self) -> Signals:
        """Returns every signal that stands now. Never fails: what cannot be read is a signal."""
        ...


class LocalOptOuts:
    """The signals of this machine and of this process's environment."""

    def __init__(self, files: Files, paths: Paths, environ: Mapping[str, str]) -> None:
        self._files = files
        self._paths = paths
        self._environ = environ

    def read(self) -> Signals:
        """Returns every opt-out that stands now, each with its place. Never raises: what cannot be read is one."""
        paths = self._paths
        return Signals(
            do_not_track=(
                *self._existing(paths.do_not_track),
                *self._existing(paths.machine_do_not_track),
                *in_environment(self._environ),
                *(signal for path in self._environment_files() for signal in self._in_file(path)),
                *self._unlistable(paths.environment_dir),
            ),
            offline=tuple(self._existing(paths.offline)),
        )

    def _existing(self, path: Path) -> Iterator[Signal]:
        if self._files.exists(path):
            yield _file(path)

    def _environment_files(self) -> Iterator[Path]:
        yield from self._paths.environment_files
        directory = self._paths.environment_dir
        yield from (directory / name for name in self._names(directory) or () if name.endswith(".conf"))

    def _unlistable(self, directory: Path) -> Iterator[Signal]:
        if self._names(directory) is None:
            yield _file(directory)

    def _names(self, directory: Path) -> tuple[str, ...] | None:
        try:
            return self._files.names(directory)
        except AgentError:
            return None

    def _in_file(self, path: Path) -> Iterator[Signal]:
        try:
            data = self._files.read(path, max_bytes=MAX_BYTES, follow=True)
        except AgentError:
            yield _file(path)
            return
        if data is None:
            yield from self._existing(path)  # a dangling link
        elif b"\0" in data:  # not a text in any encoding that these files are read in
            yield _file(path)
        else:
            yield from in_text(data.decode("latin-1"), escape(str(path)))


def in_environment(environ: Mapping[str, str]) -> tuple[Signal, ...]:
    """Returns the signals among a process's variables: any value but empty or `0`."""
    return tuple(
        Signal(kind=SignalKind.ENVIRONMENT, what=_shown(f"{name}={environ[name]}", name), place=PROCESS_ENVIRONMENT)
        for name in opt_out_names(environ)
        if environ[name] not in ("", "0")
    )


def in_text(text: str, place: str) -> Iterator[Signal]:
    """Yields the signals among the lines of an environment file: `NAME=value`, `export NAME=value`, or anything odder."""
    for number, line in enumerate(re.split(_LINE_END, text), start=1):
        named = re.search(_NAMED, line)
        if named is None or re.match(_COMMENT, line) or re.fullmatch(_OFF_ASSIGNMENT, line):
            continue
        yield Signal(kind=SignalKind.ENVIRONMENT, what=_shown(line.strip(), named[0]), place=place, line=number)


def _shown(line: str, name: str) -> str:
    """Returns the assignment as it stands, or only the name where the line is odd: it may hold other programs' secrets."""
    assignment = re.fullmatch(_ASSIGNMENT, line)
    return escape(assignment[1]) if assignment else name


def _file(path: Path) -> Signal:
    return Signal(kind=SignalKind.FILE, what=escape(path.name), place=escape(str(path.parent)))
