"""Gathers what a command may touch in one value, so that a test can hand over another.

Only `local` builds the real one. What few commands use is imported when it is used: a command loads its own group only.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from opanel_agent.cli.client import DaemonClient
from opanel_agent.cli.display.output import Console
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Misconfigured, NotPermitted, Storage, Unavailable, Value
from opanel_agent.core.text_safety import escape
from opanel_agent.messages import language, translate, translate_code
from opanel_agent.system import invoker
from opanel_agent.system.environment import opt_out_names
from opanel_agent.system.storage import paths as installation
from opanel_agent.system.storage import settings as settings_file
from opanel_agent.system.storage.files import Files, LocalFiles
from opanel_agent.system.storage.paths import Paths

if TYPE_CHECKING:
    from opanel_agent.core.codec.json_value import Json
    from opanel_agent.core.codec.reader import Members
    from opanel_agent.core.consent.opt_outs import Signals
    from opanel_agent.core.units import Language
    from opanel_agent.system.consent.opt_outs import OptOuts
    from opanel_agent.system.storage.settings import Settings
    from opanel_agent.system.terminal import Terminal


def _nobody(_: object) -> "Members":
    raise Unavailable(Fault.NOT_RUNNING, "not_running")


class Context(NamedTuple):
    """`lang` is decided once, from the flag, the settings and the locale. `now_s` is the wall clock.

    `optouts` reads the opt-outs that stand in files; those of this command's environment are the client's, since they hold
    for what is typed here and not for the daemon. `teletype` finds the terminal that a person sits at, if there is one.
    `at_rest` is the export of a stopped agent, `records_at_rest` its records (`history`, `sent`), `stand_in` runs one pass
    where no daemon does.
    """

    paths: Paths
    files: Files
    optouts: "OptOuts"
    client: DaemonClient
    console: Console
    stdin: BinaryIO | None
    lang: "Language"
    euid: int
    now_s: Callable[[], float]
    environ: Mapping[str, str] = MappingProxyType({})
    teletype: "Callable[[], Terminal | None]" = lambda: None
    at_rest: Callable[[], bytes] = bytes
    records_at_rest: "Callable[[Sequence[str]], Members]" = _nobody
    stand_in: "Callable[[Mapping[str, Json]], Members]" = _nobody

    def sentence(self, text_id: str, /, **values: Value) -> str:
        return translate(text_id, self.lang, **values)

    def named(self, kind: str, code: str) -> str:
        return translate_code(kind, code, self.lang)

    def note(self, text_id: str, /, **values: Value) -> None:
        """Writes a line on stderr, now: for what must be read before something happens."""
        self.console.note(escape(self.sentence(text_id, **values)))

    def need_owner(self) -> None:
        """Raises NotPermitted unless this is who owns the settings: root, or the user of a user installation."""
        if self.euid not in (0, self.paths.owner):
            raise NotPermitted(Fault.NO_PERMISSION, "need_owner")

    def settings(self) -> "Settings":
        """Raises Misconfigured where the file is refused."""
        return settings_file.load(self.files, self.paths)

    def read_stdin(self, max_bytes: int) -> bytes:
        """Raises Storage where there is no standard input."""
        if self.stdin is None:
            raise Storage(Fault.IO_FAILED, "input_closed")
        try:
            return self.stdin.read(max_bytes)
        except OSError as exc:
            raise Storage(Fault.IO_FAILED, "input_failed") from exc


def local(console: Console, lang_flag: str | None, environ: Mapping[str, str]) -> Context:
    """Returns this machine. A settings file that is refused decides no language; who needs more of it will be told why."""
    paths, files = installation.find(), LocalFiles()
    try:
        preferred = settings_file.load(files, paths).language
    except (Misconfigured, Storage):
        preferred = None
    typed_in = {**invoker.dropped_opt_outs(environ, os.getppid()), **environ}
    return Context(
        paths=paths,
        files=files,
        optouts=_LateOptOuts(files, paths),
        client=DaemonClient(socket_path=paths.socket, signals=shell_signals(typed_in)),
        console=console,
        stdin=sys.stdin.buffer if sys.stdin else None,
        lang=language(lang_flag, preferred, environ),
        euid=os.geteuid(),
        now_s=time.time,
        environ=environ,
        teletype=_teletype,
        at_rest=lambda: _export(paths),
        records_at_rest=lambda words: _records(paths, words),
        stand_in=lambda intent: _one_pass(paths, intent),
    )


def shell_signals(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the opt-outs among the variables of this command, as they stand: `DO_NOT_TRACK=1`."""
    if not any(environ[name] for name in opt_out_names(environ)):
        return ()
    from opanel_agent.system.consent.opt_outs import in_environment

    return tuple(signal.what for signal in in_environment(environ))


class _LateOptOuts(NamedTuple):
    """Loads what reads opt-outs when they are asked for."""

    files: Files
    paths: Paths

    def read(self) -> "Signals":
        from opanel_agent.system.consent.opt_outs import LocalOptOuts

        return LocalOptOuts(self.files, self.paths, {}).read()


def _teletype() -> "Terminal | None":
    from opanel_agent.system import terminal

    return terminal.find(sys.stdin.buffer if sys.stdin else None)


def _export(paths: Paths) -> bytes:
    from opanel_agent.cli import offline_export

    return offline_export.export(paths.state_dir)


def _records(paths: Paths, words: Sequence[str]) -> "Members":
    from opanel_agent.cli import offline_export, oneshot

    return oneshot.result(offline_export.records(paths.state_dir, words))


def _one_pass(paths: Paths, intent: "Mapping[str, Json]") -> "Members":
    from opanel_agent.cli import oneshot

    return oneshot.run(paths, intent)
