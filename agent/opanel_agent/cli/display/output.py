"""Where what a command says goes: results on stdout, everything else on stderr, nothing lost without a word.

A command returns an `Outcome`; this prints it as lines for a person or as the documented envelope (docs/json.md). Names and
texts that come from documents or other processes pass through `text_safety`: a reseller's name must not be able to move the
reader's cursor.
"""

import contextlib
import json
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from enum import StrEnum, unique
from typing import Final, NamedTuple, Self, TextIO

from opanel_agent.cli.display.markup import Marked, rendered
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Storage
from opanel_agent.core.text_safety import escape, escape_json, escape_lines
from opanel_agent.core.units import Language
from opanel_agent.messages import describe_error, translate

COLUMNS: Final = 80
NARROWEST, WIDEST = 40, 120

Shown = None | bool | int | str | Sequence["Shown"] | Mapping[str, "Shown"]


@unique
class Style(StrEnum):
    """The colours of a terminal (ECMA-48, 8.3.117), by what they mean. Nothing is said by a colour alone."""

    PLAIN = ""
    GOOD = "1;32"
    WARNING = "1;33"
    BAD = "1;31"


class Styled(str):
    """A line of which a terminal with colours shows `part` in `style`."""

    __slots__ = ("part", "style")
    part: str
    style: Style

    def __new__(cls, line: str, *, part: str, style: Style) -> Self:
        made = super().__new__(cls, line)
        made.part, made.style = part, style
        return made


class Verbatim(str):
    """Marks a line that is shown as it goes over the wire, never folded."""

    __slots__ = ()


def escaped(line: str) -> str:
    """Returns a line as a terminal may show it, still `Verbatim` if it was."""
    return Verbatim(escape(line)) if isinstance(line, Verbatim) else escape(line)


class Warned(NamedTuple):
    """Something to know beside the result."""

    code: str
    title: str


class CommandResult(NamedTuple):
    """What a command came to: `result` for machines, `lines` for people, the exit status for scripts.

    `failure`: it did what it does, and what it was done for did not come about (a refresh that reached nobody): told as an
    error is, after the lines.
    """

    result: Shown
    lines: tuple[str, ...] = ()
    warnings: tuple[Warned, ...] = ()
    exit_status: int = 0
    failure: AgentError | None = None


class Console(NamedTuple):
    """The two streams, either of which may have been closed by whoever started this process.

    `columns` is the width of a line, `colours` whether the reader sees them, `terminal` whether a person reads `out`.
    """

    out: TextIO | None
    err: TextIO | None
    columns: int = COLUMNS
    colours: bool = False
    terminal: bool = False

    def write_line(self, text: str) -> None:
        """Raises Storage where the reader cannot get it. A reader who has gone (`| head`) is BrokenPipeError."""
        if self.out is None:
            raise Storage(Fault.IO_FAILED, "output_closed")
        try:
            self.out.write(self._shown(text) + "\n")
            self.out.flush()
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise Storage(Fault.IO_FAILED, "output_failed") from exc

    def _shown(self, text: str) -> str:
        safe = escape_lines(text)
        if isinstance(text, Marked):
            return rendered(safe, text.opened, styles=self.colours) if self.terminal else safe
        if not self.colours or not isinstance(text, Styled) or text.style is Style.PLAIN:
            return safe
        part = escape(text.part)
        return safe.replace(part, f"\x1b[{text.style}m{part}\x1b[0m", 1)

    def note(self, text: str) -> None:
        """Writes a line beside the result, folded on a terminal. Where stderr is gone there is nobody to tell."""
        if self.err is None:
            return
        with contextlib.suppress(OSError):
            for line in self.fold(text) if self.err.isatty() else (text,):
                print(escape_lines(line), file=self.err, flush=True)

    def fold(self, line: str) -> tuple[str, ...]:
        """Returns a line as those that a terminal has room for; bytes as they are, since they are compared."""
        return (line,) if isinstance(line, Verbatim) else folded(line, self.columns)

    def progress(self, text: str) -> None:
        """Shows how far a long command is, in one line of stderr that the next call overwrites; "" takes it away.

        Only on a terminal: a log has no use for it.
        """
        if self.err is None or not self.err.isatty():
            return
        width = self.columns - 1
        with contextlib.suppress(OSError):
            self.err.write(f"\r{escape(text)[:width]:<{width}}" + ("" if text else "\r"))
            self.err.flush()


