"""Every kind of unsafe character through every way out: terminal, JSON, log, journal, ledger, documents, the authority.

A way that is left out here is a way that nobody guards, so each module that writes to a person's stream must be in WAYS_OUT.
"""

import ast
import fcntl
import io
import os
import pty
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from architecture import import_rules
from fixtures.data.unsafe_text import UNSAFE
from opanel_agent.cli.display.output import (
    CommandResult,
    Console,
    Style,
    Styled,
    Warned,
    complain,
    publish,
    standard_streams,
)
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Bug, Untrusted
from opanel_agent.core.ledger import chain
from opanel_agent.core.text_safety import is_safe
from opanel_agent.core.wire import mirror_probe
from opanel_agent.core.wire.mirror_probe import MirrorProbe
from opanel_agent.system import journal, log
from opanel_agent.system.terminal import LocalTerminal
from opanel_authority.cli import main as authority_cli

ROOT: Final = Path(__file__).resolve().parents[2]


def _command(text: str, *, as_json: bool) -> str:
    out, err = io.StringIO(), io.StringIO()
    result = CommandResult(
        result={text: text},
        lines=(text,),
        warnings=(Warned(code="c", title=text),),
        failure=Bug(Reason.INTERNAL, text, why=text),
    )
    publish(Console(out=out, err=err), result, "en", as_json=as_json)
    return out.getvalue() + err.getvalue()


def _error(text: str) -> str:
    out, err = io.StringIO(), io.StringIO()
    complain(Console(out=out, err=err), Bug(Reason.INTERNAL, text, why=text), "en", as_json=False)
    return out.getvalue() + err.getvalue()


def _raw(text: str) -> str:
    out, err = io.StringIO(), io.StringIO()
    console = Console(out=out, err=err)
    console.write_line(text)
    console.note(text)
    return out.getvalue() + err.getvalue()


class _InMemory(LocalTerminal):
    """A terminal of two streams, which have no typed line to drop."""

    def _drop_typed(self) -> None:
        return


def _terminal(text: str) -> str:
    shown = io.StringIO()
    terminal = _InMemory(io.BytesIO(b"x\n"), shown)
    terminal.show(text)
    terminal.ask(text)
    return shown.getvalue()


def _ledger(text: str) -> str:
    kind = chain.EntryKind.PURGED
    return chain.encode(chain.entry_after(chain.ChainState(), kind, 1, None, {"file": text})).decode()


def _authority(text: str, capsys: pytest.CaptureFixture[str], *, as_json: bool) -> str:
    authority_cli._show({"name": text, "rows": [{"name": text}, text]}, as_json=as_json)
    authority_cli._fail(Untrusted(Reason.FORMAT_INVALID, text, why=text), as_json=as_json)
    shown = capsys.readouterr()
    return shown.out + shown.err


WAYS_OUT: Final[dict[str, Callable[[str, pytest.CaptureFixture[str]], str]]] = {
    "a command's lines": lambda text, _: _command(text, as_json=False),
    "a command's JSON": lambda text, _: _command(text, as_json=True),
    "a command's error": lambda text, _: _error(text),
    "a console's own two methods": lambda text, _: _raw(text),
    "a question at the terminal": lambda text, _: _terminal(text),
    "a log line": lambda text, _: log.render("info", text, {"name": text}),
    "an event of the journal": lambda text, _: journal.entry("started", "info", text, {"name": text}).decode(),
    "the ledger": lambda text, _: _ledger(text),
    "what OpenSSL says of a mirror": lambda text, _: _probe(text),
    "the authority's lines": lambda text, capsys: _authority(text, capsys, as_json=False),
    "the authority's JSON": lambda text, capsys: _authority(text, capsys, as_json=True),
}


def _probe(text: str) -> str:
    return mirror_probe.encode([MirrorProbe(url="u", values={"why": text})]).decode()


@pytest.mark.parametrize("way", WAYS_OUT)
@pytest.mark.parametrize("kind", UNSAFE)
def test_nothing_unsafe_gets_out(way: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    got_out = WAYS_OUT[way](f"seen{UNSAFE[kind]}unseen", capsys)
    assert "seen" in got_out
    assert [line for line in got_out.split("\n") if not is_safe(line)] == []


# Every module that writes to a stream by itself, and the way out above that is its; None where no person reads it.
WRITERS: Final = {
    "opanel_agent.cli.display.output": "a command's lines",
    "opanel_agent.daemon.loop": "a command's error",  # the same two sentences, before there is a socket
    "opanel_agent.evaluate.export": None,  # the exported file
    "opanel_agent.evaluate.main": None,  # a frame, to the daemon
    "opanel_agent.evaluate.storage.records_at_rest": None,  # a frame, to the command that asked for it
    "opanel_agent.network.fetch": None,  # a frame, to evaluate
    "opanel_agent.silence.supervisor": None,  # a frame, to the process outside of the namespace
    "opanel_agent.system.log": "a log line",
    "opanel_authority.cli.licenses": None,  # how many of how many, to a terminal
    "opanel_authority.cli.main": "the authority's lines",
    "opanel_authority.api.serve": "the authority's lines",  # its log: method, quoted path, status
}


def test_no_other_module_writes_to_a_stream() -> None:
    found = {module for module, source in import_rules.read(ROOT).items() if any(_writes(ast.parse(source)))}
    assert found == set(WRITERS)
    assert {way for way in WRITERS.values() if way} <= set(WAYS_OUT)


def _writes(tree: ast.Module) -> Iterator[bool]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="print")):
                yield True
            case ast.Call(func=ast.Attribute(attr="write", value=ast.Attribute(attr="stdout" | "stderr" | "buffer"))):
                yield True


def test_a_colour_is_shown_where_there_are_any_and_says_nothing_alone() -> None:
    line = Styled("License  active\x1b[2J", part="active", style=Style.GOOD)
    for colours, shown in (
        (False, "License  active\\u001b[2J\n"),
        (True, "License  \x1b[1;32mactive\x1b[0m\\u001b[2J\n"),
    ):
        out = io.StringIO()
        publish(
            Console(out=out, err=None, colours=colours), CommandResult(result=None, lines=(line,)), "en", as_json=False
        )
        assert out.getvalue() == shown


@pytest.mark.parametrize(
    ("environ", "columns", "colours"),
    [
        ({"TERM": "xterm"}, 100, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, 100, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, 100, True),
        ({"TERM": "dumb"}, 100, False),
        ({}, 100, False),
        ({"TERM": "xterm"}, 20, True),
        ({"TERM": "xterm"}, 0, True),
    ],
)
def test_a_terminal_decides_width_and_colours(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], columns: int, colours: bool
) -> None:
    control, side = pty.openpty()
    try:
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        with open(side, "w", closefd=False) as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            console = standard_streams(environ)
            monkeypatch.undo()
    finally:
        os.close(control)
        os.close(side)
    assert (console.columns, console.colours) == ({100: 100, 20: 40, 0: 80}[columns], colours)


def test_a_file_has_eighty_columns_and_no_colour(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        console = standard_streams({"TERM": "xterm"})
        monkeypatch.undo()
    assert (console.columns, console.colours) == (80, False)
