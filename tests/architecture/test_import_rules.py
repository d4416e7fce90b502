"""Every import of the tree is one that its layer may make, and what must stay small loads nothing heavy.

Each rule of `import_rules` has a source here that breaks it, so that a rule which sees nothing is found out. What a process
really loads is read from `sys.modules` of a fresh interpreter.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from architecture import import_rules
from fixtures.command_line import environment
from fixtures.daemon.fake_daemon import answer, fake_daemon

ROOT = Path(__file__).resolve().parents[2]
TREE = import_rules.read(ROOT)

DAEMON = "opanel_agent.daemon.loop"
# Each costs a short process more than its own work does, and what it is good for can be had for less.
SLOW_TO_START = frozenset({"dataclasses", "inspect", "traceback", "uuid", "random", "subprocess"})
HEAVY = frozenset({"psutil", "cryptography", "httpx", "structlog"})


def test_the_tree_keeps_the_import_rules() -> None:
    assert import_rules.violations(TREE) == []


def test_the_tree_was_read() -> None:
    layers = {layer.prefix for layer in map(import_rules.layer_of, TREE) if layer}
    assert layers == {layer.prefix for layer in import_rules.LAYERS}


def test_the_agents_key_lies_in_one_module_out_of_reach_of_whatever_has_network() -> None:
    holders = import_rules.signers(TREE)
    assert len(holders) <= 1
    for module in ("opanel_agent.network.fetch", "opanel_agent.network.courier", DAEMON):
        assert not import_rules.reachable(TREE, module) & holders


def roots(modules: frozenset[str]) -> frozenset[str]:
    return frozenset(module.partition(".")[0] for module in modules)


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("opanel_agent.evaluate.main", {"httpx", "socketserver", "urllib.request", "opanel_agent.system.http"}),
        ("opanel_agent.network.fetch", {"psutil", "opanel_agent.system.machine"}),
        ("opanel_agent.network.courier", {"psutil", "opanel_agent.system.machine"}),
    ],
)
def test_a_job_cannot_even_lazily_load(module: str, never: set[str]) -> None:
    """The process that knows the machine has no way to the network in its code, and the other way round."""
    assert module in TREE
    reached = import_rules.reachable(TREE, module)
    assert not (reached | roots(reached)) & never


def test_the_daemon_reaches_nothing_heavy_at_its_start() -> None:
    assert not roots(import_rules.reachable(TREE, DAEMON, import_rules.at_once)) & HEAVY


LOADED = """
import sys
started = set(sys.modules)  # some of it by .pth files, which a server's environment has not
sys.path.insert(0, {agent!r})
import {module}
import json
print(json.dumps(sorted(set(sys.modules) - started)))
"""


def loaded_by(module: str) -> frozenset[str]:
    """What a new interpreter has loaded by importing the module, as the kernel's own witness would have it."""
    code = LOADED.format(agent=str(ROOT / "agent"), module=module)
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True, timeout=60)
    names: list[str] = json.loads(ran.stdout)
    return frozenset(names)


# Not ours to leave out: Debian 12's cryptography imports inspect for itself.
LOADED_BY_VERIFYING = loaded_by("cryptography.hazmat.primitives.asymmetric.ed25519")


@pytest.mark.parametrize(
    ("module", "never"),
    [
        (DAEMON, HEAVY | {"pathlib", "platformdirs"}),
        ("opanel_agent.__main__", HEAVY | {"argparse", "opanel_agent.cli.main", "opanel_agent.evaluate.main"}),
        (
            "opanel_agent.evaluate.main",
            SLOW_TO_START - LOADED_BY_VERIFYING | {"httpx", "opanel_agent.evaluate.handlers"},
        ),
        ("opanel_agent.cli.main", {"httpx", "opanel_agent.silence.life.simulate"}),
        ("opanel_agent.network.fetch", {"psutil"}),
        ("opanel_agent.network.courier", {"psutil"}),
    ],
)
def test_a_process_loads_none_of(module: str, never: frozenset[str]) -> None:
    loaded = loaded_by(module)
    assert module in loaded
    assert not loaded & never


# What answers from memory or from the catalog of sentences needs none of these, nor any other group.
OF_OTHERS = frozenset(
    {"cryptography", "httpx", "psutil", "structlog", "ssl", "http.client", "email", "subprocess", "argparse"}
    | {"hashlib", "dataclasses", "inspect", "random"}
)
GROUPS = frozenset({"data", "doctor", "silence", "advisories"})

