"""On a terminal prose is folded at its width, beside the result as in it, and bytes as they go over the wire are not."""

import io

import pytest

from opanel_agent.cli.display.layout import verbatim
from opanel_agent.cli.display.output import CommandResult, Console, Warned, escaped, publish

SENTENCE = "  " + "word " * 40 + "https://license.opanel.example/v1/" + "x" * 90
BYTES = "User-Agent: " + "opanel agent " * 20


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(out: io.StringIO, err: io.StringIO, columns: int) -> tuple[list[str], list[str]]:
    console = Console(out=out, err=err, columns=columns, terminal=out.isatty())
    lines = (SENTENCE, *verbatim(BYTES))
    publish(console, CommandResult(result=None, lines=lines, warnings=(Warned("c", SENTENCE),)), "en", as_json=False)
    for line in lines:
        console.note(escaped(line))
    return out.getvalue().splitlines(), err.getvalue().splitlines()


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_terminal_folds_prose_between_words_and_leaves_bytes_whole(columns: int) -> None:
    for lines in printed(Screen(), Screen(), columns):
        assert lines[-1] == "  " + BYTES
        prose = lines[:-1]
        assert [line for line in prose if len(line) > columns and " " in line.strip()] == []
        assert "".join(prose[-len(prose) :]).replace(" ", "").endswith(SENTENCE.replace(" ", ""))
        assert prose[0].startswith(("  word", "warning:"))
        assert prose[1].startswith(("    word", "  word"))


def test_what_no_terminal_reads_is_a_line_a_sentence() -> None:
    out, err = printed(io.StringIO(), io.StringIO(), 80)
    assert out == [SENTENCE, "  " + BYTES]
    assert err == [f"warning: {SENTENCE}", SENTENCE, "  " + BYTES]
