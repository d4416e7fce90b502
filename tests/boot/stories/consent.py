"""The administrator's word: a report cut under way, one that arrives with its receipt kept, and both taken back."""

import re
import time

from boot.checks import until
from boot.guest import AGENT
from boot.scenario import Scenario

REPORTS = "/v1/reports/usage_statistics"
CONSENT = "/etc/opanel-agent/consent.toml"


def is_kept(scene: Scenario) -> None:
    scene.put(CONSENT, re.sub('hold = ".*"', 'hold = "0h"', scene.guest.must("cat", CONSENT)) + "\n")
    _cut(scene)
    _reported(scene)
    _withdrawn(scene)


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
    checks.true(f"and cuts the report: {took}", found=ended_s < answered_s + 0.2, told="it went on after the answer")
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
    told = scene.guest.agent("data", "sent", "--json").json["sent"]
    return [each["id"] for each in told if each["purpose"] == "usage_statistics" and each["receipt"]]


def _withdrawn(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    with scene.heard() as lines:
        told = guest.agent("consent", "deny", "--all", "--json").json
    checks.same(
        "taken back: no network, and a request to erase what had left lies ready",
        (0, True),
        (len(lines), bool(told["ready"])),
    )
    checks.same("it is denied again", 1, guest.agent("consent", "why", "usage_statistics").status)
    kinds = [each["kind"] for each in guest.agent("consent", "history", "--json").json["entries"]]
    found = {"ConsentGiven", "ConsentWithdrawn"} <= set(kinds)
    checks.true("the ledger has both words", found=found, told=str(kinds))
