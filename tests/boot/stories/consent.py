"""The administrator's word: a report cut under way, one that arrives with its receipt kept, and both taken back.

And the panel's, which can only narrow; and a change that is seen at once although no command told of it.
"""

import json
import re
import time

from boot.checks import until
from boot.guest import AGENT
from boot.scenario import Scenario

PYTHON = "/opt/opanel-agent/env/bin/python"
ASK = """
import socket, sys
body = sys.argv[1].encode()
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect("/run/opanel-agent/agent.sock")
    head = "POST /v1/withdraw HTTP/1.1\\r\\nHost: agent\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n"
    asked.sendall((head % len(body)).encode() + body)
    print(b"".join(iter(lambda: asked.recv(65536), b"")).partition(b"\\r\\n\\r\\n")[2].decode())
"""
LINK = "ln -s /nowhere"
REPORTS = "/v1/reports/usage_statistics"
CONSENT = "/etc/opanel-agent/consent.toml"


def is_kept(scene: Scenario) -> None:
    scene.put(CONSENT, re.sub('hold = ".*"', 'hold = "0h"', scene.guest.must("cat", CONSENT)) + "\n")
    _cut(scene)
    _reported(scene)
    _withdrawn(scene)
    _withdrawn_by_panel(scene)
    _noticed(scene)


def _cut(scene: Scenario) -> None:
    """The server takes the report and says nothing; a "no" is typed meanwhile."""
    checks, guest, front = scene.checks, scene.guest, scene.outside.front
    front.held, before = REPORTS, len(front.heard)
    guest.agent("consent", "allow", "usage_statistics")
    waiting = guest.agent("data", "held", "--json").json["held"]
    allowing = guest.start(AGENT, "data", "held", "send", waiting[0]["id"], "--lang", "en")
    checks.soon("allowed, a report is under way", lambda: len(front.heard) > before)
    typed_s = time.monotonic()
    denied = guest.agent("consent", "deny", "usage_statistics")
    answered_s = time.monotonic()
    allowing.communicate(timeout=60)
    until(lambda: front.heard[before].ended_s is not None, 5)
    ended_s = front.heard[before].ended_s or float("inf")
    checks.succeeds("a no succeeds", denied)
    took = f"{ended_s - typed_s:.2f} s after it was typed; it answered after {answered_s - typed_s:.2f} s"
    checks.true(f"and cuts the report: {took}", found=ended_s < answered_s + 0.2, reason="it went on after the answer")
    front.held = None
    time.sleep(0.5)
    checks.same("nothing follows it", before + 1, len(front.heard))


def _reported(scene: Scenario) -> None:
    checks, guest, front = scene.checks, scene.guest, scene.outside.front
    kept = guest.agent("data", "preview", "usage_statistics", "--json").json["kept"]
    checks.same("without a consent a preview keeps nothing", (False, []), (kept, _held(scene)))
    checks.same("it is denied while nobody allowed it", 1, guest.agent("consent", "why", "usage_statistics").status)
    received = scene.outside.type("received", "--dir", "authority")
    with scene.heard() as lines:
        checks.succeeds("it is allowed by a command", guest.agent("consent", "allow", "usage_statistics"))
        shown = guest.agent("data", "preview", "usage_statistics", "--json").json
        checks.same("and waits", ([shown["id"]], []), (_held(scene), lines))
        checks.succeeds("and is sent by a command", guest.agent("data", "held", "send", shown["id"]))
        checks.soon("the report arrives", lambda: front.lines[-1:] == [f"POST {REPORTS}"])
        checks.soon("its receipt is kept", lambda: _receipts(scene) == [shown["id"]])
    checks.same("by one request", [f"POST {REPORTS}"], lines)
    body = bytes(front.heard[-1].data).partition(b"\r\n\r\n")[2]
    checks.same("byte for byte what was shown", shown["body"], body.decode())
    checks.true("the authority has it", found=scene.outside.type("received", "--dir", "authority") != received)


