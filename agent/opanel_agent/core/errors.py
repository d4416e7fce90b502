"""Errors, by the reaction that they call for.

Each carries a stable `code`, a `detail` that names the one rule or event
(`texts` has a sentence and a cure for it in each language), the values that the
sentence needs, and the exit status of a command that ends with it. A foreign
exception is translated in one place per file of `system/`. An error is handled
once and logged once.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from opanel_agent.core.codes import Code, Fault, Reason

if TYPE_CHECKING:
    from opanel_agent.core.codec.json_value import Json

Value = str | int


class AgentError(Exception):
    """What went wrong, as values; never a sentence, never a secret.

    `code` is published and stable. `detail` is a key of `texts`
    (`error.<detail>`, `cure.<detail>`). `values` fill the sentence's
    placeholders: names of claims and members, paths, numbers; never a value
    that a document or payload carried.
    """

    exit_status: ClassVar[int] = 70

    def __init__(self, code: Code, detail: str, /, **values: Value) -> None:
        super().__init__(code, detail, values)
        self.code = code
        self.detail = detail
        self.values: dict[str, Value] = values

    def __str__(self) -> str:
        shown = " ".join(f"{name}={value}" for name, value in self.values.items())
        return f"{self.code}/{self.detail}" + (f" {shown}" if shown else "")

    def to_json(self) -> "dict[str, Json]":
        """Shape: {kind, code, detail, values}; `from_json` reads it on the other side of a pipe."""
        values: dict[str, Json] = dict(self.values)
        kind = next(each.__name__ for each in type(self).__mro__ if each.__name__ in _KINDS)
        return {"kind": kind, "code": str(self.code), "detail": self.detail, "values": values}

    @staticmethod
    def from_json(told: Mapping[str, object]) -> "AgentError":
        """The error that another process of ours told.

        A code of a newer version reads as `internal`.
        """
        kind = _KINDS.get(str(told.get("kind")), Bug)
        code = _CODES.get(str(told.get("code")), Reason.INTERNAL)
        values = told.get("values")
        known = {str(k): v for k, v in values.items() if isinstance(v, str | int)} if isinstance(values, dict) else {}
        return kind(code, str(told.get("detail", "internal")), **known)

    def but(self, **values: Value) -> Self:
        """The same error, knowing more (which file, which line)."""
        return type(self)(self.code, self.detail, **{**self.values, **values})


class Untrusted(AgentError):
    """These bytes are refused and always will be: never retry the same bytes."""

    exit_status = 65


class Unavailable(AgentError):
    """The world did not answer, or not as agreed: later, perhaps.

    Never a reason to worsen a license state.
    """

    exit_status = 69


class Misconfigured(AgentError):
    """A person must act: a settings or consent file is refused."""

    exit_status = 78


class NotPermitted(AgentError):
    """The gate, the owner of the machine or the kernel says no."""

    exit_status = 77


class Storage(AgentError):
    """This machine could not keep or give what it should: full, read-only, forbidden, broken."""

    exit_status = 74


class Unreadable(Storage):
    """One file of this machine is there and cannot be read (EIO, EACCES): no worse than one that is damaged.

    Every other Storage of a read is the process's (no descriptor or memory
    left), and says nothing about the file. For other processes it is a Storage.
    """


class NotYet(AgentError):
    """It goes on by itself; the answer is not there yet."""

    exit_status = 75


class Usage(AgentError):
    """The command line is not one."""

    exit_status = 64


class Bug(AgentError):
    """Ours. Reported, never hidden."""

    exit_status = 70


_KINDS: dict[str, type[AgentError]] = {
    kind.__name__: kind for kind in (Untrusted, Unavailable, Misconfigured, NotPermitted, Storage, NotYet, Usage, Bug)
}
_CODES: dict[str, Code] = {str(code): code for code in (*Reason, *Fault)}
