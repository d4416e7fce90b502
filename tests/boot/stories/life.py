"""What befalls a server: each process killed, a job that eats all memory, a reload, a reboot, fewer rights."""

from boot.guest import AGENT, PERMIT_NETWORKS, TOOLS, short_of_memory
from boot.scenario import STANDS, Scenario

SHORT_BYTES = 96 * 1024 * 1024  # a job's own limit is five times as much
EAT = f"import sys; sys.path.append({TOOLS!r}); import memory_hog; memory_hog.everything()\n"


def goes_on(scene: Scenario) -> None:
    _killed_on_the_way(scene, "fetch", "/v1/status.jwt", ("license", "refresh"))
    issued = scene.outside.issue("third.jws")
    _killed_on_the_way(scene, "courier", "/v1/bundles", ("license", "install", issued["license_key"]))
    scene.guest.agent("license", "activate")
    _job_killed(scene)
    _daemon_killed(scene)
    _eaten(scene)
    _reloaded(scene)


def _killed_on_the_way(scene: Scenario, program: str, path: str, command: tuple[str, ...]) -> None:
    """A request that the server leaves unanswered, its process killed; and the same again."""
    checks, guest, front = scene.checks, scene.guest, scene.outside.front
    before, front.held = len(front.heard), path
    typed = guest.start(AGENT, *command, "--lang", "en")
    checks.soon(f"{program} is on its way", lambda: any(each.line.endswith(path) for each in front.heard[before:]))
    unit = guest.must("systemctl", "list-units", "--plain", "--no-legend", f"opanel-agent-{program}@*").split()[0]
    checks.true(f"{program} on its way: the agent goes on answering", found=guest.answers())
    guest.sh(f"kill -KILL {guest.unit(unit, 'MainPID')}")
    _, err = typed.communicate(timeout=60)
    front.held = None
    outcome = (typed.returncode, b"code: internal" in err)
    checks.same(f"{program} killed: whoever waited is told", (70, True), outcome)
    checks.same(f"{program} killed: the license is what it was", "active", guest.state()[0])
    checks.same(
        f"{program} killed: nothing is left behind",
        "",
        guest.must("systemctl", "list-units", "--all", "--plain", "--no-legend", "opanel-agent-*@*"),
    )
    checks.succeeds(f"{program} killed: the same again succeeds", guest.agent(*command))


def _job_killed(scene: Scenario) -> None:
    checks, guest, front = scene.checks, scene.guest, scene.outside.front
    before, front.held = len(front.heard), "/v1/status.jwt"
    pid = guest.daemon()
    typed = guest.start(AGENT, "license", "refresh", "--lang", "en")
    checks.soon(
        "evaluate waits for a reply", lambda: any(each.line.endswith("status.jwt") for each in front.heard[before:])
    )
    guest.sh(f"kill -KILL {_job(scene, pid)}")
    _, err = typed.communicate(timeout=60)
    checks.same("evaluate killed: whoever waited is told", (70, True), (typed.returncode, b"code: job_failed" in err))
    ended = next(each for each in front.heard[before:] if each.line.endswith("status.jwt"))
    checks.soon("evaluate killed: fetch ends its request", lambda: ended.ended_s is not None)
    front.held = None
    checks.same("evaluate killed: the daemon is the same and answers", (pid, True), (guest.daemon(), guest.answers()))
    checks.true(
        "evaluate killed: the journal says so", found="job_failed" in guest.journal("-u", "opanel-agent.service")
    )
    checks.succeeds("evaluate killed: the next one succeeds", guest.agent("license", "refresh"))


def _job(scene: Scenario, pid: int) -> int:
    """The daemon's child."""
    script = (
        f"for s in /proc/[0-9]*/stat; do set -- $(sed 's/.*)//' $s 2>/dev/null); [ \"$2\" != {pid} ] || echo $s; done"
    )
    return int(scene.guest.sh(script).split("/")[2])


