"""The import rules (docs/ARCHITECTURE.md, "Layers"): which module may import what, read from the source.

`violations(sources)` takes the text of modules by name and returns every import that breaks a rule, with its line.
Imports inside functions count as much as those at the top: a lazy import is still an arrow. `reachable` follows the
arrows further and says everything that a module can come to load. Left out: imports made from strings (`importlib`,
`__import__`); they are refused wherever they stand.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

AGENT = "opanel_agent"
AUTHORITY = "opanel_authority"

Sources = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """`target` is a module as far as the tree knows it, else what the line names; `name` what is taken from it."""

    target: str
    name: str | None
    line: int
    lazy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What the modules under `prefix` may import; our own by prefix, foreign packages and standard modules by name.

    `only_lazily` are our modules that may be imported inside functions alone. `standard` None admits the whole library.
    `alone` is a module, with nothing under it.
    """

    prefix: str
    own: tuple[str, ...] = ()
    only_lazily: tuple[str, ...] = ()
    foreign: frozenset[str] = frozenset()
    standard: frozenset[str] | None = None
    alone: bool = False


# None of these reads a clock, a file, the environment, the network or chance when imported; calls are judged below.
VALUE_MODULES = frozenset(
    [
        "__future__",
        "abc",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "contextlib",
        "dataclasses",
        "datetime",
        "difflib",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "string",
        "struct",
        "textwrap",
        "tomllib",
        "types",
        "typing",
        "unicodedata",
        "urllib.parse",
        "zlib",
    ]
)

# The first layer whose prefix fits is the module's; a module that fits none is itself a violation.
LAYERS = (
    Layer(prefix=f"{AGENT}.core", own=("core",), foreign=frozenset({"cryptography"}), standard=VALUE_MODULES),
    Layer(
        prefix=f"{AGENT}.system",
        own=("core", "system"),
        foreign=frozenset(
            {"cryptography", "h11", "httpcore", "httpx", "platformdirs", "psutil", "structlog", "tomli_w"}
        ),
    ),
    Layer(prefix=f"{AGENT}.network", own=("core", "system", "network")),
    Layer(
        prefix=f"{AGENT}.evaluate",
        own=("core", "system", "network", "evaluate", "messages"),
        foreign=frozenset({"cryptography"}),
    ),
    Layer(
        prefix=f"{AGENT}.daemon",
        own=(
            "core.codes",
            "core.commands",
            "core.errors",
            "core.problems",
            "core.text_safety",
            "core.units",
            "system.storage.installation",
            "system.environment",
            "system.errno_codes",
            "system.file_stamp",
            "system.process",
            "system.log",
            "system.journal",
            "daemon",
        ),
        only_lazily=("system.storage.paths", "messages"),
        foreign=frozenset({"h11"}),
    ),
    Layer(
        prefix=f"{AGENT}.silence",
        own=("core", "system", "network", "evaluate", "silence"),
        foreign=frozenset({"cryptography", "tomli_w"}),
    ),
    Layer(
        prefix=f"{AGENT}.cli",
        own=("core", "system", "network", "evaluate", "silence", "messages", "cli"),
        foreign=frozenset({"tomli_w"}),
    ),
    Layer(prefix=f"{AGENT}.messages", own=("core.codes", "core.errors", "core.units"), alone=True),
    Layer(prefix=f"{AGENT}.__main__", only_lazily=("daemon", "evaluate", "network", "cli"), alone=True),
    Layer(prefix=AGENT, alone=True),
    Layer(
        prefix=AUTHORITY,
        own=("core", "system.storage.resources"),
        foreign=frozenset(
            {"alembic", "cryptography", "fastapi", "h11", "pkcs11", "pydantic", "sqlalchemy", "starlette", "uvicorn"}
        ),
    ),
)

