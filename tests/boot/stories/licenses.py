"""The reseller's story, with the authority outside: activated, suspended, resumed; and a second license by its key."""

from boot.checks import Ran
from boot.scenario import WORDS, Scenario

GETS = sorted(f"GET /v1/{name}" for name in WORDS.values())


def is_heard(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    with scene.heard() as lines:
        checks.succeeds("the license is activated by a command", guest.agent("license", "activate"))
    checks.same("the courier carried that and nothing else", ["POST /v1/activations"], lines)
    checks.same("it is active, and nothing is due", ("active", []), _without_ok(guest.state()))
    before = len(scene.outside.front.heard)
    checks.succeeds("a refresh succeeds", guest.agent("license", "refresh"))
    heard = [bytes(each.data) for each in scene.outside.front.heard[before:]]
    checks.same(
        "fetch brings status list, roots and advisories, byte for byte",
        sorted(map(scene.fixed_get, WORDS)),
        sorted(heard),
    )
    checks.same(
        "no unit of theirs is left behind",
        "",
        guest.must("systemctl", "list-units", "--all", "--plain", "--no-legend", "opanel-agent-*@*"),
    )
    _changes(scene)
    _refuses(scene)
    _unreachable(scene)
    _by_key(scene)


def _changes(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    jti, permits = scene.outside.jti("first.jws"), guest.status()["license"]["permits"]
    scene.outside.type("suspend", "--dir", "authority", jti)
    guest.agent("license", "refresh")
    state, reasons = guest.state()
    checks.same("suspended: a grace with its reason", ("grace", True), (state, "suspended" in reasons))
    checks.same("and the permits are what they were", permits, guest.status()["license"]["permits"])
    scene.outside.type("resume", "--dir", "authority", jti)
    guest.agent("license", "refresh")
    checks.same("resumed: all is well at the next refresh", ("active", []), _without_ok(guest.state()))


def _refuses(scene: Scenario) -> None:
    text = (scene.outside.folder / "first.jws").read_text("ascii")
    place = len(text) // 2
    scene.put("/root/edited.jws", text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :])
    status = scene.guest.agent("license", "install", "/root/edited.jws").status
    scene.checks.same(
        "a license that was edited is refused, the good one stays", (65, "active"), (status, scene.guest.state()[0])
    )


def _unreachable(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    with scene.outside.front.gone():
        checks.same("the authority is gone: a refresh says so", 69, guest.agent("license", "refresh").status)
    state, reasons = guest.state()
    checks.same("unreachable is a reason and no state", ("active", True), (state, "unreachable_tcp" in reasons))
    checks.succeeds("it is back: a refresh succeeds", guest.agent("license", "refresh"))
    checks.same("and nothing is left of it", ("active", []), _without_ok(guest.state()))


def _by_key(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    issued = scene.outside.issue("second.jws")
    with scene.heard() as lines:
        ran: Ran = guest.agent("license", "install", issued["license_key"])
    checks.same("a license is installed by its key", (0, ["POST /v1/bundles"]), (ran.status, lines))
    checks.true("what leaves is shown before", found="key_sha256" in ran.both, reason=ran.both)
    checks.same(
        "it is the new one, and wants to be activated", ("active", ["activation_due"]), _without_ok(guest.state())
    )
    guest.agent("license", "activate")
    checks.same("which it is", ("active", []), _without_ok(guest.state()))


def _without_ok(state: tuple[str, list[str]]) -> tuple[str, list[str]]:
    return state[0], [reason for reason in state[1] if reason != "ok"]
