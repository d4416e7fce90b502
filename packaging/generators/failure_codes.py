"""Reads the codes of failures out of the sources that print them: the agent's own, the installer's and the authority's.

The agent's are pairs of a code and a detail, as the errors are made; install.sh's, packaging/installer's and the authority's
stand in a table of their own with sentence and cure. What this cannot read is an error, so that no code is left out of the
page unseen.
"""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
AGENT: Final = ROOT / "agent/opanel_agent"
AUTHORITY: Final = ROOT / "authority/opanel_authority/messages.py"
INSTALLER: Final = ROOT / "install.sh"
INSTALLER_TEXTS: Final = ROOT / "packaging/installer/texts.toml"
_PROBLEM: Final = re.compile(r"^problem\(\) \{\n    case \$1 in\n(.*?)^    esac$", re.MULTILINE | re.DOTALL)
_BRANCH: Final = re.compile(r"^    (\w+)\) cannot (.*) ;;$")
_BRANCH_PARTS: Final = 5  # exit status; sentence and cure in English; the same in Turkish


class Failure(NamedTuple):
    """A code with its sentence and cure, placeholders as `{name}`."""

    code: str
    sentence: str
    cure: str


def of_agent() -> Mapping[str, Sequence[str]]:
    """Every fault's code with the details it is printed with, in the order of `Fault`. Raises ValueError for one without."""
    from opanel_agent.core.codes import Fault  # below the path that the command sets
    from opanel_agent.core.problems import REFUSALS

    found: dict[str, set[str]] = {str(fault): set() for fault in Fault}
    for path in sorted(AGENT.rglob("*.py")):
        for name, detail in _made(ast.parse(path.read_text("utf-8"))):
            found[str(Fault[name])].add(detail)
    for refusal in REFUSALS:
        if str(refusal.code) in found:
            found[str(refusal.code)].add(refusal.detail)
    without = [code for code, details in found.items() if not details]
    if without:
        message = f"no error in {AGENT.relative_to(ROOT)} has the code {', '.join(without)}"
        raise ValueError(message)
    return {code: sorted(details) for code, details in found.items()}


def _made(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each `(Fault.NAME, "detail")` that stands at the beginning of a call, conditional ones in all their forms."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and len(call.args) > 1:
            for name in _faults(call.args[0]):
                for detail in _texts(call.args[1]):
                    yield name, detail


def _faults(node: ast.expr) -> list[str]:
    attributes = [each for each in ast.walk(node) if isinstance(each, ast.Attribute)]
    return [each.attr for each in attributes if isinstance(each.value, ast.Name) and each.value.id == "Fault"]


def _texts(node: ast.expr) -> list[str]:
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp(body=body, orelse=orelse):
            return [*_texts(body), *_texts(orelse)]
        case _:
            return []


def of_installer(language: str) -> list[Failure]:
    """Every code of install.sh in this language, then of what it hands over to, in the order of the tables.

    Raises ValueError for a line of another form.
    """
    table = _PROBLEM.search(INSTALLER.read_text("utf-8"))
    if table is None:
        message = "install.sh has no table problem()"
        raise ValueError(message)
    found = [_branch(line, language) for line in table[1].splitlines()]
    problems: dict[str, dict[str, list[str]]] = tomllib.loads(INSTALLER_TEXTS.read_text("utf-8"))["problems"]
    handed = [(code, *(re.sub(r"\{\d\}", "{…}", text) for text in row[language])) for code, row in problems.items()]
    return list(dict.fromkeys([*found, *(Failure(*each) for each in handed)]))  # both check for root and systemd


def _branch(line: str, language: str) -> Failure:
    branch = _BRANCH.fullmatch(line)
    parts = shlex.split(branch[2]) if branch else []
    if branch is None or len(parts) != _BRANCH_PARTS:
        message = f"install.sh, problem(): {line.strip()}"
        raise ValueError(message)
    sentence, cure = parts[3:5] if language == "tr" else parts[1:3]
    return Failure(branch[1], _named(sentence), _named(cure))


def _named(text: str) -> str:
    """A shell's text with its own paths in it, and its parameters as placeholders."""
    return re.sub(r"\$\d", "{…}", text.replace("$place", "/opt/opanel-agent"))


def of_authority() -> list[Failure]:
    """Every detail of opanel-authority with sentence and hint, in the order of the words. English, as the program is."""
    for node in ast.parse(AUTHORITY.read_text("utf-8")).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id="_TABLE"), value=ast.Dict() as table):
                rows: dict[str, tuple[str, str]] = ast.literal_eval(table)
                return [Failure(detail, *texts) for detail, texts in sorted(rows.items())]
            case _:
                continue
    message = f"{AUTHORITY.relative_to(ROOT)} has no _TABLE"
    raise ValueError(message)