RUN = """
import sys
started = set(sys.modules)
sys.path.insert(0, {agent!r})
sys.argv = ["opanel-agent", *{argv!r}]
import contextlib, io, json
from opanel_agent.__main__ import main
with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())), contextlib.redirect_stderr(io.TextIOWrapper(io.BytesIO())):
    main()
sys.stdout.write(json.dumps(sorted(set(sys.modules) - started)))
"""


def loaded_to_run(*argv: str, home: Path) -> frozenset[str]:
    code = RUN.format(agent=str(ROOT / "agent"), argv=argv)
    finished = subprocess.run(
        [sys.executable, "-I", "-c", code], env=environment(home), capture_output=True, check=True, timeout=60
    )
    names: list[str] = json.loads(finished.stdout)
    return frozenset(names)


@pytest.mark.parametrize("argv", [("status",), ("--help",), ("--version",), ("data", "catalog", "--help")])
def test_a_command_loads_its_own_group_alone(argv: tuple[str, ...], tmp_path: Path) -> None:
    home = Path(tmp_path)
    with fake_daemon(home / "xdg-run" / "opanel-agent" / "agent.sock") as daemon:
        daemon.says("/v1/answer", answer())
        loaded = loaded_to_run(*argv, home=home)
    assert "opanel_agent.cli.main" in loaded
    assert not (loaded | roots(loaded)) & OF_OTHERS
    groups = {name.split(".")[2] for name in loaded if name.startswith("opanel_agent.cli.")}
    assert not groups & GROUPS
    assert not {name for name in loaded if import_rules.under(name, "opanel_agent.evaluate")}


SHORT_LIVED = tuple(f"opanel_agent.{layer}" for layer in ("core", "system", "network", "evaluate", "messages"))


