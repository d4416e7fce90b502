"""Reads the administrator's consent: consent.toml, the policies beside it and what was withdrawn, anew at every decision.

Only a regular file of the owner's that nobody else can write counts, in a directory of which the same holds; what is wrong
with it refuses it whole, with the line and the file, its name escaped. What a refused file says against being tracked
counts all the same.
Nothing here writes: the agent only reads these files.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from opanel_agent.core.codec.strict_toml import MAX_BYTES
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.consent_file import ConsentFile, ConsentReading, Policy, in_doubt, parse, parse_policy
from opanel_agent.core.consent.opt_outs import Signal, SignalKind
from opanel_agent.core.errors import AgentError, Misconfigured
from opanel_agent.core.text_safety import escape
from opanel_agent.system.consent.policy_mounts import missing_mount
from opanel_agent.system.consent.withdrawal_store import WithdrawalStore
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths

# Names in consent.d that nobody means as a policy in force: hidden ones, and what editors, package managers and people put
# aside. They are ignored, and said to be; every other name that does not end in .toml is a fault.
PUT_ASIDE: Final = (
    r"(?is)\..*|#.*#|.*~|lost\+found|readme(\..*)?"
    r"|.*\.(bak|old|orig|save|swp|disabled|example|sample|dpkg-\w+|ucf-\w+|rpm\w+)"
)


class Consents(Protocol):
    """Reads consent. Tests replace it."""

    def read(self) -> ConsentReading:
        """Returns what stands now. Never fails: what cannot be read is refused, and that denies."""
        ...


class LocalConsents:
    """This machine's files. `mounts`: also see whether consent.d is on the mount that this machine names for it.

    The processes that reach the network do not: fstab(5) and mountinfo tell a machine from another. They decide after one
    that did.
    """

    def __init__(self, files: Files, paths: Paths, *, mounts: bool = False) -> None:
        self._files = files
        self._paths = paths
        self._mounts = mounts

    def read(self) -> ConsentReading:
        """Returns consent file, policies and withdrawals as they stand now, with what could not be read."""
        place = self._paths.consent
        file: ConsentFile | None = None
        refused: Misconfigured | None = None
        stamp = self._files.stamp(place)  # before it is read: what is written meanwhile is seen as written
        try:
            file = self._file(place)
        except Misconfigured as fault:
            refused = fault
        policies, faults, ignored = self._policies()
        withdrawals, damaged, doubts = WithdrawalStore(self._files, self._paths).read()
        unread = (*(() if refused is None else (place,)), *faults)
        return ConsentReading(
            place=str(place),
            file=file,
            refused=refused,
            policies=policies,
            policies_refused=tuple(faults.values()),
            ignored=ignored,
            in_doubt=(*(signal for path in unread for signal in self._in_doubt(path)), *doubts),
            stamp=stamp,
            withdrawals=withdrawals,
            withdrawals_refused=damaged,
        )

    def _file(self, path: Path) -> ConsentFile | None:
        data = self._data(path)
        if data is None:
            return None
        with _named(path):
            return parse(data)

    def _policies(self) -> tuple[tuple[Policy, ...], dict[Path, Misconfigured], tuple[str, ...]]:
        """Returns the good policies; by path what is wrong with the others; and the ignored.

        One fault does not take back another's "no".

        What may be meant as a policy and cannot be read as one denies everything: nobody knows what it was meant to deny.
        """
        good: list[Policy] = []
        faults: dict[Path, Misconfigured] = {}
        directory = self._paths.consent_dir
        try:
            names = self._files.names(directory, owners=self._paths.owners)
        except AgentError as fault:
            return (), {directory: _refused(directory, fault)}, ()
        unmounted = missing_mount(self._files, Path(os.path.realpath(directory))) if self._mounts else None
        if unmounted is not None:
            faults[directory] = Misconfigured(
                Reason.CONSENT_REFUSED,
                "folder_unmounted",
                file=str(directory),
                mount=escape(str(unmounted.mount)),
                named=escape(str(unmounted.named)),
            )
        for path in (directory / name for name in names if not re.fullmatch(PUT_ASIDE, name)):
            try:
                good += self._policy(path)
            except Misconfigured as fault:
                faults[path] = fault
        ignored = (escape(str(directory / name)) for name in names if re.fullmatch(PUT_ASIDE, name))
        return tuple(good), faults, tuple(ignored)

    def _policy(self, path: Path) -> Iterator[Policy]:
        if not path.name.endswith(".toml"):
            raise Misconfigured(Reason.CONSENT_REFUSED, "policy_name", file=escape(str(path)))
        data = self._data(path)
        if data is not None:
            with _named(path):
                yield parse_policy(data, escape(str(path)))

    def _in_doubt(self, path: Path) -> Iterator[Signal]:
        """Yields where a refused file may ask not to be tracked. That can only narrow.

        Whose it is, or a link, does not matter.
        """
        try:
            data = self._files.read(path, max_bytes=MAX_BYTES, follow=True)
        except AgentError:
            data = None
        if data is None:
            yield Signal(kind=SignalKind.FILE, what=escape(path.name), place=str(path.parent))
        elif (line := in_doubt(data)) is not None:
            yield Signal(kind=SignalKind.SETTING, what="do_not_track", place=escape(str(path)), line=line)

    def _data(self, path: Path) -> bytes | None:
        try:
            return self._files.read(path, max_bytes=MAX_BYTES, owners=self._paths.owners)
        except AgentError as fault:
            raise _refused(path, fault) from fault


def _refused(path: Path, fault: AgentError) -> Misconfigured:
    return Misconfigured(
        Reason.CONSENT_REFUSED, fault.detail, **{**fault.values, "file": escape(str(fault.values.get("file", path)))}
    )


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Makes a fault inside the file say which file it is."""
    try:
        yield
    except Misconfigured as fault:
        raise fault.but(file=escape(str(path))) from fault