# The one module of the agent that imports a foreign package.
DOORS = {
    "httpcore": f"{AGENT}.system.http.transport",
    "httpx": f"{AGENT}.system.http.transport",
    "psutil": f"{AGENT}.system.machine",
    "structlog": f"{AGENT}.system.log",
    "platformdirs": f"{AGENT}.system.storage.paths",
}

# Calls that reach outside although their module is one of values, or needs no import at all.
IMPURE_CALLS = frozenset({"open", "input", "print", "exec", "eval", "compile", "breakpoint", "__import__"})
CLOCK_METHODS = frozenset({"now", "utcnow", "today"})

# What makes a private key, and so a signature, out of bytes or chance.
PRIVATE_KEYS = frozenset({"Ed25519PrivateKey", "load_pem_private_key", "load_der_private_key"})


def under(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(f"{prefix}.")


def layer_of(module: str) -> Layer | None:
    return next(
        (layer for layer in LAYERS if module == layer.prefix or (not layer.alone and under(module, layer.prefix))), None
    )


def read(root: Path) -> dict[str, str]:
    """The sources of both distributions, packages by their own name."""
    found: dict[str, str] = {}
    for top in (root / "agent", root / "authority"):
        for path in sorted(top.glob("opanel_*/**/*.py")):
            parts = path.relative_to(top).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = path.read_text(encoding="utf-8")
    return found


@cache
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


def imports(source: str, known: frozenset[str]) -> Iterator[Import]:
    """Every import statement of one module, wherever it stands; `from a import b` is `a.b` where that is a module."""
    yield from _imports(_tree(source), known, lazy=False)


def _imports(node: ast.AST, known: frozenset[str], *, lazy: bool) -> Iterator[Import]:
    match node:
        case ast.Import():
            for alias in node.names:
                yield Import(target=alias.name, name=None, line=node.lineno, lazy=lazy)
        case ast.ImportFrom():
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield Import(target=full if full in known else base, name=alias.name, line=node.lineno, lazy=lazy)
        case _:
            inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _for_types(node)
            for child in ast.iter_child_nodes(node):
                yield from _imports(child, known, lazy=inside)


def _for_types(node: ast.AST) -> bool:
    """`if TYPE_CHECKING:`, which nothing runs; the arrow is there all the same."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def violations(sources: Sources) -> list[str]:
    """Returns every violation, as `module:line: what`."""
    known = frozenset(sources)
    return [
        f"{module}:{line}: {what}"
        for module, source in sources.items()
        for rule in (_layers, _sole_importers, _impure, _signing, _by_string)
        for line, what in rule(module, source, known)
    ]


Violations = Iterator[tuple[int, str]]


def _layers(module: str, source: str, known: frozenset[str]) -> Violations:
    layer = layer_of(module)
    if layer is None:
        yield 1, "is in no layer"
        return
    for item in imports(source, known):
        what = _violation(layer, item)
        if what:
            yield item.line, what


def _violation(layer: Layer, item: Import) -> str | None:
    top = item.target.partition(".")[0]
    if not top:
        return "relative import: say where it leads"
    if top == AUTHORITY:
        return None if layer.prefix == AUTHORITY else "nothing imports the authority"
    if top == AGENT:
        return _own(layer, item)
    if top in sys.stdlib_module_names:
        allowed = layer.standard is None or top in layer.standard or item.target in layer.standard
        return None if allowed else f"{item.target} is no module of values"
    return None if top in layer.foreign else f"{layer.prefix} does not import {top}"


def _own(layer: Layer, item: Import) -> str | None:
    if item.target == AGENT and item.name in {None, "__version__"}:  # the package itself: its place, its version
        return None
    if any(under(item.target, f"{AGENT}.{own}") for own in layer.own):
        return None
    if any(under(item.target, f"{AGENT}.{own}") for own in layer.only_lazily):
        return None if item.lazy else f"{item.target} only inside a function"
    return f"{layer.prefix} does not import {item.target}"


def _sole_importers(module: str, source: str, known: frozenset[str]) -> Violations:
    for item in imports(source, known):
        door = DOORS.get(item.target.partition(".")[0])
        if door not in (None, module) and under(module, AGENT):
            yield item.line, f"{item.target} only in {door}"


def _impure(module: str, source: str, _known: frozenset[str]) -> Violations:
    """The core reads no clock and does no I/O, by whatever name."""
    if not under(module, f"{AGENT}.core"):
        return
    for node in ast.walk(_tree(source)):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                yield node.lineno, f"{name}() in the core"
            case ast.Attribute(value=ast.Name(id="datetime" | "date"), attr=name) if name in CLOCK_METHODS:
                yield node.lineno, f"{name} reads a clock"
            case ast.Attribute(value=ast.Attribute(attr="datetime" | "date"), attr=name) if name in CLOCK_METHODS:
                yield node.lineno, f"{name} reads a clock"
            case ast.Attribute(value=ast.Name(id="tomllib"), attr="load"):
                yield node.lineno, "tomllib.load reads a file"
            case ast.ImportFrom(module="tomllib", names=names) if any(alias.name == "load" for alias in names):
                yield node.lineno, "tomllib.load reads a file"
            case _:
                pass


def _signing(module: str, source: str, _known: frozenset[str]) -> Violations:
    """The authority alone signs documents; the agent's own key, in one module of evaluate or system, signs requests."""
    if under(module, AUTHORITY) or under(module, f"{AGENT}.evaluate") or under(module, f"{AGENT}.system"):
        return
    for line, name in private_keys(source):
        yield line, f"{name}: only the authority signs"


def private_keys(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(_tree(source)):
        names = {node.id} if isinstance(node, ast.Name) else set()
        names |= {node.attr} if isinstance(node, ast.Attribute) else set()
        names |= {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
        for name in sorted(names & PRIVATE_KEYS):
            yield getattr(node, "lineno", 1), name


def signers(sources: Sources) -> frozenset[str]:
    """The agent's modules that hold a private key."""
    return frozenset(module for module, source in sources.items() if under(module, AGENT) and [*private_keys(source)])


def _by_string(_module: str, source: str, known: frozenset[str]) -> Violations:
    """An import whose target is a string is invisible to this reading; reading packaged data is no import."""
    for item in imports(source, known):
        if under(item.target, "importlib") and not {item.target, f"{item.target}.{item.name}"} & READS_DATA:
            yield item.line, f"{item.target} imports what no reader sees"
    for node in ast.walk(_tree(source)):
        if isinstance(node, ast.Name) and node.id == "__import__":
            yield node.lineno, "__import__ imports what no reader sees"


READS_DATA = frozenset({"importlib.resources", "importlib.metadata", "importlib.resources.abc"})


def reachable(sources: Sources, start: str, follow: Callable[[Import], bool] = lambda _: True) -> frozenset[str]:
    """Everything that `start` can come to load: our modules with their packages, and what lies outside by its name."""
    known = frozenset(sources)
    seen: set[str] = set()
    todo = [start]
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        todo.extend(module.rpartition(".")[:1] if module in known and "." in module else [])
        if module in known:
            todo.extend(item.target for item in imports(sources[module], known) if follow(item))
    return frozenset(seen)


def at_once(item: Import) -> bool:
    """For `reachable`: what importing a module loads, functions not yet called."""
    return not item.lazy


def circles(sources: Sources) -> list[tuple[str, ...]]:
    """Returns each set of modules that reach one another by imports, lazy ones and those for types included; sorted."""
    known = frozenset(sources)
    targets = {
        module: {item.target for item in imports(source, known)} & known - {module}
        for module, source in sources.items()
    }
    reached = {module: _all_reached(module, targets) for module in targets}
    found = {tuple(sorted(other for other in reached[module] if module in reached[other])) for module in targets}
    return sorted(circle for circle in found if circle)


def _all_reached(start: str, targets: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(targets[start])
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo.extend(targets[module])
    return seen