def compiled_at_import(source: str) -> list[int]:
    """The lines that compile a regular expression while the module is imported, whether or not anything matches it."""
    at_once = [node for node in ast.parse(source).body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    calls = [node for statement in at_once for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if ast.unparse(call.func) == "re.compile"]


def test_what_lives_for_a_moment_compiles_no_pattern_that_it_does_not_match() -> None:
    """Patterns are strings, which `re.fullmatch` compiles at their first use: a pass matches 25 of 90."""
    assert compiled_at_import("import re\nA = re.compile('a')\ndef f(): re.compile('b')\n") == [2]
    modules = [name for name in TREE if any(import_rules.under(name, layer) for layer in SHORT_LIVED)]
    assert len(modules) > 100
    assert {name: lines for name in modules if (lines := compiled_at_import(TREE[name]))} == {}


def test_what_a_process_loads_is_really_seen() -> None:
    assert "httpx" in loaded_by("opanel_agent.system.http")


# ---- each rule, seen to object


# A small tree with the same layers, so that a violation is found whatever the real tree holds.
SMALL = dict.fromkeys(
    [
        "opanel_agent",
        "opanel_agent.messages",
        "opanel_agent.core",
        "opanel_agent.core.errors",
        "opanel_agent.core.license.verdict",
        "opanel_agent.system",
        "opanel_agent.system.storage.files",
        "opanel_agent.evaluate",
        "opanel_agent.network.fetch",
        "opanel_agent.daemon",
        "opanel_agent.daemon.loop",
        "opanel_agent.cli",
        "opanel_agent.cli.main",
        "opanel_agent.silence",
        "opanel_agent.silence.life.simulate",
        "opanel_authority",
        "opanel_authority.keys",
    ],
    "",
)

BAD = [
    # the core is pure
    ("opanel_agent.core.bad", "import os", "os is no module of values"),
    ("opanel_agent.core.bad", "import time", "time is no module of values"),
    ("opanel_agent.core.bad", "from random import random", "random is no module of values"),
    ("opanel_agent.core.bad", "import secrets", "secrets is no module of values"),
    ("opanel_agent.core.bad", "import socket", "socket is no module of values"),
    ("opanel_agent.core.bad", "from pathlib import Path", "pathlib is no module of values"),
    ("opanel_agent.core.bad", "from urllib import request", "urllib is no module of values"),
    ("opanel_agent.core.bad", "import urllib.request", "urllib.request is no module of values"),
    ("opanel_agent.core.documents.bad", "def f():\n    import subprocess", "subprocess is no module of values"),
    ("opanel_agent.core.bad", "def f(p):\n    return open(p)", "open() in the core"),
    ("opanel_agent.core.bad", "print(1)", "print() in the core"),
    ("opanel_agent.core.bad", "from datetime import datetime\ndatetime.now()", "now reads a clock"),
    ("opanel_agent.core.bad", "import datetime\ndatetime.datetime.now()", "now reads a clock"),
    ("opanel_agent.core.bad", "from datetime import date\nf = date.today", "today reads a clock"),
    ("opanel_agent.core.bad", "import tomllib\ntomllib.load(f)", "tomllib.load reads a file"),
    ("opanel_agent.core.bad", "from tomllib import load", "tomllib.load reads a file"),
    # imports between layers, at the top of a module and inside functions
    (
        "opanel_agent.core.bad",
        "from opanel_agent.system.storage import files",
        "does not import opanel_agent.system.storage.files",
    ),
    ("opanel_agent.core.bad", "import h11", "does not import h11"),
    ("opanel_agent.core.bad", "from opanel_agent import messages", "does not import opanel_agent.messages"),
    ("opanel_agent.core.bad", "from . import errors", "relative import"),
    ("opanel_agent.system.bad", "from opanel_agent.network import fetch", "does not import opanel_agent.network.fetch"),
    ("opanel_agent.system.bad", "from opanel_agent import messages", "does not import opanel_agent.messages"),
    ("opanel_agent.evaluate.bad", "import h11", "does not import h11"),
    ("opanel_agent.system.bad", "import httpcore", "httpcore only in opanel_agent.system.http.transport"),
    ("opanel_agent.evaluate.bad", "from opanel_agent.cli import main", "does not import opanel_agent.cli.main"),
    ("opanel_agent.evaluate.bad", "from opanel_agent.daemon import loop", "does not import opanel_agent.daemon.loop"),
    ("opanel_agent.evaluate.bad", "import httpx", "does not import httpx"),
    (
        "opanel_agent.daemon.bad",
        "from opanel_agent.core.license import verdict",
        "does not import opanel_agent.core.license.verdict",
    ),
    (
        "opanel_agent.daemon.bad",
        "from opanel_agent.system.storage import files",
        "does not import opanel_agent.system.storage.files",
    ),
    ("opanel_agent.daemon.bad", "from opanel_agent.network import fetch", "does not import opanel_agent.network.fetch"),
    ("opanel_agent.daemon.bad", "from opanel_agent import messages", "opanel_agent.messages only inside a function"),
    ("opanel_agent.daemon.bad", "def f():\n    import structlog", "does not import structlog"),
    ("opanel_agent.cli.bad", "from opanel_agent.daemon import loop", "does not import opanel_agent.daemon.loop"),
    ("opanel_agent.cli.bad", "import cryptography", "does not import cryptography"),
    # what watches is no part of what is watched
    (
        "opanel_agent.evaluate.bad",
        "from opanel_agent.silence.life import simulate",
        "does not import opanel_agent.silence.life.simulate",
    ),
    (
        "opanel_agent.system.bad",
        "from opanel_agent.silence.life import simulate",
        "does not import opanel_agent.silence.life.simulate",
    ),
    (
        "opanel_agent.daemon.bad",
        "def f():\n    from opanel_agent.silence.life import simulate",
        "does not import opanel_agent.s",
    ),
    ("opanel_agent.silence.bad", "from opanel_agent.cli import main", "does not import opanel_agent.cli.main"),
    (
        "opanel_agent.silence.bad",
        "from opanel_agent.daemon import loop",
        "does not import opanel_agent.daemon.loop",
    ),
    ("opanel_agent.silence.bad", "import httpx", "httpx only in opanel_agent.system.http.transport"),
    (
        "opanel_agent.messages",
        "from opanel_agent.system.storage import files",
        "does not import opanel_agent.system.storage.files",
    ),
    ("opanel_agent.__main__", "from opanel_agent.cli import main", "opanel_agent.cli.main only inside a function"),
    ("opanel_agent", "from opanel_agent.core import errors", "does not import opanel_agent.core.errors"),
    ("opanel_agent.attic", "import os", "is in no layer"),
    # the authority
    ("opanel_agent.cli.bad", "import opanel_authority.keys", "nothing imports the authority"),
    (
        "opanel_authority.bad",
        "from opanel_agent.system.storage import files",
        "does not import opanel_agent.system.storage.files",
    ),
    ("opanel_authority.bad", "import httpx", "does not import httpx"),
    # packages with one importer
    ("opanel_agent.system.storage.files", "import httpx", "httpx only in opanel_agent.system.http.transport"),
    ("opanel_agent.system.storage.files", "def f():\n    import psutil", "psutil only in opanel_agent.system.machine"),
    ("opanel_agent.system.storage.files", "from structlog import stdlib", "structlog only in opanel_agent.system.log"),
    (
        "opanel_agent.system.storage.files",
        "import platformdirs",
        "platformdirs only in opanel_agent.system.storage.paths",
    ),
    # keys
    (
        "opanel_agent.core.bad",
        "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey",
        "only the authority signs",
    ),
    (
        "opanel_agent.core.bad",
        "from cryptography.hazmat.primitives.asymmetric import ed25519\ned25519.Ed25519PrivateKey",
        "only the authority signs",
    ),
    # imports that no reader sees
    ("opanel_agent.evaluate.bad", "import importlib", "imports what no reader sees"),
    ("opanel_agent.evaluate.bad", "from importlib import import_module", "imports what no reader sees"),
    ("opanel_agent.evaluate.bad", "__import__('httpx')", "imports what no reader sees"),
    # layers
    ("elsewhere", "", "is in no layer"),
    ("opanel_agent.messages.bad", "", "is in no layer"),
]


@pytest.mark.parametrize(("module", "source", "expected"), BAD)
def test_a_violation_is_found(module: str, source: str, expected: str) -> None:
    violations = import_rules.violations({**SMALL, module: source})
    assert any(expected in line and line.startswith(f"{module}:") for line in violations), violations


GOOD = [
    ("opanel_agent.core.good", "from collections.abc import Mapping\nfrom urllib.parse import urlsplit"),
    ("opanel_agent.core.good", "from datetime import UTC, datetime\ndatetime.fromtimestamp(1, UTC)"),
    ("opanel_agent.core.good", "from cryptography.exceptions import InvalidSignature"),
    ("opanel_agent.daemon.good", "import h11, selectors\ndef f():\n    from opanel_agent import messages"),
    ("opanel_agent.evaluate.good", "import opanel_agent"),
    ("opanel_agent.cli.good", "from opanel_agent import __version__\nfrom importlib import resources"),
    ("opanel_authority.good", "import starlette.applications, uvicorn\nfrom sqlalchemy import orm"),
    ("opanel_authority.good", "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey"),
]


@pytest.mark.parametrize(("module", "source"), GOOD)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert import_rules.violations({**SMALL, module: source}) == []


def test_reachable_follows_functions_packages_and_stops_where_told() -> None:
    sources = {
        "opanel_agent": "import platform",
        "opanel_agent.a": "from opanel_agent import b",
        "opanel_agent.b": "def f():\n    import httpx\nif TYPE_CHECKING:\n    import structlog",
    }
    assert import_rules.reachable(sources, "opanel_agent.a") == {
        "opanel_agent",
        "opanel_agent.a",
        "opanel_agent.b",
        "httpx",
        "structlog",
        "platform",
    }
    assert not import_rules.reachable(sources, "opanel_agent.a", import_rules.at_once) & {"httpx", "structlog"}


def test_a_second_holder_of_a_key_would_be_counted() -> None:
    source = "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey"
    both = import_rules.signers({"opanel_agent.evaluate.one": source, "opanel_agent.evaluate.two": source})
    assert both == {"opanel_agent.evaluate.one", "opanel_agent.evaluate.two"}


# ---- no mocks


def mocks(source: str) -> bool:
    """Whether a test module patches instead of using a fake: by unittest.mock, or by setting what is not Python's."""
    return any(
        (isinstance(node, ast.Import) and any(alias.name.startswith(("unittest.mock", "mock")) for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "") in {"unittest", "unittest.mock", "mock"})
        or (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) == "monkeypatch.setattr"
            and not pythons_own(node.args[0])
        )
        for node in ast.walk(ast.parse(source))
    )


