"""A panel asks all the time, and is never refused: through restarts, kills and upgrades, and from a boot's first moment.

And its libraries tell the truth: what they call the cure cures.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from boot.checks import until
from boot.guest import PERMIT_NETWORKS, TOOLS, UNITS
from boot.host import REPOSITORY
from boot.scenario import PYTHON, Scenario

SOCKET = "/run/opanel-agent/agent.sock"
PANEL = "opanel-panel"
WORKERS = 50
RESTARTS = 20
KILLS = 3
FOLDER = "/tmp/opanel-herd"  # noqa: S108 - in the guest
END = f"{FOLDER}/ends"
LIBRARY = REPOSITORY / "docs/examples/panel/opanel_license.php"
# An evaluate that comes to no end: whatever is answered meanwhile is of before.
SLOW = "import sys, time; sys.orig_argv[-1] == 'evaluate' and time.sleep(600)\n"
GET = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(20)
client.connect(sys.argv[1])
client.sendall(f"GET {sys.argv[2]} HTTP/1.0\\r\\n\\r\\n".encode())
got = b"".join(iter(lambda: client.recv(65536), b""))
head, _, body = got.partition(b"\\r\\n\\r\\n")
sys.stdout.write(head.split()[1].decode() + body.decode())
"""


def is_never_refused(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    with herd(scene) as asked:
        for _ in range(RESTARTS):
            guest.must("systemctl", "restart", UNITS[0])
    reports_outcome(scene, f"{RESTARTS} restarts", asked)
    checks.same(f"{RESTARTS} restarts: none of them had to ask again", 0, asked["asked again"])
    with herd(scene) as asked:
        for _ in range(KILLS):
            _kill(scene)
    reports_outcome(scene, f"kill -9, {KILLS} times", asked)
    _cures(scene)


def _kill(scene: Scenario) -> None:
    guest, pid = scene.guest, scene.guest.daemon()
    guest.sh(f"kill -KILL {pid}")
    if not until(lambda: guest.daemon() not in (0, pid) and guest.answers(), 60):
        raise RuntimeError("it was not started again")


@contextmanager
def herd(scene: Scenario) -> Iterator[dict[str, int]]:
    """While so many workers of a panel's user ask; what became of their requests is there at the end, the user is not."""
    guest = scene.guest
    guest.sh(f"useradd --system -M -G opanel {PANEL}; install -d -m 777 {FOLDER}")
    as_panel = ("setpriv", "--reuid", PANEL, "--regid", PANEL, "--init-groups")
    process = guest.start(*as_panel, PYTHON, "-I", f"{TOOLS}/herd.py", SOCKET, str(WORKERS), END)
    asked: dict[str, int] = {}
    try:
        if not until(lambda: guest.run("test", "-e", f"{END}.asks").status == 0, 30):
            raise RuntimeError("nobody is answered")
        yield asked
    finally:
        guest.sh(f"touch {END}")
        out, err = process.communicate(timeout=120)
        guest.sh(f"userdel {PANEL}; rm -r {FOLDER}")
    if process.returncode != 0:
        raise RuntimeError(err.decode())
    asked |= json.loads(out)


def reports_outcome(scene: Scenario, what: str, asked: dict[str, int]) -> None:
    """What became of a herd's requests. Who was cut off by a kill has asked again, as every client may a GET."""
    failed = {outcome: number for outcome, number in asked.items() if outcome not in ("200", "asked again")}
    scene.checks.same(f"{what} under {WORKERS} workers of the panel: no request failed", {}, failed)
    scene.checks.print_line(f"--      {what}: {asked['200']} requests answered, {asked['asked again']} asked again")


def _cures(scene: Scenario) -> None:
    """The libraries' commands, taken from them, are carried out where they are said."""
    checks, guest = scene.checks, scene.guest
    guest.must("systemctl", "stop", *UNITS[:2])
    checks.true("the agent is stopped", found=guest.run("test", "-e", SOCKET).status != 0)
    guest.must(*_command("stopped"))
    checks.soon("what the panel says of a stopped agent starts it", guest.answers)
    guest.sh(f"kill -STOP {guest.daemon()}")
    checks.true("the agent is hung", found=not guest.answers())
    guest.must(*_command("hung"))
    checks.soon("what the panel says of a hung agent cures it", guest.answers)


def _command(failure: str) -> list[str]:
    """The first command that the PHP library names for it, the same in both languages."""
    part = LIBRARY.read_text(encoding="utf-8").partition(f"'{failure}' => [")[2].partition("],")[0]
    text = re.sub(r"'\s*\.\s*'", "", part)
    turkish, english = re.findall(r": (systemctl (?:start|restart) [a-z. -]+);", text)
    if turkish != english:
        raise RuntimeError(f"{turkish!r} is not {english!r}")
    return str(english).split()


def is_served_at_boot(scene: Scenario) -> None:
    """The license is; what else an answer says of this server may be so no longer."""
    checks, guest = scene.checks, scene.guest
    before = _get(scene, "/v1/license")[1]
    packages = guest.sh("echo /opt/opanel-agent/env/lib/python3.*/site-packages")
    scene.put(f"{packages}/opanel-boot-slow.pth", SLOW)
    guest.power_off()
    guest.boot(PERMIT_NETWORKS)
    status, body = _get(scene, "/v1/license")
    checks.same(
        "before the first evaluation after a boot the license is served as it was, and marked",
        (200, before["state"], True, True),
        (status, body.get("state"), body.get("as_of", 0) >= before["as_of"], body.get("restored")),
    )
    status, body = _get(scene, "/v1/answer")
    checks.same("nothing else is claimed of before the boot", (503, "not_yet"), (status, body.get("code")))
    guest.sh(f"rm {packages}/opanel-boot-slow.pth")
    guest.must("systemctl", "restart", UNITS[0])
    checks.soon("once it was evaluated it is marked no more", lambda: "restored" not in _get(scene, "/v1/license")[1])


def _get(scene: Scenario, path: str) -> tuple[int, Any]:
    got = scene.guest.must(PYTHON, "-I", "-c", GET, SOCKET, path)
    return int(got[:3]), json.loads(got[3:])
