"""The proof on booted systems: `tests/boot/run` (which see for its options) runs this.

Each suite is a process of its own in a network namespace of its own, beside the others. It makes a copy of a kept Debian,
boots it, tells the stories in their order, and ends every process, link, namespace and mount that it made.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn
from xml.etree import ElementTree as ET

from boot import host
from boot.checks import Checks
from boot.file_tree import read
from boot.guest import PERMIT_NETWORKS, TOOLS, Guest, own_groups
from boot.link import link
from boot.outside import outside
from boot.scenario import Scenario, hosts
from boot.stories import busy, consent, days, install, licenses, life, package, removal, self_contained, walls

FAILED: Final = 1
USAGE: Final = 64
CANNOT: Final = 69
STORIES: Final = (
    ("installed, in Turkish", install.installs),
    ("offline", install.says_nothing_offline),
    ("the reseller's", licenses.is_heard),
    ("the administrator's word", consent.is_kept),
    ("walls", walls.stand),
    ("signals", walls.signals_hold),
    ("its own proof", walls.silence_is_proven),
    ("killed", life.goes_on),
    ("a busy panel", busy.is_never_refused),
    ("rebooted", life.is_rebooted),
    ("served from the first moment", busy.is_served_at_boot),
    ("fewer rights", life.has_fewer_rights),
    ("a day of no", days.of_deny),
    ("a day of do-not-track", days.of_do_not_track),
    ("removed", removal.is_purged),
    ("upgraded", removal.is_upgraded),
    ("a package", package.is_installed_by_apt),
)


# Where the agent's own Python is the only one that it can run on: what that changes, and that the walls are the same.
SELF_CONTAINED_STORIES: Final = (
    ("a package with a Python of its own", self_contained.is_installed),
    ("the reseller's", licenses.is_heard),
    ("walls", walls.stand),
    ("signals", walls.signals_hold),
    ("rebooted", life.is_rebooted),
    ("upgraded, removed, purged", self_contained.is_upgraded_and_removed),
    ("the tar", self_contained.is_installed_from_the_tar),
)


def run_suite(suite: str, builds: Path, report: Path, root: Path | None) -> int:
    """One suite, in its own namespaces. Every check is in the report, whatever ends it."""
    checks = Checks(suite=suite)
    name = f"opanel-boot-{os.getpid()}"
    try:
        with ExitStack() as stack:
            scene = _scene(stack, checks, name, builds, root)
            for story, act in SELF_CONTAINED_STORIES if suite in host.SELF_CONTAINED else STORIES:
                with checks.story(story):
                    act(scene)
    except Exception as error:  # noqa: BLE001 - already a failed check, or one now
        if not checks.failed:
            checks.true("the system boots", found=False, reason=str(error))
    checks.print_line(f"{checks.passed} passed, {checks.failed} failed")
    checks.write(report)
    return FAILED if checks.failed else 0


def _scene(stack: ExitStack, checks: Checks, name: str, builds: Path, root: Path | None) -> Scenario:
    stack.enter_context(own_groups(name))
    made = stack.enter_context(host.copy(checks.suite, root))
    host.bring_tools(made)
    subprocess.run(["cp", "-a", f"{builds}/.", str(made / TOOLS.lstrip("/"))], check=True)
    hosts(made)
    cable = stack.enter_context(link())
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="opanel-boot-")))
    world = stack.enter_context(outside(folder))
    guest = Guest(root=made, name=name, namespace=cable.namespace, console=folder / "console")
    stack.callback(guest.power_off)
    guest.boot(PERMIT_NETWORKS)
    checks.print_line(f"--      booted: {guest.must('systemctl', '--version').splitlines()[0]}")
    return Scenario(checks=checks, guest=guest, outside=world, link=cable, before=read(made))


# ---- all of it


def run(suites: list[str], report: Path | None, root: Path | None) -> int:
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="opanel-boot-") as name:
        place = Path(name)
        kinds = {suite: "self-contained" if suite in host.SELF_CONTAINED else "native" for suite in suites}
        makers = {"native": host.builds, "self-contained": host.self_contained}
        with ThreadPoolExecutor() as pool:
            making: list[Future[object]] = [pool.submit(host.debian, suite) for suite in suites]
            making += [pool.submit(makers[kind], place / kind) for kind in set(kinds.values())]
            for made in making:
                made.result()
        processes = [_start(suite, place / kinds[suite], place / f"{suite}.xml", root) for suite in suites]
        statuses = _wait(processes)
        _sum_up([place / f"{suite}.xml" for suite in suites], report, time.monotonic() - begun_s)
    return max(0 if status == 0 else FAILED for status in statuses)


def _start(suite: str, builds: Path, report: Path, root: Path | None) -> "subprocess.Popen[bytes]":
    options = ["--run-here", suite, "--builds", str(builds), "--junit", str(report)]
    kept = [] if root is None else ["--root", str(root)]
    return subprocess.Popen(["unshare", "--net", sys.executable, "-m", "boot.proof", *options, *kept])


def _wait(processes: "list[subprocess.Popen[bytes]]") -> list[int]:
    try:
        return [process.wait() for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
                process.wait()


def _sum_up(reports: list[Path], report: Path | None, took_s: float) -> None:
    whole = ET.Element("testsuites")
    whole.extend(ET.parse(each).getroot() for each in reports if each.exists())  # noqa: S314 - written by ourselves
    failed = len(whole.findall(".//failure"))
    sys.stdout.write(f"{len(whole.findall('.//testcase')) - failed} passed, {failed} failed, {took_s:.0f} s\n")
    if report is not None:
        ET.ElementTree(whole).write(report, encoding="unicode")


def main(words: list[str]) -> int:
    try:
        arguments = _arguments(words)
    except SystemExit:  # argparse has said what is wrong, and would end with 2
        return USAGE
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    if arguments.run_here is not None:
        return run_suite(arguments.run_here, arguments.builds, arguments.junit, arguments.root)
    suites = list(host.ALL) if arguments.suite == "all" else [arguments.suite]
    why = host.cannot(suites)
    if why is not None:
        sys.stderr.write(f"cannot boot a system here: {why}\n")
        return CANNOT
    return 0 if arguments.probe else run(suites, arguments.junit, arguments.root)


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/boot/run", add_help=False)
    parser.add_argument("--suite", choices=(*host.ALL, "all"), default="all")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--junit", type=Path)
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--run-here", choices=host.ALL, help="one suite, in the namespace that this was started in")
    parser.add_argument("--builds", type=Path)
    arguments = parser.parse_args(words)
    if arguments.root is not None and arguments.suite == "all" and arguments.run_here is None:
        parser.error("--root is for one suite")
    return arguments


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