def pythons_own(target: ast.expr) -> bool:
    """Such as sys.stderr: what the interpreter itself lets be replaced."""
    match target:
        case ast.Constant(value=str(name)) | ast.Name(id=name):
            return name.partition(".")[0] in sys.stdlib_module_names
        case _:
            return False


def test_no_test_patches() -> None:
    here = [path for path in (ROOT / "tests").rglob("*.py") if mocks(path.read_text(encoding="utf-8"))]
    assert here == []


@pytest.mark.parametrize(
    "source",
    [
        "import unittest.mock",
        "from unittest import mock",
        "from unittest.mock import patch",
        "def test(monkeypatch):\n    monkeypatch.setattr(x, 'y', 1)",
        "def test(monkeypatch):\n    monkeypatch.setattr('opanel_agent.core.x', 1)",
        "def test(monkeypatch):\n    monkeypatch.setattr(opanel_agent.core, 'x', 1)",
    ],
)
def test_a_patch_is_seen(source: str) -> None:
    assert mocks(source)


@pytest.mark.parametrize("target", ["'sys.stderr'", "sys, 'stderr'"])
def test_pythons_own_may_be_set(target: str) -> None:
    assert not mocks(f"def test(monkeypatch):\n    monkeypatch.setattr({target}, 1)")
