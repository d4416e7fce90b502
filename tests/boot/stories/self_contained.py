"""A system whose Python is too old: the package that brings its own, from a signed repository, and nothing else of it.

What is told of the agent afterwards is what the other stories tell: it lies where install.sh would have laid it.
"""

import subprocess

from boot.file_tree import changed, read
from boot.guest import AGENT, TOOLS, UNITS
from boot.host import PREVIOUS, REPOSITORY
from boot.scenario import PYTHON, STANDS, Scenario, version_of
from boot.stories import package, published
from boot.stories.install import TURKISH_NO, control
from boot.stories.removal import USERS

PLACE = "/opt/opanel-agent"


def is_installed(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    version = guest.must(PYTHON, "-c", "import sys; print(*sys.version_info[:2])")
    checks.print_line(f"--      the system's own Python: {version.replace(' ', '.')}")
    scene.settle()
    with package.repository(scene, "previous"):
        package.is_refused_when_altered(scene)
        checks.succeeds(
            "apt installs it on a system without one of its libraries",
            package.apt(scene, "install", package.SELF_CONTAINED),
        )
    checks.soon("it answers", guest.answers)
    checks.same("it is the previous version", f"opanel-agent {PREVIOUS}", guest.must(AGENT, "--version"))
    status, seen = guest.converse((AGENT, "setup", "--lang", "tr"), TURKISH_NO)
    asked = seen.count("Açık rıza veriyor musunuz?")
    checks.true("setup asks, in Turkish", found=(status, asked) == (0, 2), reason=seen)
    checks.soon("each unit runs", lambda: all(guest.unit(unit, "ActiveState") == "active" for unit in UNITS))
    checks.soon("it finds every wall of its cage standing", lambda: scene.isolation() == STANDS)
    _runs_on_its_own(scene)
    _is_silent_when_offline(scene)
    published.is_verified(scene, "previous")
    published.is_proven_silent(scene, "previous")


def _runs_on_its_own(scene: Scenario) -> None:
    """No file of the daemon's memory is a Python's, an OpenSSL's or a library's of the system's, but libc's."""
    checks, guest = scene.checks, scene.guest
    mapped = guest.sh(f"sed -n 's|.* \\(/[^ ]*\\)$|\\1|p' /proc/{guest.daemon()}/maps | sort -u").split()
    libc = ("/libc", "/libm", "/libdl", "/libpthread", "/libutil", "/librt", "/ld-", "/locale/", "/gconv", "/libnss")
    others = [path for path in mapped if not path.startswith(f"{PLACE}/") and not any(each in path for each in libc)]
    checks.same("the daemon maps no library of the system's but libc's", [], others)
    checks.true(
        "and its own Python", found=any(path.startswith(f"{PLACE}/env") and "/bin/python" in path for path in mapped)
    )
    loaded = guest.must(f"{PLACE}/env/bin/python", "-I", "-c", "import ssl; print(ssl.get_default_verify_paths()[2:])")
    checks.true("OpenSSL looks for its settings in its own place", found=f"{PLACE}/ssl" in loaded, reason=loaded)


def _is_silent_when_offline(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    scene.outside.issue("first.jws")
    scene.put("/root/first.jws", (scene.outside.folder / "first.jws").read_text("ascii"))
    checks.succeeds("a license is installed from a file", guest.agent("license", "install", "/root/first.jws"))
    checks.same("it holds without a connection", "active", guest.state()[0])
    guest.agent("offline", "on")
    checks.true("offline, a refresh is refused", found=guest.agent("license", "refresh").status != 0)
    checks.same("it goes on to hold", "active", guest.state()[0])
    count = scene.link.count()
    checks.same("the kernel counted no packet: installed, started, asked while offline", 0, count.packets)
    control(scene)
    guest.agent("offline", "off")


def is_upgraded_and_removed(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    guest.must("systemctl", "disable", "--now", package.DISABLED)
    package.is_upgraded(scene, version_of(REPOSITORY), package.SELF_CONTAINED)
    checks.soon("its cage stands", lambda: scene.isolation() == STANDS)
    package.is_removed(scene, scene.before, package.SELF_CONTAINED)
    checks.same("nothing is left in its place", "", guest.sh(f"ls -d {PLACE} {TOOLS}/../opanel-agent || true"))


def is_installed_from_the_tar(scene: Scenario) -> None:
    """Without a package manager: by install.sh, with the Python that lies beside it."""
    checks, guest = scene.checks, scene.guest
    version = version_of(REPOSITORY)
    before = read(guest.root)
    scene.settle()
    # From outside: a minimal Debian has no xz.
    archive = guest.path(f"{TOOLS}/tar/opanel-agent-{version}-x86_64.tar.xz")
    subprocess.run(["tar", "-C", guest.path("/root"), "-xJf", archive], check=True)
    install = f"/root/opanel-agent-{version}/install.sh"
    ran = guest.run(install, "--lang", "en")
    checks.succeeds("install.sh of the tar installs", ran)
    checks.true("it contacts nobody", found="Hosts that will be contacted: none." in ran.both, reason=ran.both)
    checks.soon("it answers", guest.answers)
    checks.soon("each unit runs", lambda: all(guest.unit(unit, "ActiveState") == "active" for unit in UNITS))
    checks.soon("it finds every wall of its cage standing", lambda: scene.isolation() == STANDS)
    _runs_on_its_own(scene)
    published.is_verified(scene, "current")
    laid = read(guest.root)
    checks.succeeds("installed again, it succeeds", guest.run(install, "--lang", "en"))
    checks.same("and nothing is changed by that", [], changed(laid, read(guest.root)))
    removing = ("/opt/opanel-agent/install.sh", "--uninstall", "--purge", "--no-export")
    checks.succeeds("it is purged", guest.run(*removing))
    guest.must("rm", "-r", f"/root/opanel-agent-{version}")
    left = [each for each in changed(before, read(guest.root)) if each not in USERS]  # apt had left them
    checks.same("but for the accounts, the file system is what it was before", [], left)
