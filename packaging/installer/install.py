"""Installs, upgrades and repairs: the list of changes, and how each is made."""

import contextlib
import filecmp
import grp
import json
import os
import pwd
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from installer import checks, environment, previous, trial
from installer.environment import Kit
from installer.opt_outs import is_untracked
from installer.place import (
    ANSWER,
    COMMAND,
    CONFIG,
    DOORS,
    ENV,
    FOLDERS,
    MANIFEST,
    PENDING,
    PLACE,
    RUNTIME,
    SERVICE,
    SHARE,
    SOCKET,
    SYSUSERS,
    TMPFILES,
    TRIAL,
    UNITS,
    WATCH,
    WHEELS,
    is_active,
    is_noted,
    is_there,
    laid,
    link,
    mode_of,
    note,
    one_at_a_time,
    run,
    write,
)
from installer.texts import CannotError, Voice, show_line

ANSWER_S: Final = 60
NEEDED: Final = (
    *("pyproject.toml", "packaging/wheels.py", "packaging/agent.lock", "packaging/installer/__main__.py"),
    *("config/agent.toml", "systemd/opanel-agent.service"),
)
PROGRAMS: Final = ("install.sh", "packaging/wheels.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was asked for, with absolute paths. `license_key` is a key, or a file that holds one."""

    wheels: Path | None
    license_file: Path | None
    license_key: str | None
    preseed: Path | None
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Step:
    """A change and the sentence that says it; one without a sentence is no change, and is made in any case."""

    sentence: tuple[object, ...]
    make: Callable[[], None]


@dataclass(slots=True)
class Plan:
    """The changes in their order; `laid` is what will be there in the end, `missing` the folders that are told."""

    steps: list[Step] = field(default_factory=list)
    laid: list[Path] = field(default_factory=list)
    replaced: list[Path] = field(default_factory=list)
    missing: set[Path] = field(default_factory=set)
    reload: bool = False
    socket_laid: bool = False
    hosts: tuple[str, ...] = ()

    @property
    def changes(self) -> list[Step]:
        return [step for step in self.steps if step.sentence]

    def add(self, make: Callable[[], None], *sentence: object) -> None:
        self.steps.append(Step(sentence, make))


class Installer:
    """One run: looks, plans, and makes what it planned. `here` is the version before, empty where there is none."""

    def __init__(self, kit: Kit, wishes: Wishes, voice: Voice) -> None:
        self.kit = kit
        self.wishes = wishes
        self.voice = voice
        checks.complete(kit.place, *NEEDED)
        self.version = kit.version
        self.kept = previous.read() if PENDING.exists() else None
        self.here = self.kept.version if self.kept else self._here()
        self.unfinished = PENDING.exists()
        self.supply: environment.Supply = "none"
        self.new = environment.new_name(kit)
        self.packages = WHEELS
        self.running: tuple[str, ...] = ()
        self.before: tuple[int, int] | None = None
        self.made_opt = False
        self.has_changes = False
        self.rooted = True

    @staticmethod
    def _here() -> str:
        own = PLACE / "pyproject.toml"
        return environment.version_in(own) if MANIFEST.is_file() and own.is_file() else ""

    # ---- planning

    def plan(self) -> Plan:
        """Raises CannotError where something is in the way, or the packages are not to be had."""
        plan = Plan()
        self.supply, wheels, plan.hosts = environment.choose(self.kit, self.wishes.wheels)
        self._plan_folder(plan, PLACE)
        plan.add(self._begin)
        self._plan_environment(plan, wheels)
        plan.add(lambda: self._keep_previous(plan))
        self._plan_kit(plan)
        self._plan_runtime(plan)
        self._plan_system(plan)
        self._plan_stale(plan)
        self._plan_accounts(plan)
        self._plan_folders(plan)
        if self.supply != "none":
            plan.reload = True
            plan.add(self._use, "swap", ENV)
        self._plan_units(plan)
        self.rooted = self.has_root()
        return plan

    def _plan_folder(self, plan: Plan, folder: Path) -> None:
        """It, and those above it that are missing."""
        if folder.is_dir() or folder in plan.missing:
            return
        self._plan_folder(plan, folder.parent)
        plan.missing.add(folder)

        def make() -> None:
            if PLACE.exists():
                note(f"d {folder}")
            try:
                folder.mkdir()
                folder.chmod(0o755)
            except OSError as error:
                raise CannotError("write", folder) from error

        plan.add(make, "folder", folder)

    def _begin(self) -> None:
        if not MANIFEST.is_file():
            write(MANIFEST, "")
            if self.made_opt:
                note(f"d {PLACE.parent}")
        if self.has_changes:
            PENDING.touch()

    def _plan_environment(self, plan: Plan, wheels: Path | None) -> None:
        match self.supply:
            case "none":
                return
            case "copy" if wheels != WHEELS:
                sentence: tuple[object, ...] = ("take", wheels, WHEELS)
            case "kept":
                sentence = ("build", self.version, self.kit.place)
            case "fetch":
                sentence = ("fetch", WHEELS)
            case _:
                sentence = ()
        if sentence:
            self.packages = environment.NEW_WHEELS
            plan.add(lambda: environment.bring(self.kit, self.supply, wheels), *sentence)
        python = environment.python_version()
        plan.add(lambda: environment.make(self.kit, self.new, self.supply, self.packages), "env", self.new, python)

    def _plan_kit(self, plan: Plan) -> None:
        """A whole kit without the source: it repairs and removes what was installed, and contacts nobody."""
        for name in self.kit.files():
            self._plan_file(plan, self.kit.place / name, PLACE / name, 0o755 if name in PROGRAMS else 0o644)

    def _plan_runtime(self, plan: Plan) -> None:
        """The Python that came with the tar, packed: /opt/opanel-agent repairs itself from it, with that tar gone."""
        runtime = self.kit.runtime
        if self.kit.place == PLACE:
            plan.laid.append(RUNTIME)
        elif runtime is not None:
            self._plan_packed(plan, runtime)

    @staticmethod
    def _plan_packed(plan: Plan, runtime: Path) -> None:
        plan.laid.append(RUNTIME)
        if environment.is_packed(runtime, RUNTIME):
            plan.add(lambda: note(f"f {RUNTIME}"))
            return
        plan.replaced.append(RUNTIME)

        def make() -> None:
            note(f"f {RUNTIME}")
            write(RUNTIME, environment.pack(runtime))

        plan.add(make, "lay", RUNTIME)

    def _plan_system(self, plan: Plan) -> None:
        units = self.kit.place / "systemd"
        for path in sorted(units.iterdir()):
            if path.suffix in {".service", ".socket", ".path"}:
                self._plan_file(plan, path, UNITS / path.name, 0o644)
        self._plan_file(plan, units / "opanel-agent.sysusers.conf", SYSUSERS, 0o644)
        self._plan_file(plan, units / "opanel-agent.tmpfiles.conf", TMPFILES, 0o644)
        for name in self.kit.share():
            self._plan_file(plan, self.kit.place / "packaging/share" / name, SHARE / name, 0o644)
        self._plan_link(plan, COMMAND, ENV / "bin/opanel-agent")

    def _plan_file(self, plan: Plan, source: Path, target: Path, mode: int) -> None:
        plan.laid.append(target)
        if is_as(source, target, mode):
            plan.add(lambda: note(f"f {target}"))
            return
        if is_there(target) and not is_noted(f"f {target}"):
            same = target.is_file() and not target.is_symlink() and filecmp.cmp(source, target, shallow=False)
            if not same:
                raise CannotError("in_the_way", target)
        self._plan_folder(plan, target.parent)
        plan.replaced.append(target)
        if target.parent == UNITS:
            plan.reload = True
            plan.socket_laid = plan.socket_laid or target.name == SOCKET

        def make() -> None:
            note(f"f {target}")
            write(target, source.read_bytes(), mode)

        plan.add(make, "lay", target)

    def _plan_link(self, plan: Plan, path: Path, target: Path) -> None:
        plan.laid.append(path)
        if path.is_symlink() and path.readlink() == target:
            plan.add(lambda: note(f"l {path}"))
            return
        if is_there(path) and not is_noted(f"l {path}"):
            raise CannotError("in_the_way", path)
        self._plan_folder(plan, path.parent)

        def make() -> None:
            note(f"l {path}")
            link(path, target)

        plan.add(make, "link", path, target)

    def _plan_stale(self, plan: Plan) -> None:
        """What an earlier version laid and this one does not."""
        stays = {*plan.laid, UNITS / TRIAL}
        for path in [each for each in laid() if each not in stays and is_there(each)]:
            plan.reload = plan.reload or path.parent == UNITS
            plan.replaced.append(path)
            plan.add(path.unlink, "drop", path)

    @staticmethod
    def _plan_accounts(plan: Plan) -> None:
        if has_user("opanel-agent") and has_user("opanel-courier") and has_group("opanel"):
            return

        def make() -> None:
            if not has_group("opanel"):
                note("g opanel")
            done("systemd-sysusers", SYSUSERS)

        plan.add(make, "accounts")

    def _plan_folders(self, plan: Plan) -> None:
        missing = [str(folder) for folder, form in FOLDERS.items() if not is_folder_as(folder, form)]
        if missing:
            plan.add(lambda: done("systemd-tmpfiles", "--create", TMPFILES), "folders", " ".join(missing))
        settings, opt_out = CONFIG / "agent.toml", CONFIG / "do-not-track"
        if not is_there(settings):
            example = self.kit.place / "config/agent.toml"
            plan.add(lambda: write(settings, example.read_bytes()), "lay", settings)
        if is_untracked() and not is_there(opt_out):
            plan.add(lambda: write(opt_out, ""), "untracked", opt_out)

    def _plan_units(self, plan: Plan) -> None:
        """What was enabled once is the administrator's to disable: restarted where it runs, and never enabled again."""
        plan.reload = plan.reload or self.unfinished
        plan.add(self._observe)
        if plan.reload:
            plan.add(lambda: done("systemctl", "daemon-reload"), "reload")
        if not is_noted(f"e {SOCKET}"):
            plan.add(self._hold_socket, "enable", SOCKET)
        elif plan.socket_laid and is_active(SOCKET):
            plan.add(self._hold_socket, "restart", SOCKET)
        for unit in (*DOORS, SERVICE):
            if not is_noted(f"e {unit}"):
                plan.add(partial(self._enable, unit), "enable", unit)
            elif plan.reload:
                plan.add(partial(self._restart, unit), "restart", unit)
        if not is_noted(f"e {WATCH}"):
            plan.add(self._enable_watch, "enable", WATCH)
        elif plan.reload:
            plan.add(lambda: self._told_if_not(run("systemctl", "try-restart", WATCH)), "restart", WATCH)

    # ---- making

    def make(self, plan: Plan) -> None:
        """Makes every change. Where what is in use cannot be replaced it is put back, else what was begun goes again."""
        self.has_changes = bool(plan.changes)
        self.made_opt = PLACE.parent in plan.missing
        try:
            for step in plan.steps:
                step.make()
        except CannotError as error:
            if error.code in {"packages", "env"}:
                self._abandon()
            raise
        except OSError as error:
            raise CannotError("write", error.filename or PLACE) from error

    def _abandon(self) -> None:
        """Before anything that is in use was touched: what this run made goes again."""
        if self.unfinished:
            return
        for path in (self.new, environment.NEW_WHEELS):
            shutil.rmtree(path, ignore_errors=True)
        PENDING.unlink(missing_ok=True)
        if not self.here:
            shutil.rmtree(PLACE, ignore_errors=True)
            if self.made_opt:
                with contextlib.suppress(OSError):
                    PLACE.parent.rmdir()

    def _keep_previous(self, plan: Plan) -> None:
        """Before the first change of what is in use."""
        unchanged = self.here == self.version and self.supply == "none"
        if not self.here or self.kept or unchanged or not ENV.is_symlink():
            return
        self.kept = previous.keep(self.here, plan.replaced, own_socket=is_noted(f"e {SOCKET}"))

    def _use(self) -> None:
        if self.supply != "runtime":
            environment.take_wheels(self.packages)
        link(ENV, self.new.name)

    def _observe(self) -> None:
        self.running = previous.running()
        self.before = written(ANSWER)

    def _hold_socket(self) -> None:
        """The agent's own socket is never closed for an upgrade, only where it is new, or its unit has changed.

        Then the service ends first: systemd holds no socket whose service runs without it.
        """
        self._or_back(run("systemctl", "-q", "enable", SOCKET) or is_noted(f"e {SOCKET}"))
        self._or_back(run("systemctl", "stop", SERVICE, SOCKET))
        self._or_back(run("systemctl", "start", SOCKET))
        note(f"e {SOCKET}")
        if SERVICE in self.running:
            self._or_back(run("systemctl", "start", SERVICE))

    def _enable(self, unit: str) -> None:
        self._or_back(run("systemctl", "-q", "enable", unit) and run("systemctl", "start", unit))
        note(f"e {unit}")
        if unit == SERVICE and self.rooted and not (unit in self.running and self.before):
            self._or_back(self._answers())

    def _restart(self, unit: str) -> None:
        """Also one that ran before an upgrade that was cut short, and does not run since."""
        ran = unit in self.running or (self.kept is not None and unit in self.kept.running)
        self._or_back(run("systemctl", "try-restart" if unit in self.running or not ran else "restart", unit))
        answered = self.kept.answered if self.kept else bool(self.before)
        if unit == SERVICE and answered and ran:
            self._or_back(self._answers())

    def _answers(self) -> bool:
        """An agent that dies of its first work has started, too. Its daemon writes the answer anew, once there is one."""
        end = time.monotonic() + ANSWER_S
        while written(ANSWER) == self.before:
            if time.monotonic() > end:
                return False
            time.sleep(0.2)
            if not is_active(SERVICE):
                return False
        return True

    def _enable_watch(self) -> None:
        """Where the kernel has no watch left (one container among many), the agent works, and follows a change later."""
        self._told_if_not(run("systemctl", "-q", "enable", WATCH) and run("systemctl", "start", WATCH))
        note(f"e {WATCH}")

    def _told_if_not(self, succeeded: bool) -> None:  # noqa: FBT001 - what a command came to
        if not succeeded:
            self.voice.show("not_watched")

    def _or_back(self, succeeded: bool) -> None:  # noqa: FBT001 - what a command came to
        if succeeded:
            return
        if self.kept is None:
            raise CannotError("start")
        self.voice.show("back")
        previous.put_back(self.kept)
        raise CannotError("upgrade")

    # ---- the whole run

    def show(self, plan: Plan) -> None:
        show = self.voice.show
        if self.unfinished:
            show("unfinished")
        if not self.here:
            show("fresh", self.version)
        elif self.here == self.version:
            show("same", self.version)
        else:
            show("upgrade", self.here, self.version)
        if not self.rooted:
            show("no_root")
        show("plan")
        for step in plan.changes:
            show_line(f"  {self.voice.sentence(str(step.sentence[0]), *step.sentence[1:])}")
        if not plan.changes and not self.unfinished:
            show_line(f"  {self.voice.sentence('nothing')}")
        show(*(("hosts", ", ".join(plan.hosts)) if plan.hosts else ("no_hosts",)))
        self._say_what_follows()

    def _say_what_follows(self) -> None:
        show = self.voice.show
        if self.wishes.license_file:
            show("then_license", self.wishes.license_file)
        if self.wishes.preseed:
            show("then_preseed", self.wishes.preseed)
        else:
            show("then_untracked" if is_untracked() else "then_setup")
        if self.wishes.license_key:
            show("then_key")

    def has_root(self) -> bool:
        """Whether the agent will find a root of trust: in what will be installed, or named by the settings."""
        if environment.has_root(self.kit, self.supply, self.wishes.wheels):
            return True
        try:
            return "trust_root" in tomllib.loads((CONFIG / "agent.toml").read_text("utf-8"))
        except (OSError, ValueError):
            return False

    def settle(self, plan: Plan) -> None:
        """An upgrade is on trial; everything else is done."""
        if not plan.changes and not self.unfinished:
            return
        if self.kept and self.kept.version != self.version and self.kept.answered:
            PENDING.unlink(missing_ok=True)
            trial.begin()
        else:
            previous.tidy()


def install(kit: Kit, wishes: Wishes, voice: Voice) -> int:
    """Returns the exit status. Raises CannotError."""
    checks.systemd(voice)
    checks.disk()
    with one_at_a_time(really=not wishes.dry_run):
        checks.free_way()
        checks.owner()
        installer = Installer(kit, wishes, voice)
        checks.not_older(installer.version, installer.here)
        plan = installer.plan()
        installer.show(plan)
        if wishes.dry_run:
            voice.show("dry")
            return 0
        if plan.changes:
            voice.show("working")
            trial.end()  # of an earlier upgrade: what it kept gives way to what this one does
        try:
            installer.make(plan)
        except KeyboardInterrupt:
            voice.show("interrupted")
            return 130
        installer.settle(plan)
    status = ask(wishes, voice)
    if installer.rooted:
        voice.show("installed", installer.version, len(plan.changes))
    else:
        voice.show("rootless", installer.version, len(plan.changes))
        status = status or os.EX_CONFIG
    voice.show("what", MANIFEST)
    voice.show("undo", PLACE / "install.sh")
    return status


# ---- what the agent itself does in the end


def ask(wishes: Wishes, voice: Voice) -> int:
    """The license from a file, the questions, the license for a key. Returns what the license's command came to."""
    status = 0
    if wishes.license_file:
        status = install_license(str(wishes.license_file), voice) or status
    try:
        setup(wishes.preseed, voice)
    except KeyboardInterrupt:
        voice.show("setup_left")
        return 130
    if wishes.license_key:
        status = install_license(wishes.license_key, voice) or status
    return status


def setup(preseed: Path | None, voice: Voice) -> None:
    if preseed:
        words: tuple[str, ...] = ("--preseed", str(preseed))
    elif is_answered(voice):
        return
    else:
        words = ()
    status = agent(voice, "setup", *words)
    if status == os.EX_CONFIG:
        voice.show("consent_refused")
    elif status != 0:
        voice.show("setup_left")


def install_license(license_: str, voice: Voice) -> int:
    status = agent(voice, "license", "install", license_)
    if status in {0, os.EX_TEMPFAIL}:
        return 0
    voice.show("license_left")
    return status


def is_answered(voice: Voice) -> bool:
    """Whether the answers that stand are to the notice that is installed."""
    command = [*agent_command(), "consent", "show", "--json", "--lang", voice.lang]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        found = json.loads(ran.stdout)["result"]
    except (ValueError, KeyError):
        return False
    return bool(found["notice"] == found["installed_notice"])


def agent(voice: Voice, *words: str) -> int:
    """What a command of the installed agent came to; what it prints goes to standard error."""
    ran = subprocess.run([*agent_command(), *words, "--lang", voice.lang], check=False, stdout=sys.stderr)
    return ran.returncode


def agent_command() -> list[str]:
    return [str(ENV / "bin/python"), "-I", "-m", "opanel_agent"]


# ---- looking


def is_as(source: Path, target: Path, mode: int) -> bool:
    if not target.is_file() or target.is_symlink() or not filecmp.cmp(source, target, shallow=False):
        return False
    found = target.stat()
    return (found.st_uid, found.st_gid, mode_of(target)) == (0, 0, mode)


def is_folder_as(folder: Path, form: str) -> bool:
    """`form` as `stat -c '%U:%G %a'` prints it."""
    if not folder.is_dir():
        return False
    found = folder.stat()
    try:
        user, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        return False
    return f"{user}:{group} {found.st_mode & 0o7777:o}" == form


def has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def written(path: Path) -> tuple[int, int] | None:
    """What tells one writing of a file from another; nothing where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def done(*command: str | Path) -> None:
    """Raises CannotError `step` where a program of the system's failed."""
    if not run(*command):
        raise CannotError("step", " ".join(str(word) for word in command))