def _daemon_killed(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    pid = guest.daemon()
    guest.sh(f"kill -KILL {pid}")
    checks.soon("the daemon killed: systemd starts it again", lambda: guest.daemon() not in (0, pid), 40)
    checks.soon(
        "the daemon killed: it answers, and the license is what it was",
        lambda: guest.answers() and guest.state()[0] == "active",
    )


def _eaten(scene: Scenario) -> None:
    """Every evaluate takes memory until it gets none, while the file is there: its own limit's, then the machine's."""
    checks, guest = scene.checks, scene.guest
    packages = guest.sh("echo /opt/opanel-agent/env/lib/python3.*/site-packages")
    pid = guest.daemon()
    scene.put(f"{packages}/opanel-boot-eat.pth", EAT)
    _ends_hungry(scene, "a job that eats all memory", pid)
    checks.like(
        "it met the limit", r".*eat: refused at [1-5][0-9][0-9] MiB.*", guest.journal("-u", "opanel-agent.service")
    )
    with short_of_memory(f"{guest.name}-short", guest.seen_from_here(pid), SHORT_BYTES) as killed:
        if killed is None:
            checks.print_line("--      the kernel's own killer: not met, memory is not ours to control here")
        else:
            _ends_hungry(scene, "a job on a machine that has no memory left", pid)
            checks.same("the kernel killed it, and nothing else", 1, killed())
    guest.sh(f"rm {packages}/opanel-boot-eat.pth")
    checks.succeeds("the next job succeeds", guest.agent("license", "refresh"))


def _ends_hungry(scene: Scenario, what: str, pid: int) -> None:
    checks, guest = scene.checks, scene.guest
    ran = guest.agent("license", "refresh")
    outcome = (ran.status, "code: job_failed" in ran.err)
    checks.same(f"{what} ends, and whoever waited is told", (70, True), outcome)
    now = (guest.daemon(), guest.answers(), guest.state()[0])
    checks.same(f"{what} ends: the daemon is the same and answers", (pid, True, "active"), now)


def _reloaded(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    answer = "/run/opanel-agent/answer.json"
    before = guest.must("stat", "-c", "%y", answer)
    guest.must("systemctl", "reload", "opanel-agent.service")
    checks.soon("a reload makes it look again", lambda: guest.must("stat", "-c", "%y", answer) != before)


def is_rebooted(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    license_before, consent_before = (
        guest.status()["license"]["reseller"],
        guest.must("cat", "/etc/opanel-agent/consent.toml"),
    )
    guest.power_off()
    with scene.heard() as lines:
        guest.boot(PERMIT_NETWORKS)
        checks.soon("after a reboot it answers", guest.answers)
    checks.same("a start alone is no reason for a request", [], lines)
    checks.soon("its cage stands", lambda: scene.isolation() == STANDS)
    checks.same(
        "its license is still active and activated",
        ("active", False),
        (guest.state()[0], "activation_due" in guest.state()[1]),
    )
    kept = (guest.status()["license"]["reseller"], guest.must("cat", "/etc/opanel-agent/consent.toml"))
    checks.same("license and consent are what they were", (license_before, consent_before), kept)


def has_fewer_rights(scene: Scenario) -> None:
    """What the agent says of its cage must be what is so, where a container's systemd may not make networks.

    What that does then differs: 252 makes an empty one all the same, 257 skips PrivateNetwork= with a line in the journal.
    """
    checks, guest = scene.checks, scene.guest
    guest.power_off()
    guest.boot()
    checks.soon("without CAP_NET_ADMIN it answers, too", guest.answers)
    devices = guest.must("cat", f"/proc/{guest.daemon()}/net/dev").splitlines()[2:]
    seen = sorted(line.partition(":")[0].strip() for line in devices)
    expected = STANDS if seen == ["lo"] else "partial; not active: private network namespace"
    checks.soon(f"without CAP_NET_ADMIN it sees {' '.join(seen)} and says so", lambda: scene.isolation() == expected)
    guest.power_off()
    guest.boot(PERMIT_NETWORKS)
    checks.soon("with it, the cage stands again", lambda: scene.isolation() == STANDS)
