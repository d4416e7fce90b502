"""Asks a person a question whose answer is no unless it is a plain yes.

A command that removes asks only a person who sits at it: standard input is a terminal, and neither `--yes` nor `--json` was
given. A script, a pipe, cron or Ansible is never asked and gets what it asked for, so that no job hangs in the night.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from opanel_agent.cli.context import Context
from opanel_agent.cli.display.output import folded
from opanel_agent.cli.parser import Options
from opanel_agent.core.text_safety import escape
from opanel_agent.core.units import Language
from opanel_agent.core.values import frozen
from opanel_agent.system.terminal import Terminal

# Of the language that asks: an “e” typed at an English question may be a slip, and a slip grants nothing.
YES: Final[Mapping[Language, frozenset[str]]] = {"tr": frozenset({"e", "evet"}), "en": frozenset({"y", "yes"})}
NO: Final = frozenset({"", "h", "hayır", "hayir", "n", "no", "later", "sonra"})
TRIES: Final = 3


@frozen
class Prompter:
    """Where the questions are asked, and in which language."""

    world: Context
    teletype: Terminal

    def show(self, text: str) -> None:
        """Shows lines, none of them wider than a terminal of 80 columns."""
        for line in text.split("\n"):
            for each in folded(escape(line)):
                self.teletype.show(each)

    def agrees(self, prompt: str) -> bool:
        """Tells whether the answer was a plain yes."""
        for _ in range(TRIES):
            typed = self.teletype.ask(prompt).strip().lower()
            if typed in YES[self.world.lang]:
                return True
            if typed in NO:
                return False
            self.show(self.world.sentence("setup.not_understood"))
        self.show(self.world.sentence("setup.taken_as_no"))
        return False


def agreed(options: Options, world: Context, shown: Callable[[], Iterable[str]], question: str) -> bool:
    """Tells whether to go on: a person at the terminal read what is `shown` and said yes, or nobody is to be asked.

    `question` is the id of its sentence.
    """
    unasked = "--yes" in options.flags or "--json" in options.flags or world.stdin is None or not world.stdin.isatty()
    teletype = None if unasked else world.teletype()
    if teletype is None:
        return True
    prompter = Prompter(world=world, teletype=teletype)
    for line in shown():
        prompter.show(line)
    return prompter.agrees(world.sentence(question))
