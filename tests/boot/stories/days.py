"""Days of a server that said no: the courier never starts, and the link carries the fixed GETs and nothing else.

A day here is two, of the agent's own reckoning, so that a whole one by the calendar is among them: a check is made once in
each. The clock is boot.clock's, moved half an hour at a time; what is due the agent begins by itself. What is under TLS on
the link is compared where TLS ends; that it is all there was on the link, the kernel's counters say.
"""

from boot.scenario import WORDS, Scenario


def of_deny(scene: Scenario) -> None:
    scene.guest.agent("consent", "deny", "--all")
    _passes(scene, "denied")


def of_do_not_track(scene: Scenario) -> None:
    """Although it is allowed to report; and the signal lifted, a report goes when one is due."""
    checks, guest = scene.checks, scene.guest
    guest.sh("ln -s /nowhere /etc/do-not-track")
    guest.agent("consent", "allow", "usage_statistics")
    _passes(scene, "do-not-track")
    guest.sh("rm /etc/do-not-track")
    with scene.heard() as lines:
        scene.pass_time(8 * 24, step_s=14400)
    found = "POST /v1/reports/usage_statistics" in lines
    checks.true("the signal lifted, within eight days a report goes", found=found, reason=str(lines))


def _passes(scene: Scenario, word: str) -> None:
    checks, guest, front = scene.checks, scene.guest, scene.outside.front
    courier, fetch, heard = guest.accepted("courier"), guest.accepted("fetch"), len(front.heard)
    before = scene.link.count()
    passes = scene.pass_time(48, step_s=1800)
    count = scene.link.count().since(before)
    requests = [bytes(each.data) for each in front.heard[heard:]]
    checks.true(f"{word}: in two days it looked {passes} times", found=passes > 1)
    checks.same(f"{word}: the courier never started", courier, guest.accepted("courier"))
    checks.same(f"{word}: fetch was let in once for each request", len(requests), guest.accepted("fetch") - fetch)
    wanted = {scene.fixed_get(name) for name in WORDS}
    checks.same(f"{word}: each fixed GET was made, byte for byte, and no other request", wanted, set(requests))
    checks.same(f"{word}: the link saw as many connections", len(requests), count.connections)
    checks.same(f"{word}: no question to a name service, no IPv6", (0, 0), (count.datagrams, count.ip6))
    checks.same(f"{word}: all {count.packets} packets on the link were those connections'", count.ip, count.packets)
