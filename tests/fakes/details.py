"""Reads out of the agent's source which errors it can raise: every detail, and the values that always come with it.

A detail is the second argument of one of the error classes. Where that is a variable, it is followed one step: to the
calls of the function that takes a parameter `detail`, and to what is assigned to a name `detail`.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import opanel_agent
from opanel_agent.core.errors import AgentError

SOURCE: Final = Path(opanel_agent.__file__).parent
KINDS: Final = frozenset(kind.__name__ for kind in AgentError.__subclasses__())


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """One place that raises a detail. `names` are the values given there."""

    detail: str
    names: frozenset[str]
    file: str


@cache
def trees() -> Mapping[str, ast.Module]:
    return {str(path.relative_to(SOURCE)): ast.parse(path.read_text("utf-8")) for path in sorted(SOURCE.rglob("*.py"))}


def raised() -> tuple[Raised, ...]:
    return tuple(each for file, tree in trees().items() for each in _raised(file, tree))


def added() -> frozenset[str]:
    """The names of values that an error is given on its way (`error.but(line=…)`)."""
    calls = [node for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return frozenset().union(*(_given(call) for call in calls if _name(call.func) == "but"))


def said() -> frozenset[str]:
    """Every id that stands as a whole where something is said; of one that is put together, the part before the first value.

    `status.since` is an id, `purpose.` the beginning of several.
    """
    calls = [node for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    first = [call.args[0] for call in calls if _name(call.func) in {"say", "note"} and call.args]
    whole = {text for node in first for text in _texts(node)}
    texts = [node.values[0] for node in first if isinstance(node, ast.JoinedStr)]
    begun = {text.value for text in texts if isinstance(text, ast.Constant) and _constant(text)}
    return frozenset(str(text) for text in whole | begun)


def literals(tree: ast.AST) -> frozenset[str]:
    """Every whole string in the source."""
    return frozenset(
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _raised(file: str, tree: ast.Module) -> Iterator[Raised]:
    takers = dict(_takers(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _made(file, node, takers)
        elif isinstance(node, ast.Assign):
            for detail in _assigned(node):
                yield Raised(detail=detail, names=frozenset(), file=file)


def _made(file: str, call: ast.Call, takers: Mapping[str, tuple[int, frozenset[str]]]) -> Iterator[Raised]:
    name = _name(call.func)
    if name in KINDS and len(call.args) > 1:
        for detail in _texts(call.args[1]):
            yield Raised(detail=detail, names=_given(call), file=file)
    elif name == "refuse" and len(call.args) > 1 and file.startswith("core/"):  # a table's (core.strict_toml)
        for detail in _texts(call.args[0]):
            yield Raised(detail=detail, names=frozenset({"name", "line"}), file=file)
    elif name in takers:
        place, names = takers[name]
        for argument in call.args[place : place + 1]:
            for detail in _texts(argument):
                yield Raised(detail=detail, names=names, file=file)


def _takers(tree: ast.Module) -> Iterator[tuple[str, tuple[int, frozenset[str]]]]:
    """Functions with a parameter `detail`: where it stands, and the values that they give to the error."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        names = [argument.arg for argument in node.args.args if argument.arg != "self"]
        if "detail" in names:
            made = [call for call in ast.walk(node) if isinstance(call, ast.Call) and _name(call.func) in KINDS]
            given = frozenset.intersection(*map(_given, made)) if made else frozenset()
            yield node.name, (names.index("detail"), given)


def _assigned(node: ast.Assign) -> Iterator[str]:
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = zip(target.elts, node.value.elts, strict=True)
        else:
            pairs = zip([target], [node.value], strict=True)
        for name, value in pairs:
            if isinstance(name, ast.Name) and name.id == "detail":
                yield from _texts(value)


def _texts(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp():
            yield from _texts(node.body)
            yield from _texts(node.orelse)
        case ast.BoolOp():
            for value in node.values:
                yield from _texts(value)
        case _:
            return


def _constant(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant)


def _given(call: ast.Call) -> frozenset[str]:
    return frozenset(keyword.arg for keyword in call.keywords if keyword.arg)


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""
