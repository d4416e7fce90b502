"""From a signed repository by apt: taken over from install.sh, upgraded under load, removed, purged."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from boot.checks import Ran, until
from boot.file_tree import Tree, changed, read
from boot.guest import TOOLS, UNITS
from boot.scenario import PYTHON, STANDS, Scenario, version_of
from boot.stories import published
from boot.stories.busy import herd, reports_outcome
from boot.stories.install import install
from boot.stories.removal import DATA, USERS, memory

PORT = 8099
SERVER = "boot-repository.service"
PACKAGE = "opanel-agent"
SELF_CONTAINED = "opanel-agent-self-contained"
DISABLED = "opanel-agent-changed.path"  # by an administrator, before
ALTERED = ("BADSIG", "Message has been manipulated")  # gpgv's word, and sqv's (Debian 13)
BROUGHT = re.compile(r"/root/\w+\.jws")  # licenses, by the stories
KEYRING = "/etc/apt/keyrings/opanel.gpg"
SOURCES = "/etc/apt/sources.list.d/opanel.list"
# What apt and dpkg themselves keep, and systemd of units that were enabled once.
THEIRS = ("/etc/apt", "/var/lib/apt", "/var/lib/dpkg", "/var/cache", "/var/log", "/var/lib/systemd", "/etc/ld.so.cache")


def is_installed_by_apt(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    before_all = read(guest.root)
    scene.settle()
    guest.must(*install("current", "--lang", "en"))
    scene.outside.issue("fifth.jws")
    scene.put("/root/fifth.jws", (scene.outside.folder / "fifth.jws").read_text("ascii"))
    for command in (("license", "install", "/root/fifth.jws"), ("license", "activate")):
        guest.must("opanel-agent", *command)
    guest.must("systemctl", "disable", "--now", DISABLED)
    before = memory(scene)
    with repository(scene, "previous"), scene.heard() as lines:
        is_refused_when_altered(scene)
        ran = apt(scene, "install", "opanel-agent")
        checks.succeeds("apt installs it over what install.sh had laid", ran)
        checks.soon("it answers", guest.answers)
    checks.same("nothing was asked of anyone by that", [], lines)
    checks.same(
        "the installer's place is gone", "", guest.sh("ls -d /opt/opanel-agent /usr/local/bin/opanel-agent || true")
    )
    checks.same("the command is the package's", "/usr/bin/opanel-agent", guest.sh("command -v opanel-agent"))
    others = [unit for unit in UNITS if unit != DISABLED]
    checks.soon("each unit of it runs", lambda: all(guest.unit(unit, "ActiveState") == "active" for unit in others))
    checks.same("but the one that was disabled before", "disabled\ninactive", disabled(scene))
    checks.same(
        "its units lie in the vendor's place", "/lib/systemd/system", _folder(guest.unit(UNITS[0], "FragmentPath"))
    )
    after = memory(scene)
    checks.same("license, activation and consents are what they were", before[:2], after[:2])
    checks.same("the ledger goes on where it was", before[2], after[2][: len(before[2])])
    checks.same("it finds every wall of its cage standing", STANDS, scene.isolation())
    published.is_verified(scene, "previous", ask_doctor=True)
    with scene.heard() as lines:
        checks.succeeds("what it asks leaves by the package's own fetch", guest.agent("license", "refresh"))
    checks.true("and arrives", found=bool(lines))
    is_upgraded(scene, version_of(guest.path(f"{TOOLS}/current")))
    changes_its_kind(scene)
    is_removed(scene, before_all)


def is_refused_when_altered(scene: Scenario) -> None:
    place = f"{TOOLS}/repository-previous/InRelease"
    scene.guest.sh(f"cp -p {place} {place}.kept; sed -i 's/^Label: .*/Label: Somebody/' {place}")
    ran = apt(scene, "update")
    found = any(word in ran.both for word in ALTERED)
    scene.checks.true("a repository that was altered is refused", found=found, reason=ran.both)
    scene.guest.sh(f"mv {place}.kept {place}")
    scene.guest.must("apt-get", "update", "-qq")


def is_upgraded(scene: Scenario, version: str, package: str = PACKAGE) -> None:
    checks, guest = scene.checks, scene.guest
    settings = guest.must("cat", "/etc/opanel-agent/agent.toml")
    before = memory(scene)[:2]
    with repository(scene, "current"), herd(scene) as answered:
        guest.must("apt-get", "update", "-qq")
        ran = apt(scene, "install", "--only-upgrade", package)
        checks.succeeds("apt brings the next version", ran)
        checks.soon("it answers anew", guest.answers)
    reports_outcome(scene, "an upgrade by apt", answered)
    checks.same("it is that version", f"opanel-agent {version}", guest.must("opanel-agent", "--version"))
    checks.same("the settings are what they were", settings, guest.must("cat", "/etc/opanel-agent/agent.toml"))
    checks.same("license and consents, too", before, memory(scene)[:2])
    published.is_verified(scene, "current", ask_doctor=True)
    checks.succeeds("installed again over itself", apt(scene, "install", "--reinstall", package))
    checks.same("what the administrator disabled stays so", "disabled\ninactive", disabled(scene))


def changes_its_kind(scene: Scenario) -> None:
    """To the package with a Python of its own, and back: one of them goes, and what the agent keeps stays."""
    checks, guest = scene.checks, scene.guest
    others = [unit for unit in UNITS if unit != DISABLED]
    before = memory(scene)
    with repository(scene, "both"):
        guest.must("apt-get", "update", "-qq")
        for kind, gone in ((SELF_CONTAINED, PACKAGE), (PACKAGE, SELF_CONTAINED)):
            checks.succeeds(f"apt puts {kind} in the place of {gone}", apt(scene, "install", kind))
            checks.soon("it answers", guest.answers)
            state = guest.sh(f"dpkg-query -W -f '${{db:Status-Status}}' {gone}")
            checks.same("the other one is removed", "config-files", state)
            checks.soon("each unit runs", lambda: all(guest.unit(unit, "ActiveState") == "active" for unit in others))
            checks.same("but the one that was disabled before", "disabled\ninactive", disabled(scene))
            checks.soon("its cage stands", lambda: scene.isolation() == STANDS)
            now = memory(scene)
            checks.same("license, activation and consents are what they were", before[:2], now[:2])
            checks.same("the ledger goes on where it was", before[2], now[2][: len(before[2])])
            published.is_verified(scene, "current")
        checks.succeeds("the one that was replaced is purged", apt(scene, "purge", SELF_CONTAINED))
        checks.same("which takes nothing that the other uses", before[:2], memory(scene)[:2])
        checks.same(
            "and every unit still runs", ["active"] * len(others), [guest.unit(u, "ActiveState") for u in others]
        )


def disabled(scene: Scenario) -> str:
    return scene.guest.sh(f"systemctl is-enabled {DISABLED}; systemctl is-active {DISABLED}; true")


def is_removed(scene: Scenario, before: Tree, package: str = PACKAGE) -> None:
    checks, guest = scene.checks, scene.guest
    checks.succeeds("apt removes it", apt(scene, "remove", package))
    kept = guest.sh(f"ls -d {' '.join(DATA)}").split()
    checks.same("its settings and its data stay", list(DATA), kept)
    running = guest.sh("systemctl list-units --plain --no-legend 'opanel-agent*'")
    checks.same("no unit of it runs", "", running)
    checks.succeeds("apt purges it", apt(scene, "purge", package))
    guest.sh(f"rm -rf {SOURCES} {KEYRING} {TOOLS}/__pycache__")
    left = [each for each in changed(before, read(guest.root)) if not each[2:].startswith(THEIRS)]
    left = [each for each in left if not BROUGHT.fullmatch(each[2:])]
    checks.same("but for the accounts, the file system is what it was", USERS, sorted(set(left)))


@contextmanager
def repository(scene: Scenario, name: str) -> Iterator[None]:
    """Served over loopback, and the one that apt knows."""
    guest = scene.guest
    place = f"{TOOLS}/repository-{name}"
    guest.sh(f"install -D -m 644 {place}/opanel.gpg {KEYRING}; rm -f /etc/apt/sources.list")
    scene.put(SOURCES, f"deb [signed-by={KEYRING}] http://127.0.0.1:{PORT} ./\n")
    served = f"{PYTHON} -m http.server -d {place} -b 127.0.0.1 {PORT}"
    guest.must("systemd-run", "--quiet", f"--unit={SERVER}", *served.split())
    listening = f"import socket; socket.create_connection(('127.0.0.1', {PORT})).close()"
    try:
        if not until(lambda: guest.run(PYTHON, "-c", listening).status == 0, 20):
            raise RuntimeError("the repository is not served")
        yield
    finally:
        guest.must("systemctl", "stop", SERVER)


def apt(scene: Scenario, *words: str) -> Ran:
    return scene.guest.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "-o", "Acquire::Retries=3", *words)


def _folder(path: str) -> str:
    return path.rpartition("/")[0].removeprefix("/usr")