def _held(scene: Scenario) -> list[str]:
    return [row["id"] for row in scene.guest.agent("data", "held", "--json").json["held"]]


def _receipts(scene: Scenario) -> list[str]:
    sent = scene.guest.agent("data", "sent", "--json").json["sent"]
    return [each["id"] for each in sent if each["purpose"] == "usage_statistics" and each["receipt"]]


def _withdrawn(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    with scene.heard() as lines:
        withdrawn = guest.agent("consent", "deny", "--all", "--json").json
    checks.same(
        "taken back: no network, and a request to erase what had left lies ready",
        (0, True),
        (len(lines), bool(withdrawn["ready"])),
    )
    checks.same("it is denied again", 1, guest.agent("consent", "why", "usage_statistics").status)
    kinds = [each["kind"] for each in guest.agent("consent", "history", "--json").json["entries"]]
    found = {"ConsentGiven", "ConsentWithdrawn"} <= set(kinds)
    checks.true("the ledger has both words", found=found, reason=str(kinds))


def _why(scene: Scenario) -> list[tuple[str, str]]:
    decision = scene.guest.agent("consent", "why", "usage_statistics", "--json").json
    return [(each["reason"], each["place"]) for each in decision["reasons"]]


def _withdrawn_by_panel(scene: Scenario) -> None:
    """By a process of the group, which is nobody else's: the file goes on saying yes."""
    checks, guest = scene.checks, scene.guest
    checks.succeeds("it is allowed again", guest.agent("consent", "allow", "usage_statistics"))
    group = guest.sh("getent group opanel").split(":")[2]
    body = json.dumps({"purpose": "usage_statistics"})
    asked = guest.run("setpriv", "--reuid=65534", f"--regid={group}", "--clear-groups", PYTHON, "-I", "-c", ASK, body)
    checks.true("the panel's group withdraws it", found='"ok":true' in asked.out, reason=asked.both)
    checks.same("the file goes on saying yes, and it is denied", [("withdrawn", "the panel")], _why(scene))
    guest.must("systemctl", "restart", "opanel-agent.service")
    checks.soon("also after a restart", lambda: guest.answers() and _why(scene) == [("withdrawn", "the panel")])
    record = "/var/lib/opanel-agent-withdrawals/agent/agent.json"
    read = guest.run("setpriv", "--reuid=opanel-courier", "--regid=opanel-courier", "--clear-groups", "cat", record)
    checks.succeeds("the courier's user reads the record", read)
    checks.succeeds("only root grants again", guest.agent("consent", "allow", "usage_statistics"))
    checks.same("which it does", [], _why(scene))
    checks.succeeds("and takes back", guest.agent("consent", "deny", "--all"))


def _noticed(scene: Scenario) -> None:
    """The status is read from memory: it changes only where a pass was made, and no command asked for one."""
    checks, guest = scene.checks, scene.guest

    def signals() -> list[str]:
        return [each["what"] for each in guest.status()["consent"]["do_not_track"]]

    made = ("/etc/do-not-track", "touch"), ("/etc/opanel-agent/do-not-track", "touch"), ("/etc/do-not-track", LINK)
    for file, how in made:
        begun_s = time.monotonic()
        guest.must(*how.split(), file)
        checks.soon(f"{file} comes ({how}), and is seen without a command", lambda: signals() == ["do-not-track"])
        checks.print_line(f"--      after {time.monotonic() - begun_s:.1f} s")
        guest.must("rm", file)
        checks.soon(f"{file} goes, and that is seen, too", lambda: signals() == [])
    seen = [each["kind"] for each in guest.agent("consent", "history", "--json").json["entries"]]
    checks.true(
        "and the ledger has both", found=min(seen.count("OptOutSeen"), seen.count("OptOutGone")) > 1, reason=str(seen)
    )
    for number in range(30):
        guest.must("touch", f"/etc/opanel-agent/{number}")
        guest.must("rm", f"/etc/opanel-agent/{number}")
    checks.same("many changes do not end the watch", "active", guest.unit("opanel-agent-changed.path", "ActiveState"))
