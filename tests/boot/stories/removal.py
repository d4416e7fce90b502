"""From the previous build to this one, and away again: what stays, and that in the end nothing does."""

from boot.file_tree import changed, read
from boot.guest import TOOLS
from boot.scenario import CLOCK, STANDS, Scenario, version_of
from boot.stories.busy import herd, reports_outcome
from boot.stories.install import ENGLISH_YES, install

KEPT = ("/etc/opanel-agent/agent.toml", "/etc/opanel-agent/consent.toml")
DATA = ("/etc/opanel-agent", "/var/lib/opanel-agent")
USERS = ["~ /etc/group", "~ /etc/gshadow", "~ /etc/passwd", "~ /etc/shadow"]  # whose the data is


def is_purged(scene: Scenario) -> None:
    """Uninstalled, the data stays; purged, one archive is all that is left of it."""
    checks, guest = scene.checks, scene.guest
    removed = guest.run("sh", "/opt/opanel-agent/install.sh", "--uninstall")
    checks.succeeds("it is uninstalled", removed)
    left = _left(scene)
    other = [each for each in left if not each.startswith(tuple(f"+ {path}" for path in DATA))]
    checks.same("its settings and its data stay, and nothing else does", (USERS, True), (other, left != other))
    checks.same(
        "no unit of it is known",
        "",
        guest.must("systemctl", "list-units", "--all", "--plain", "--no-legend", "opanel-agent*"),
    )
    guest.must(*install("current"))
    purged = guest.run("sh", "/opt/opanel-agent/install.sh", "--uninstall", "--purge")
    checks.succeeds("installed again, it is purged", purged)
    left = _left(scene)
    checks.like(
        "the file system is what it was before, but for one archive", r"\+ /root/opanel-agent-[\w.-]+", "\n".join(left)
    )
    if left:
        guest.must("rm", left[0].split(" ")[1])
    users = guest.sh("getent passwd opanel-agent opanel-courier; getent group opanel; true")
    checks.same("neither user nor group is left", "", users)


def _left(scene: Scenario) -> list[str]:
    """What is not as it was, without the tests' own."""
    scene.guest.sh(f"rm -rf /root/*.jws {CLOCK} {TOOLS}/__pycache__")
    return changed(scene.before, read(scene.guest.root))


def is_upgraded(scene: Scenario) -> None:
    """The previous build, installed in English and lived with; then this one over it."""
    checks, guest = scene.checks, scene.guest
    scene.outside.set_clock_back()  # as the guest's, which was faked in the environment that is gone
    scene.settle()
    status, seen = guest.converse(install("previous", "--lang", "en"), ENGLISH_YES)
    asked = seen.count("Do you consent?")
    checks.true(
        "the previous build installs, and the questions are answered in English",
        found=(status, asked) == (0, 2),
        reason=seen,
    )
    scene.outside.issue("fourth.jws")
    scene.put("/root/fourth.jws", (scene.outside.folder / "fourth.jws").read_text("ascii"))
    for command in (("license", "install", "/root/fourth.jws"), ("license", "activate"), ("license", "refresh")):
        checks.succeeds(f"the previous build does: {' '.join(command)}", guest.agent(*command))
    before, kept = memory(scene), {path: guest.must("cat", path) for path in KEPT}
    with scene.heard() as lines, herd(scene) as answered:
        ran = guest.run(*install("current", "--lang", "en"))
        checks.succeeds("this build installs over it", ran)
        checks.soon("it answers", guest.answers)
    reports_outcome(scene, "an upgrade", answered)
    checks.same("nothing was asked of anyone by that", [], lines)
    version = guest.run("/usr/local/bin/opanel-agent", "--version").out.strip()
    current = version_of(scene.guest.path(f"{TOOLS}/current"))
    checks.same("it is this version", f"opanel-agent {current}", version)
    checks.same(
        "settings and consent are what they were, byte for byte", kept, {path: guest.must("cat", path) for path in KEPT}
    )
    after = memory(scene)
    checks.same("license, activation and consents are what they were", before[:2], after[:2])
    checks.same("the ledger goes on where it was", before[2], after[2][: len(before[2])])
    checks.true(
        "and says that there was an upgrade",
        found="Upgraded" in guest.agent("consent", "history", "--json").out + "".join(after[2]),
    )
    checks.soon("its cage stands", lambda: scene.isolation() == STANDS)
    _rolled_back(scene, version)
    purged = guest.run("sh", "/opt/opanel-agent/install.sh", "--uninstall", "--purge", "--no-export")
    checks.same("it is purged without an archive", (0, ""), (purged.status, guest.sh("ls /root | grep opanel || true")))


def _rolled_back(scene: Scenario, version: str) -> None:
    """A build that dies of its first work, which it begins after READY."""
    checks, guest = scene.checks, scene.guest
    before = memory(scene)[:2]
    ran = guest.run(*install("dying", "--lang", "en"))
    outcome = (ran.status, "the one that was here runs again" in ran.err)
    checks.same("one that dies of its first work is not left there", (70, True), outcome)
    checks.soon("the one before it answers", guest.answers)
    now = (guest.run("/usr/local/bin/opanel-agent", "--version").out.strip(), memory(scene)[:2])
    checks.same("and version, license and consents are what they were", (version, before), now)


def memory(scene: Scenario) -> tuple[object, object, list[str]]:
    """The license as the panel is told it, who allowed what, and the ledger's entries."""
    status = scene.guest.status()
    license_part = {name: status["license"][name] for name in ("state", "reasons", "permits", "limits", "reseller")}
    consents = scene.guest.agent("consent", "show", "--json").json["purposes"]
    entries = scene.guest.agent("consent", "history", "--json").json["entries"]
    return (
        license_part,
        {name: each.get("allow") for name, each in consents.items()},
        [f"{each['kind']} {each['sha256']}" for each in entries],
    )
