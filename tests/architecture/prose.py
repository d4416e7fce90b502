"""Measures how much of the code explains itself: docstrings of what is public, and explaining lines per code line.

    PYTHONPATH=tests python -m architecture.prose      # a row for each package, then what lacks a docstring or a verb

An explaining line is a line of a docstring, or a comment. A comment behind code counts as half of one, because it shares
its line. A code line is any other line that is not blank. What is public is a module, and a class, function or method
whose own name and whose class's name begin without an underscore; what is inside a function is not. Special methods are
not counted: the class's docstring has them.
"""

import ast
import io
import sys
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from architecture import import_rules

ROOT: Final = Path(__file__).resolve().parents[2]
CORE: Final = "opanel_agent.core"
# A closed list: an ending in "s" says nothing, since nouns have it, too. A new verb is added with its first use.
_VERBS: Final = """
Accepts Acts Add Adds Admits Allows Announces Answers Appends Applies Ask Asks Be Begin Begins Binds Brings Builds
Carries Change Changes Checks Clear Close Closes Collects Compares Computes Connects Converses Converts Copies
Counts Creates Cuts Decides Decodes Deletes Denies Describes Discards Do Does Draws Drops Empties Encodes Encrypts
End Ends Erase Erases Escapes Examines Exchanges Explains Fetches Fill Fills Finds Finishes Forgets Formats Free
Frees Generates Give Gives Grants Hands Has Hashes Have Holds Imports Inserts Install Installs Issue Issues Joins
Judges Keep Keeps Kills Lays Leaves Let Lets Lifts Limits Links Lists Lives Loads Locks Logs Make Makes Maps Marks
Measures Merges Mounts Move Moves Multiplies Names Needs Notes Notices Objects Open Opens Parses Permits Picks Plans
Polls Prepares Presents Prints Proves Purge Purges Put Puts Queues Raise Raises Read Reads Reaps Records Refuse
Refuses Registers Rejects Releases Remembers Remove Removes Rename Renames Replace Replaces Reports Requires Reserve
Resets Resolves Restricts Retries Return Returns Revokes Rotates Run Runs Saves Say Says Schedules Seals Searches
Sees Selects Sell Sells Send Sends Serializes Serve Serves Set Sets Shares Shows Sign Signs Skips Sorts Splits
Stands Starts Stops Store Stores Supersede Suspend Sweeps Take Takes Tell Tells Tests Translates Tries Trims Turns
Types Unlinks Updates Uses Validates Verifies Verify Wait Waits Walks Watches Withdraws Works Wraps Write Writes
Yields
"""
VERBS: Final = frozenset(_VERBS.split())
NOUN_BEFORE: Final = frozenset({"of", "are", "is"})  # "Lists of what changed" says what, not what is done
_ROUTES: Final = frozenset({"get", "post", "put", "patch", "delete"})
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Prose:
    """The figures of one module, or of several together."""

    code_lines: int = 0
    explaining_lines: float = 0
    public: int = 0
    undocumented: tuple[str, ...] = ()
    functions: int = 0
    verbless: tuple[str, ...] = ()

    def __add__(self, other: "Prose") -> "Prose":
        return Prose(
            code_lines=self.code_lines + other.code_lines,
            explaining_lines=self.explaining_lines + other.explaining_lines,
            public=self.public + other.public,
            undocumented=self.undocumented + other.undocumented,
            functions=self.functions + other.functions,
            verbless=self.verbless + other.verbless,
        )

    @property
    def ratio(self) -> float:
        """Explaining lines per code line."""
        return self.explaining_lines / max(1, self.code_lines)

    @property
    def share(self) -> float:
        """The share of what is public that has a docstring."""
        return 1 - len(self.undocumented) / max(1, self.public)

    @property
    def verb_share(self) -> float:
        """The share of the functions with a docstring that begin it with a verb."""
        return 1 - len(self.verbless) / max(1, self.functions)


def measure(module: str, source: str) -> Prose:
    """Returns the figures of one module."""
    tree = ast.parse(source)
    prose = {line for node in _documented(tree) for line in _docstring_lines(node)}
    comments, behind = _comments(source)
    filled = {number for number, line in enumerate(source.splitlines(), 1) if line.strip()}
    public = list(_public(tree, module)) if tree.body else []
    acting = [(node.name, text) for node in _acting(tree) if (text := ast.get_docstring(node))]
    return Prose(
        code_lines=len(filled - prose - comments),
        explaining_lines=len((prose | comments) & filled) + len(behind) / 2,
        public=len(public),
        undocumented=tuple(name for name, node in public if ast.get_docstring(node) is None),
        functions=len(acting),
        verbless=tuple(f"{module}.{name}" for name, text in acting if not _begins_with_verb(text)),
    )


def total(sources: Mapping[str, str], package: str) -> Prose:
    """Returns the figures of all modules below a package."""
    parts = (measure(name, text) for name, text in sources.items() if import_rules.under(name, package))
    return sum(parts, Prose())


def _documented(tree: ast.Module) -> Iterator[Documented]:
    for node in ast.walk(tree):
        if isinstance(node, Documented):
            yield node


def _docstring_lines(node: Documented) -> range:
    match node.body:
        case [ast.Expr(value=ast.Constant(value=str())) as first, *_]:
            return range(first.lineno, (first.end_lineno or first.lineno) + 1)
        case _:
            return range(0)


def _comments(source: str) -> tuple[set[int], set[int]]:
    """Lines that are a comment, and lines that have one behind code. Directives to a linter explain nothing."""
    whole: set[int] = set()
    behind: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(("# noqa", "# type:", "# ----", "#!")):
            (behind if token.line[: token.start[1]].strip() else whole).add(token.start[0])
    return whole, behind


def _public(tree: ast.Module, module: str) -> Iterator[tuple[str, Documented]]:
    yield module, tree
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield f"{module}.{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from _methods(node, f"{module}.{node.name}")


def _methods(node: ast.ClassDef, within: str) -> Iterator[tuple[str, Documented]]:
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and not inner.name.startswith("_"):
            yield f"{within}.{inner.name}", inner


def _acting(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yields what says what it does: not properties, which read as nouns, nor routes, whose text is the API's own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            wrappers = {each.id if isinstance(each, ast.Name) else _method(each) for each in node.decorator_list}
            if not wrappers & {"property", "cached_property", "setter", *_ROUTES}:
                yield node


def _method(decorator: ast.expr) -> str:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return called.attr if isinstance(called, ast.Attribute) else ""


def _begins_with_verb(text: str) -> bool:
    word, _, rest = text.partition(" ")
    return word.rstrip(",.:;") in VERBS and rest.partition(" ")[0] not in NOUN_BEFORE


def main() -> None:
    """Writes the table and the names to stdout."""
    sources = import_rules.read(ROOT)
    packages = sorted({".".join(name.split(".")[:2]) for name in sources if name.startswith("opanel_agent.")})
    for package in (import_rules.AGENT, *packages, import_rules.AUTHORITY):
        figures = total(sources, package)
        sys.stdout.write(
            f"{package:28} {figures.share:6.1%} of {figures.public:4} documented"
            f"  {figures.explaining_lines:7.0f} explaining / {figures.code_lines:5} code = {figures.ratio:.2f}"
            f"  {figures.verb_share:6.1%} of {figures.functions:4} begin with a verb\n"
        )
    names = (
        name
        for package in (import_rules.AGENT, import_rules.AUTHORITY)
        for name in (*total(sources, package).undocumented, *total(sources, package).verbless)
    )
    sys.stdout.write("\n".join([*names, ""]))


if __name__ == "__main__":
    main()
