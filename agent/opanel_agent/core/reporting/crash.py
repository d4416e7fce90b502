"""Reduces a crash of this agent to what `crash_reports` may say (data/fields/crash_reports.toml).

Kept: the type of the exception, where Python or this agent defines it, and
where in this agent's own code it passed. Never looked at: the message, the
arguments, locals, source lines, and frames of anything else: any of them may
hold a path, a name or a key. A file's path is only used to find out which
module of ours it is; what does not come out as a plain module and function name
is dropped.

Left out: catching the exception and keeping it until somebody has looked at it
(`evaluate.reporting.crash`).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

from opanel_agent.core import errors
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.reporting import fingerprint
from opanel_agent.core.values import frozen

PACKAGE: Final = "opanel_agent"
OTHER: Final = "other"
MAX_FRAMES: Final = 32
MAX_LINE: Final = 99_999
_MODULE: Final = r"opanel_agent(?:\.[a-z0-9_]{1,32}){0,4}"
_FUNCTION: Final = r"[A-Za-z0-9_<>.]{1,64}"


@frozen
class StackFrame:
    """Holds one place in the code; `line` counts from 1."""

    module: str
    function: str
    line: int


class Summary(Protocol):
    """Describes what is read of a `traceback.FrameSummary`.

    Its `line` and `locals` are not among it, on purpose.
    """

    filename: str
    name: str

    @property
    def lineno(self) -> int | None:
        """Returns the line, None where the frame has none."""
        ...


def scrub(type_name: str, frames: Sequence[StackFrame], agent_version: str, python: str) -> dict[str, Json]:
    """Returns the facts of a crash, without its `erasure`, which is drawn when the report is sealed.

    `type_name` is the exception's class with its module
    (`builtins.ValueError`), `python` major.minor. At most MAX_FRAMES frames,
    the innermost ones, outermost first.
    """
    lines = [f"{each.module}:{each.function}:{each.line}" for each in frames if _ours(each)]
    return {
        "agent_version": fingerprint.release(agent_version),
        "python": python,
        "exception": _KNOWN_TYPES.get(type_name, OTHER),
        "frames": [*lines[-MAX_FRAMES:]],
    }


def from_traceback(stack: Iterable[Summary], *, package: str) -> tuple[StackFrame, ...]:
    """Returns the frames of a traceback that lie below the directory `package`, as modules of this agent."""
    found = ((_module(each.filename, package), each) for each in stack)
    return tuple(
        StackFrame(module=module, function=each.name, line=each.lineno or 0) for module, each in found if module
    )


def _module(filename: str, package: str) -> str | None:
    """Returns the module of a source file of ours, None for any other file."""
    if not filename.startswith(f"{package}/") or not filename.endswith(".py"):
        return None
    parts = filename.removeprefix(f"{package}/").removesuffix(".py").split("/")
    return ".".join((PACKAGE, *(part for part in parts if part != "__init__")))


def _ours(frame: StackFrame) -> bool:
    """Tells whether the frame fits its declared pattern: a guard against a file that somebody else laid among ours."""
    named = re.fullmatch(_MODULE, frame.module) and re.fullmatch(_FUNCTION, frame.function)
    return named is not None and 1 <= frame.line <= MAX_LINE


def _types(base: type[BaseException]) -> Iterator[type[BaseException]]:
    """Yields a class of exceptions and all below it that are defined by now."""
    yield base
    for each in base.__subclasses__():
        yield from _types(each)


# By the full name, so that a class of somebody else's that is only called like
# one of these is not one. A closed list: no text that came from outside can
# pass for a type.
_KNOWN_TYPES: Final = {
    f"{each.__module__}.{each.__qualname__}": each.__name__
    for each in _types(BaseException)
    if each.__module__ in ("builtins", errors.__name__)
}