def folded(line: str, columns: int = COLUMNS) -> tuple[str, ...]:
    """Returns the line as it is where it fits, else several that go on under its first word. A longer word stays whole."""
    indent = line[: len(line) - len(line.lstrip())]
    if len(line) <= columns:
        return (line,)
    return tuple(
        textwrap.wrap(line, columns, subsequent_indent=indent + "  ", break_long_words=False, break_on_hyphens=False)
    )


def envelope(outcome: CommandResult, errors: Sequence[Mapping[str, Shown]] = ()) -> str:
    """Returns the documented JSON of every command. Members may be added; none changes its meaning."""
    document = {
        "schema": 1,
        "result": outcome.result,
        "warnings": [{"code": warned.code, "title": warned.title} for warned in outcome.warnings],
        "errors": list(errors),
    }
    return escape_json(json.dumps(document, ensure_ascii=False, indent=2))


def publish(console: Console, outcome: CommandResult, lang: Language, *, as_json: bool) -> None:
    if as_json:
        _complain(console, outcome, lang)
        return
    for line in outcome.lines:
        safe = escape(line)
        match line:
            case Styled():
                console.write_line(Styled(safe, part=line.part, style=line.style))
            case Marked():
                console.write_line(Marked(safe, line.opened))
            case Verbatim():
                console.write_line(safe)
            case _:
                for each in console.fold(safe) if console.terminal else (safe,):
                    console.write_line(each)
    for warned in outcome.warnings:
        console.note(escape(translate("output.warning", lang, title=warned.title)))
    if outcome.failure is not None:
        _print_error(console, outcome.failure, lang)


def complain(console: Console, error: AgentError, lang: Language, *, as_json: bool) -> None:
    """Writes an error as one sentence, what to do, and its stable code; with --json as an envelope on stdout, too."""
    if as_json:
        _complain(console, CommandResult(result=None, failure=error), lang)
    else:
        _print_error(console, error, lang)


def _complain(console: Console, outcome: CommandResult, lang: Language) -> None:
    """Writes the envelope on stdout, with the failure in it; and on stderr, for whoever reads the log of a script."""
    errors = [] if outcome.failure is None else [_print_error(console, outcome.failure, lang)]
    console.write_line(envelope(outcome, errors))


def _print_error(console: Console, error: AgentError, lang: Language) -> Mapping[str, Shown]:
    """Prints an error on stderr; returns it as a member of `errors`."""
    title, hint = (escape(text) for text in describe_error(error, lang))
    console.note(title)
    console.note(translate("output.hint", lang, hint=hint))
    console.note(translate("output.code", lang, code=str(error.code), detail=error.detail))
    return {"code": str(error.code), "title": title, "hint": hint}


def standard_streams(environ: Mapping[str, str]) -> Console:
    """Returns this process's own. Letters that the terminal's encoding lacks become question marks rather than an error."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    return Console(
        out=sys.stdout,
        err=sys.stderr,
        columns=_columns(sys.stdout),
        colours=_has_colours(sys.stdout, environ),
        terminal=sys.stdout is not None and sys.stdout.isatty(),
    )


def _columns(stream: TextIO | None) -> int:
    """Returns the terminal's width within what can be read, and 80 where there is none."""
    try:
        width = os.get_terminal_size(stream.fileno()).columns if stream is not None else 0
    except (OSError, ValueError):
        return COLUMNS
    return min(max(width, NARROWEST), WIDEST) if width else COLUMNS


def _has_colours(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """Tells whether to colour: on a terminal, unless NO_COLOR (no-color.org) or its type says otherwise."""
    return (
        stream is not None and stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"
    )
