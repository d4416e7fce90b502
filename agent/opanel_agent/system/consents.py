"""The administrator's consent, read anew by path at every decision: consent.toml and the policies beside it.

Only a regular file of the owner's that nobody else can write counts, in a directory of which the same holds; what is wrong
with it refuses it whole, with the file and the line. Nothing here writes: the agent only reads these files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from opanel_agent.core.consent_file import ConsentFile, ConsentReading, Policy, parse, parse_policy
from opanel_agent.core.errors import AgentError, Misconfigured
from opanel_agent.core.reasons import Reason
from opanel_agent.core.strict_toml import MAX_BYTES
from opanel_agent.system.files import Files
from opanel_agent.system.paths import Paths


class Consents(Protocol):
    def read(self) -> ConsentReading:
        """What stands now. Never fails: what cannot be read is refused, and that denies."""
        ...


class LocalConsents:
    """This machine's files."""

    def __init__(self, files: Files, paths: Paths) -> None:
        self._files = files
        self._paths = paths

    def read(self) -> ConsentReading:
        file: ConsentFile | None = None
        policies: tuple[Policy, ...] = ()
        refused: Misconfigured | None = None
        try:
            file = self._file()
        except Misconfigured as fault:
            refused = fault
        try:
            policies = tuple(self._policies())
        except Misconfigured as fault:
            refused = refused or fault
        return ConsentReading(file=file, refused=refused, policies=policies)

    def _file(self) -> ConsentFile | None:
        path = self._paths.consent
        data = self._data(path)
        if data is None:
            return None
        with _named(path):
            return parse(data)

    def _policies(self) -> Iterator[Policy]:
        for path in self._policy_files():
            data = self._data(path)
            if data is not None:
                with _named(path):
                    yield parse_policy(data, str(path))

    def _policy_files(self) -> list[Path]:
        directory = self._paths.consent_dir
        try:
            names = self._files.names(directory)
        except AgentError as fault:
            raise Misconfigured(Reason.CONSENT_REFUSED, fault.detail, file=str(directory)) from fault
        return [directory / name for name in names if name.endswith(".toml")]

    def _data(self, path: Path) -> bytes | None:
        try:
            return self._files.read(path, max_bytes=MAX_BYTES, owners=self._paths.owners)
        except AgentError as fault:
            raise Misconfigured(Reason.CONSENT_REFUSED, fault.detail, **{"file": str(path), **fault.values}) from fault


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """A fault inside the file says which file it is."""
    try:
        yield
    except Misconfigured as fault:
        raise fault.but(file=str(path)) from fault
