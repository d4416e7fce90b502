"""Changes one condition of the gate at a time and sees the gate's tests fail: what no test notices, no test holds.

    tests/properties/mutants.py [--list]

Of core/consent/gate.py: each `if` always and never taken, each filter of a comprehension dropped, each comparison and
each `not` turned, each operand of an `and` or `or` and each element of a tuple or set left out, each `yield` and bare
`return` left
out, each True and False turned. A mutant is run in a process of its own that has loaded the changed module in the place of
the real one; it dies when a test fails, or when the module no longer loads. EQUIVALENT names those that cannot die, each
with its reason; one that dies all the same, or is no longer there, fails the run, so that the list stays true.

Ends with `mutants N, died N, equivalent N` and exit 0, or with the names of those that survived and exit 1.
"""

import ast
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

# what the gate imports is loaded once, before the processes part
import opanel_agent.core.consent.consent_file as loaded_before

MODULE: Final = "opanel_agent.core.consent.gate"
TESTS: Final = (
    "unit/core/consent/test_gate.py",
    "unit/core/consent/test_gate_consent.py",
    "properties/test_gate_lattice.py",
)
ROOT: Final = Path(__file__).parents[1]

EQUIVALENT: Final[dict[str, str]] = {}

Change = Callable[[], object]
_TURNED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


def mutants(source: str) -> Iterator[tuple[str, ast.Module]]:
    """Every changed module with its name, `function: what was done to: the code`, numbered where it repeats."""
    seen: Counter[str] = Counter()
    for number in range(len(list(_changes(ast.parse(source))))):
        tree = ast.parse(source)
        name, change = list(_changes(tree))[number]
        change()
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name} ({seen[name]})"), ast.fix_missing_locations(tree)


def _changes(tree: ast.Module) -> Iterator[tuple[str, Change]]:
    for top in tree.body:
        where = getattr(top, "name", None) or ast.unparse(getattr(top, "target", top)).partition("\n")[0]
        for node in _code(top):
            for what, change in _of(node):
                yield f"{where}: {what}", change


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """What is run: without annotations, decorators and what stands in square brackets, which are types here."""
    yield node
    for name, field in ast.iter_fields(node):
        if name not in {"annotation", "returns", "decorator_list", "slice"}:
            for child in field if isinstance(field, list) else [field]:
                if isinstance(child, ast.AST):
                    yield from _code(child)


def _of(node: ast.AST) -> Iterator[tuple[str, Change]]:
    match node:
        case ast.If() | ast.IfExp():
            yield from _tests(node)
        case ast.comprehension(ifs=[_, *_]):
            yield f"drop the filter {ast.unparse(node.ifs[0])}", node.ifs.clear
        case ast.Compare(ops=[op]):
            turned = _TURNED[type(op)]()
            yield f"turn {ast.unparse(node)}", lambda: setattr(node, "ops", [turned])
        case ast.BoolOp(values=operands) | ast.Tuple(elts=operands, ctx=ast.Load()) | ast.Set(elts=operands):
            for place, operand in enumerate(operands):
                yield f"drop {ast.unparse(operand)} of {ast.unparse(node)}", _dropping(operands, place)
        case ast.UnaryOp(op=ast.Not()):
            yield f"turn {ast.unparse(node)}", lambda: setattr(node, "operand", ast.UnaryOp(ast.Not(), node.operand))
        case ast.Constant(value=bool(constant)):
            yield f"turn {constant}", lambda: setattr(node, "value", not constant)
    for _, body in ast.iter_fields(node):
        if isinstance(body, list):
            yield from _statements(body)


def _tests(node: ast.If | ast.IfExp) -> Iterator[tuple[str, Change]]:
    for always in (True, False):
        name = f"{'always' if always else 'never'} {ast.unparse(node.test)}"
        yield name, lambda always=always: setattr(node, "test", ast.Constant(always))  # type: ignore[misc]


def _statements(body: list[ast.AST]) -> Iterator[tuple[str, Change]]:
    for place, statement in enumerate(body):
        match statement:
            case ast.Expr(value=ast.Yield() | ast.YieldFrom()) | ast.Return(value=None):
                yield f"drop {ast.unparse(statement)}", lambda place=place: body.__setitem__(place, ast.Pass())  # type: ignore[misc]


def _dropping(operands: list[ast.expr], place: int) -> Change:
    return lambda: operands.pop(place)


# ---- running


def dies(tree: ast.Module) -> bool:
    """Whether the gate's tests fail with this module in the place of the real one."""
    pid = os.fork()
    if pid == 0:
        os._exit(_in_child(tree))
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) != 0


def _in_child(tree: ast.Module) -> int:
    signal.alarm(120)  # a mutant that never ends dies of this
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        _load(tree)
        return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *(str(ROOT / name) for name in TESTS)]))
    except BaseException:  # noqa: BLE001 - whatever ends the child must not return into the parent's code
        return 1


def _load(tree: ast.Module) -> None:
    module = ModuleType(MODULE)
    sys.modules[MODULE] = module
    exec(compile(tree, "mutant", "exec"), module.__dict__)  # noqa: S102 - that is what this is for
    vars(sys.modules["opanel_agent.core"])["consent"] = module


def main(argv: list[str]) -> int:
    source = Path(loaded_before.__file__).with_name("gate.py").read_text("utf-8")
    if argv == ["--list"]:
        _print_lines(name for name, _ in mutants(source))
        return 0
    if dies(ast.parse(source)):
        _print_lines(["the tests fail with the module as it is"])
        return 1
    fates = {name: dies(tree) for name, tree in mutants(source)}
    survived = [f"survived: {name}" for name, dead in fates.items() if not dead and name not in EQUIVALENT]
    stale = [f"not equivalent: {name}" for name in EQUIVALENT if fates.get(name, True)]
    counts = f"mutants {len(fates)}, died {sum(fates.values())}, equivalent {len(EQUIVALENT)}"
    _print_lines([*survived, *stale, counts])
    return 1 if survived or stale else 0


def _print_lines(lines: Iterable[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
