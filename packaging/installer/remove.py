"""Removes an installation; with `purge` its settings and data too, which are exported first."""

import contextlib
import grp
import pwd
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from installer.checks import runs_systemd
from installer.install import Step, agent_command, done, has_group, has_user
from installer.place import (
    CONFIG,
    DOORS,
    ENV,
    MANIFEST,
    PLACE,
    RUNTIME_FOLDERS,
    SERVICE,
    SOCKET,
    STATE,
    TRIAL,
    UNITS,
    WATCH,
    WITHDRAWALS,
    forget,
    is_noted,
    is_there,
    laid,
    noted,
    one_at_a_time,
    run,
)
from installer.texts import CannotError, Voice, show_line

OF_ADMINISTRATOR: Final = (CONFIG, STATE, WITHDRAWALS)
USERS: Final = ("opanel-agent", "opanel-courier")
GROUP: Final = "opanel"
OUR_COMMENT: Final = "OPanel license agent"  # as sysusers.d gives it; an account that was here before has another


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    purge: bool
    export: bool
    dry_run: bool


class Remover:
    def __init__(self, wishes: Wishes, voice: Voice) -> None:
        self.wishes = wishes
        self.voice = voice
        self.exported: Path | None = None
        self.made_group = is_noted(f"g {GROUP}")
        self.made_opt = is_noted(f"d {PLACE.parent}")

    def plan(self) -> Iterator[Step]:
        if (UNITS / SERVICE).exists():
            yield Step(("stop", " ".join((SOCKET, SERVICE, *DOORS, WATCH))), stop)
        if self.wishes.purge and self.wishes.export:
            yield self._export()
        for path in laid():
            if not path.is_relative_to(PLACE):
                yield Step(("drop", path), lambda: None)  # all of them at once, below: last laid, first removed
        if MANIFEST.is_file():
            yield Step((), self._remove_laid)
        for folder in filter(is_there, (*RUNTIME_FOLDERS, *(OF_ADMINISTRATOR if self.wishes.purge else ()))):
            yield Step(("drop", folder), partial(remove_tree, folder))
        if self.wishes.purge:
            yield from self._accounts()
        if is_there(PLACE):
            yield Step(("drop", PLACE), partial(remove_tree, PLACE))
        if self.made_opt:
            yield Step((), remove_opt)

    def _export(self) -> Step:
        if not STATE.is_dir() or not any(STATE.iterdir()):
            return Step((), lambda: None)
        if not (ENV / "bin/python").exists():
            raise CannotError("no_agent", STATE)
        folder = Path("/root") if Path("/root").is_dir() else Path.cwd()

        def make() -> None:
            self.exported = folder / f"opanel-agent-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.export"
            command = [*agent_command(), "data", "export", "-o", str(self.exported), "--lang", self.voice.lang]
            if subprocess.run(command, check=False, stdout=sys.stderr).returncode != 0:
                raise CannotError("export")

        return Step(("export", folder / "opanel-agent-….export"), make)

    def _remove_laid(self) -> None:
        run("systemctl", "-q", "disable", SOCKET, SERVICE, *DOORS, WATCH)
        for line in reversed(noted()):
            kind, _, name = line.partition(" ")
            path = Path(name)
            if path.is_relative_to(PLACE):
                continue
            match kind:
                case "f":
                    path.unlink(missing_ok=True)
                case "l" if path.is_symlink():
                    path.unlink()
                case "l" if is_there(path):
                    self.voice.show("not_ours", path)
                case "d":
                    with contextlib.suppress(OSError):
                        path.rmdir()
        if runs_systemd():
            run("systemctl", "daemon-reload")
            quietly("systemctl", "reset-failed", "opanel-agent*")

    def _accounts(self) -> Iterator[Step]:
        ours = [name for name in USERS if is_our_account(name)]
        for name in ours:
            yield Step(("account", name), partial(done, "userdel", name))
        for name in USERS:  # a user's own group goes with it, where the system is set up so
            if has_group(name) and (not has_user(name) or name in ours):
                yield Step((), partial(remove_group, name))
        if has_group(GROUP) and self._is_group_ours():
            yield Step(("account", GROUP), partial(remove_group, GROUP))

    def _is_group_ours(self) -> bool:
        """Made by the installer, or nobody is in it; and no account's own, as a panel's may be."""
        group = grp.getgrnam(GROUP)
        if any(each.pw_gid == group.gr_gid for each in pwd.getpwall()):
            return False
        return self.made_group or not group.gr_mem


def remove(wishes: Wishes, voice: Voice) -> int:
    """Returns the exit status. Raises CannotError."""
    with one_at_a_time(really=not wishes.dry_run):
        remover = Remover(wishes, voice)
        steps = list(remover.plan())
        changes = [step for step in steps if step.sentence]
        voice.show("plan")
        for step in changes:
            show_line(f"  {voice.sentence(str(step.sentence[0]), *step.sentence[1:])}")
        if wishes.purge and wishes.export and not any(step.sentence[0] == "export" for step in changes):
            show_line(f"  {voice.sentence('nothing_kept')}")
        if not changes:
            show_line(f"  {voice.sentence('nothing')}")
        if wishes.purge and (STATE / "activation.key").is_file():
            voice.show("seat")
        voice.show("no_hosts")
        if wishes.dry_run:
            voice.show("dry")
            return 0
        for step in steps:
            step.make()
    voice.show("gone", len(changes))
    if remover.exported:
        voice.show("exported", remover.exported)
    if not wishes.purge:
        voice.show("stays", f"{CONFIG}, {STATE}, {WITHDRAWALS}")
    return 0


def stop() -> None:
    if runs_systemd():
        if (UNITS / TRIAL).exists():
            run("systemctl", "stop", TRIAL)
            run("systemctl", "-q", "disable", TRIAL)
        jobs = ("opanel-agent-fetch@*.service", "opanel-agent-courier@*.service")
        if not run("systemctl", "stop", WATCH, SOCKET, SERVICE, *DOORS, *jobs):
            raise CannotError("step", "systemctl stop")
    forget(*(line for line in noted() if line.startswith("e ")))  # should it be installed again, they are enabled again


def remove_tree(path: Path) -> None:
    """A link is removed and never followed, and another file system is not entered."""
    if is_there(path) and not run("rm", "-rf", "--one-file-system", path):
        raise CannotError("write", path)


def remove_opt() -> None:
    with contextlib.suppress(OSError):
        PLACE.parent.rmdir()


def remove_group(name: str) -> None:
    if has_group(name):
        done("groupdel", name)


def is_our_account(name: str) -> bool:
    return has_user(name) and pwd.getpwnam(name).pw_gecos.startswith(OUR_COMMENT)


def quietly(*command: str) -> None:
    subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
