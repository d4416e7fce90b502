"""Every condition of the gate is held by a test: changed one at a time, each change makes one fail."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SMALL = """
@dataclass(slots=True)
class A:
    names: tuple[str, ...] = ()
    yes: bool = True

def f(a: int) -> tuple[int, ...]:
    if a == 1 and not b:
        return
    yield a
    return [x for x in (a, b) if x]
"""


def test_each_condition_is_changed_once() -> None:
    from properties.mutants import mutants

    changed = dict(mutants(SMALL))
    assert list(changed) == [
        "A: turn True",
        "f: drop yield a",
        "f: always a == 1 and (not b)",
        "f: never a == 1 and (not b)",
        "f: drop return",
        "f: drop a == 1 of a == 1 and (not b)",
        "f: drop not b of a == 1 and (not b)",
        "f: turn a == 1",
        "f: turn not b",
        "f: drop the filter x",
        "f: drop a of (a, b)",
        "f: drop b of (a, b)",
    ]
    whole = ast.unparse(ast.parse(SMALL))
    texts = {name: ast.unparse(tree) for name, tree in changed.items()}
    assert len({whole, *texts.values()}) == len(changed) + 1
    assert texts["f: turn not b"] == whole.replace("not b", "not not b")
    assert texts["f: drop yield a"] == whole.replace("yield a", "pass")
    assert texts["A: turn True"] == whole.replace("yes: bool = True", "yes: bool = False")


@pytest.mark.slow
@pytest.mark.once
def test_every_mutant_of_the_gate_dies(record_property: Callable[[str, object], None]) -> None:
    ran = subprocess.run(
        [sys.executable, str(TESTS / "properties" / "mutants.py")],
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    counts = re.search(r"mutants (\d+), died (\d+), equivalent (\d+)", ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert counts
    mutants, died, equivalent = map(int, counts.groups())
    record_property("mutants", mutants)
    record_property("died", died)
    assert mutants == died + equivalent
    assert mutants > 100
