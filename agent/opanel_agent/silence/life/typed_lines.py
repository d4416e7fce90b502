"""What is typed in a proof: every command of the table as an administrator types it, and what each line may send.

The groups are a day of an administrator's: everything is looked at, sent, taken back, given again and removed, and looked at
once more while the agent is stopped. In each group everything is typed at one moment, at which a stopped clock lets nothing
fall due: whatever leaves then is the line's own. Words in braces are files and ids that `typist` fills in; a line whose id
is not there is named among those that were not typed.

Completion runs in the administrator's own shell, so it is typed as well, where bash and the installed file are.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from opanel_agent.core.commands import COMMANDS
from opanel_agent.core.values import frozen
from opanel_agent.silence.judge import Sends
from opanel_agent.system.storage.installation import NAME


@frozen
class Line:
    """`text` is what follows the program's name. `as_agent`: a system installation runs it as the agent's user."""

    text: str
    sends: Sends = Sends.NOTHING
    as_agent: bool = False

    def words(self, fields: Mapping[str, str]) -> list[str] | None:
        """Returns the words to type; None where one of the braces has nothing to be filled with."""
        try:
            return [word.format_map(fields) for word in self.text.split()]
        except KeyError:
            return None


def _quiet(*texts: str) -> tuple[Line, ...]:
    return tuple(Line(text=text) for text in texts)


def _sending(*texts: str) -> tuple[Line, ...]:
    return tuple(Line(text=text, sends=Sends.ORDERED) for text in texts)


def _asking(*texts: str) -> tuple[Line, ...]:
    return tuple(Line(text=text, sends=Sends.FIXED) for text in texts)


def _probing(*texts: str) -> tuple[Line, ...]:
    return tuple(Line(text=text, sends=Sends.PROBED) for text in texts)


# Everything is allowed, a report and a crash report wait.
LOOKED_AT: Final = (
    *_quiet("--help", "--version", "license --help", "data held send --help"),
    *_quiet("status", "status --json", "status --check", "status --metrics"),
    *_quiet("license show", "license show --urls", "license verify {license}"),
    *_quiet("consent show", "consent check", "consent check {consent}", "consent why usage_statistics"),
    *_quiet("consent why license_status", "consent history", "consent history --verbose -n 3", "consent receipt"),
    *_quiet("dnt explain", "notice", "notice --lang tr", "advisories", "data catalog --verbose"),
    *_quiet("data catalog", "data preview usage_statistics"),
    *_quiet("data held", "data held show {usage}", "data held show {crash}", "data sent", "data sent --verbose"),
    *_quiet("data export -o {export}", "data export --html {page}", "verify {export}"),
    *_quiet("verify-install"),
    *_quiet("license remove --dry-run", "data purge --dry-run", "reset --image --dry-run"),
    *_asking("license refresh"),
    *_probing("doctor", "doctor --verbose", "doctor --report"),
)
# The license key is nobody's; what needs a license is refused where there is none.
ORDERED: Final = (
    *_sending("data held send {usage}", "license install {key}", "license activate", "data request access"),
    *_sending("data request erase {usage}", "data request access --license", "license release"),
    *_quiet("license install {license}", "license activate -o {order}", "data request access -o {order}"),
    *_quiet("data sent {usage}", "data sent usage_statistics", "consent receipt usage_statistics"),
)
NARROWED: Final = (
    *_quiet("data held drop {crash}", "consent deny crash_reports", "consent withdraw usage_statistics"),
    *_quiet("consent why usage_statistics", "consent review", "consent deny --all"),
    *_quiet("dnt on", "dnt explain", "license install {key}", "license activate", "data request access"),
    *_quiet("data held send {usage}", "setup", "dnt off"),
    *_quiet("offline on", "license refresh", "doctor", "license activate", "data request access", "offline off"),
)
WIDENED: Final = _quiet(
    *("setup", "consent deny crash_reports", "consent allow crash_reports usage_statistics"),
    *("setup --preseed {answers}", "data preview usage_statistics", "status"),
)
REMOVED: Final = _quiet("license remove", "data purge", "data purge --yes", "reset --image -o {order}", "status")
# In every other scenario, where the passage of time is looked at.
REFRESHED: Final = _asking("license refresh")
# The agent is stopped.
AT_REST: Final = (
    *_probing("doctor --report"),
    *_quiet("status", "license show", "data sent", "data held", "consent history", "consent receipt"),
    *_quiet("data export -o {export}", "verify {export}", "verify-install", "consent deny usage_statistics"),
    *_quiet("consent allow usage_statistics", "dnt on", "dnt off", "offline on", "license refresh"),
    Line(text="reset --image -o {order}", as_agent=True),
)
GROUPS: Final = (LOOKED_AT, ORDERED, NARROWED, WIDENED, REMOVED)

# What is not typed, by its words, with the reason: published.
ITSELF: Final = "itself"
NOTHING_HELD: Final = "nothing_held"
COMPLETION_ABSENT: Final = "completion_absent"
OTHER_SHELL: Final = "other_shell"
OTHER_USER: Final = "other_user"  # a chamber has root alone
ENTRY_ABSENT: Final = "entry_absent"
NOT_TYPED: Final = (ITSELF, NOTHING_HELD, COMPLETION_ABSENT, OTHER_SHELL, OTHER_USER, ENTRY_ABSENT)
NEVER_TYPED: Final[Mapping[str, str]] = {"prove-silence": ITSELF, "zsh": OTHER_SHELL, "fish": OTHER_SHELL}

COMPLETION: Final = "bash"
_COMPLETIONS: Final = f"share/bash-completion/completions/{NAME}"
# Asks for completion as bash does at Tab: after the words of each line of standard input, a next word or an option.
_TAB: Final = """
source "$1" || exit 1
while IFS=' ' read -r -a typed; do
    for begun in '' -; do
        COMP_WORDS=("${typed[@]}" "$begun")
        COMP_CWORD=${#typed[@]}
        _opanel_agent
        printf '%s ' "${COMPREPLY[@]}"
    done
done
"""


def commands_in(lines: Iterable[Line]) -> frozenset[tuple[str, ...]]:
    """Returns the rows of the table of commands that lines use, each by its words."""
    known = {command.words for command in COMMANDS}
    found = set()
    for line in lines:
        words = tuple(line.text.split())
        rows = [words[:size] for size in range(len(words), 0, -1) if words[:size] in known]
        found.update(rows[:1])
    return frozenset(found)


def completion_file(prefixes: Iterable[Path]) -> Path | None:
    """Finds Bash's completion, as it was installed below one of these folders."""
    return next((file for prefix in prefixes if (file := prefix / _COMPLETIONS).is_file()), None)


def tab_command(bash: str, file: Path) -> list[str]:
    """Returns what completes each line of its standard input in a shell that has loaded that file."""
    return [bash, "--noprofile", "--norc", "-c", _TAB, bash, str(file)]


def tab_input() -> bytes:
    """Returns the words of every group and command, a line each."""
    typed = {command.words[:size] for command in COMMANDS for size in range(len(command.words) + 1)}
    return b"".join(" ".join((NAME, *words)).encode() + b"\n" for words in sorted(typed))
