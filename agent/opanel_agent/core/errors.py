"""Defines the errors, by the reaction that they call for.

Each class answers one question: what should happen now? The same bytes are
never tried again after Untrusted; after Unavailable they are, later;
Misconfigured waits for a person. Which exception of which library it came from
does not matter to that, so a foreign exception is translated in one place for
each file of `system/`, with `raise … from`.

Each error carries a stable `code`, a `detail` that names the one rule or event
(the catalogs have a sentence and a cure for it in each language), the values
that the sentence needs, and the exit status of a command that ends with it, as
sysexits.h numbers them. An error is handled once and logged once.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from opanel_agent.core.codes import Code, Fault, Reason

if TYPE_CHECKING:
    from opanel_agent.core.codec.json_value import Json

Value = str | int


class AgentError(Exception):
    """States what went wrong, as values; never a sentence, never a secret.

    `code` is published and stable. `detail` is a key of the catalogs
    (`error.<detail>`, `cure.<detail>`). `values` fill the sentence's
    placeholders: names of claims and members, paths, numbers; never a value
    that a document or payload carried, because an error is logged and a payload
    must not be.
    """

    exit_status: ClassVar[int] = 70

    def __init__(self, code: Code, detail: str, /, **values: Value) -> None:
        super().__init__(code, detail, values)
        self.code = code
        self.detail = detail
        self.values: dict[str, Value] = values

    def __str__(self) -> str:
        """Formats the error for a log: `code/detail name=value …`, never a sentence."""
        shown = " ".join(f"{name}={value}" for name, value in self.values.items())
        return f"{self.code}/{self.detail}" + (f" {shown}" if shown else "")

    def to_json(self) -> "dict[str, Json]":
        """Returns the error for another process.

        Shape: {kind, code, detail, values}.
        """
        values: dict[str, Json] = dict(self.values)
        kind = next(each.__name__ for each in type(self).__mro__ if each.__name__ in _KINDS)
        return {"kind": kind, "code": str(self.code), "detail": self.detail, "values": values}

    @staticmethod
    def from_json(error_json: Mapping[str, object]) -> "AgentError":
        """Returns the error that another process of ours told.

        Total: a code or kind of a newer version reads as `internal`, since an
        error about an error would hide the first.
        """
        kind = _KINDS.get(str(error_json.get("kind")), Bug)
        code = _CODES.get(str(error_json.get("code")), Reason.INTERNAL)
        values = error_json.get("values")
        known = {str(k): v for k, v in values.items() if isinstance(v, str | int)} if isinstance(values, dict) else {}
        return kind(code, str(error_json.get("detail", "internal")), **known)

    def but(self, **values: Value) -> Self:
        """Returns the same error with more values: which file, which line."""
        return type(self)(self.code, self.detail, **{**self.values, **values})


class Untrusted(AgentError):
    """States that these bytes are refused and always will be: never retry the same bytes.

    Exit status 65 (EX_DATAERR).
    """

    exit_status = 65


class Unavailable(AgentError):
    """States that the world did not answer, or not as agreed: retry later.

    Exit status 69 (EX_UNAVAILABLE).

    Never a reason to worsen a license state.
    """

    exit_status = 69


class Misconfigured(AgentError):
    """States that a person must act: a settings or consent file is refused.

    Exit status 78 (EX_CONFIG).
    """

    exit_status = 78


class NotPermitted(AgentError):
    """States that the gate, the owner of the machine or the kernel says no.

    Exit status 77 (EX_NOPERM).
    """

    exit_status = 77


class Storage(AgentError):
    """States that this machine could not keep or give what it should.

    Exit status 74 (EX_IOERR).

    The file system is full, read-only, forbidden or broken.
    """

    exit_status = 74


class Unreadable(Storage):
    """One file of this machine is there and cannot be read (EIO, EACCES): no worse than one that is damaged.

    Every other Storage of a read is the process's (no descriptor or memory
    left), and says nothing about the file. For other processes it is a Storage.
    """


class NotYet(AgentError):
    """States that the answer is not there yet and comes by itself.

    Exit status 75 (EX_TEMPFAIL).
    """

    exit_status = 75


class Usage(AgentError):
    """States that the command line is not one. Exit status 64 (EX_USAGE)."""

    exit_status = 64


class Bug(AgentError):
    """States a fault of this program's: reported, never hidden.

    Exit status 70 (EX_SOFTWARE).
    """

    exit_status = 70


_KINDS: dict[str, type[AgentError]] = {
    kind.__name__: kind for kind in (Untrusted, Unavailable, Misconfigured, NotPermitted, Storage, NotYet, Usage, Bug)
}
_CODES: dict[str, Code] = {str(code): code for code in (*Reason, *Fault)}
