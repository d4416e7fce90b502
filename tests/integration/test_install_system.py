"""install.sh as root on a server: checks first, then exactly what it said, and all of it gone in the end.

The overlay's upper folder is the whole of what was changed, so "nothing" means nothing on the whole file system. There is
no network on the stage: what succeeds contacted nobody.
"""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures import signing
from fixtures.container import CLONE, FIRST_ROOT, ROOT, ROOT_PLACE, Container, Ran, Server, container
from opanel_agent.core.license import license_key
from opanel_agent.system.storage.resources import installed_notice

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(
        Path(sys.prefix).name != "tests", reason="it runs /usr/bin/python3: once, from .env/tests, is enough"
    ),
]
CONFIG, STATE, PLACE = "/etc/opanel-agent", "/var/lib/opanel-agent", "/opt/opanel-agent"
NOTHING = f"""schema = 1
notice = "{installed_notice()}"

[purposes.usage_statistics]
allow = false

[purposes.crash_reports]
allow = false
"""
UNITS = (
    "opanel-agent.socket",
    "opanel-agent-fetch.socket",
    "opanel-agent-courier.socket",
    "opanel-agent.service",
    "opanel-agent-changed.path",
)
MOUNTED = "mkdir -p /opt; mount -t tmpfs -o mode=755,{} tmpfs /opt"
TRIAL = "opanel-agent-trial.service"
MUTATING = ("enable", "start", "restart", "try-restart", "daemon-reload", "stop", "disable", "sysusers", "tmpfiles")


@pytest.fixture(scope="module")
def stage() -> Iterator[Container]:
    with container() as made:
        yield made


@pytest.fixture
def bare(stage: Container) -> Server:
    return stage.server()


@pytest.fixture(scope="module")
def supplied(stage: Container, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server with a folder of wheels on it."""
    source = tmp_path_factory.mktemp("made") / "source"
    wheels = source.with_name("wheels")
    source.mkdir()
    for name in CLONE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name)
        else:
            shutil.copy(ROOT / name, source)
    (source / ROOT_PLACE).parent.mkdir()
    shutil.copy(ROOT / FIRST_ROOT, source / ROOT_PLACE)
    make = ["/usr/bin/python3", "-I", str(source / "packaging/wheels.py"), "-o", str(wheels)]
    subprocess.run(make, check=True)
    made = stage.server()
    stage.inside("cp", "-R", str(wheels), f"{made.merged}/wheels")
    return made


@pytest.fixture(scope="module")
def installed(stage: Container, supplied: Server) -> Server:
    made = stage.server(supplied)
    ran = made.install("--wheels", "/wheels")
    assert ran.status == 0, ran.err
    return made


def mutating(calls: list[str]) -> list[str]:
    return [call for call in calls if call.removeprefix("-q ").split()[0] in MUTATING]


def newer(server: Server, version: str, where: str = "/newer") -> str:
    server.sh(
        f"cp -R /source {where}; sed -i 's/^version = .*/version = \"{version}\"/' {where}/pyproject.toml;"
        f"sed -i 's/__version__ = .*/__version__ = \"{version}\"/' {where}/agent/opanel_agent/__init__.py"
    )
    return where


# ---- checks, all before anything is changed


@pytest.mark.parametrize(
    ("given", "options", "status", "expected"),
    [
        ("rm -r /run/systemd", (), 78, "systemd does not run this machine"),
        ("sed -i 's/^released=[^ ]*/released=2999-01-01/' /source/install.sh", (), 78, "timedatectl"),
        (MOUNTED.format("size=9m"), (), 74, "200 MB are free"),
        (MOUNTED.format("nr_inodes=99"), (), 74, "fewer than 5000 files"),
        (MOUNTED.format("noexec"), (), 78, "no program can run in /opt"),
        ("rm -rf /opt; ln -s /srv /opt", (), 78, "cannot install below /opt: it is a link"),
        ("mkdir -p /usr/lib/opanel-agent", (), 78, "the package opanel-agent is here"),
        ("mkdir -p /opt; chmod 777 /opt", (), 78, "others than root can change it"),
        ("mkdir -p /opt/opanel-agent; touch /opt/opanel-agent/mine", (), 78, "cannot put /opt/opanel-agent there"),
        ("ln -s /srv /opt/opanel-agent", (), 78, "cannot put /opt/opanel-agent there"),
        ("ln -s /srv /etc/opanel-agent", (), 78, "cannot put /etc/opanel-agent there"),
        ("rm /source/packaging/agent.lock", (), 74, "cannot read /source/packaging/agent.lock"),
        ("mkdir /empty", ("--wheels", "/empty"), 69, "cannot install from /empty"),
    ],
)
def test_what_is_not_as_it_must_be_is_told_and_nothing_is_changed(
    bare: Server, given: str, options: tuple[str, ...], status: int, expected: str
) -> None:
    bare.sh(given)
    before = bare.changed()
    ran = bare.install(*options)
    assert (ran.status, expected in ran.err) == (status, True), ran.err
    assert bare.changed() == before
    assert mutating(bare.calls()) == []


@pytest.mark.parametrize("path", ["/usr/local/bin/opanel-agent", "/etc/systemd/system/opanel-agent.service"])
def test_a_file_of_somebody_else_s_is_not_replaced(supplied: Server, stage: Container, path: str) -> None:
    server = stage.server(supplied)
    server.write(path, "mine")
    before = server.changed()
    ran = server.install("--wheels", "/wheels")
    assert (ran.status, f"cannot put {path} there" in ran.err) == (78, True), ran.err
    assert server.changed() == before


def test_who_is_not_root_is_told_and_may_look(supplied: Server) -> None:
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    before = supplied.changed()
    assert supplied.type(*nobody, "/source/install.sh").status == 77
    assert supplied.type(*nobody, "/source/install.sh", "--uninstall").status == 77
    ran = supplied.type(*nobody, "/source/install.sh", "--wheels", "/wheels", "--dry-run")
    assert ran.status == 0, ran.err
    assert supplied.changed() == before


def test_a_python_without_venv_is_told_by_name(bare: Server) -> None:
    bare.sh("mv /usr/bin/python3 /usr/bin/real-python")
    bare.write(
        "/usr/bin/python3", '#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; *) exec /usr/bin/real-python "$@" ;; esac\n'
    )
    bare.sh("chmod 755 /usr/bin/python3")
    ran = bare.install()
    assert (ran.status, "with /usr/bin/python3: its venv module" in ran.err) == (78, True), ran.err
    assert ran.err.splitlines()[-2:] == ["  install it by: apt-get install python3-venv", "  code: venv"]


@pytest.mark.parametrize(
    ("system", "manager", "code", "cure"),
    [
        ("ID=debian VERSION_ID=12", "apt-get", "python", "apt-get install python3 python3-venv"),
        ("ID=debian VERSION_ID=11", "apt-get", "old_python", "opanel-agent-self-contained"),
        ("ID=ubuntu VERSION_ID=22.04", "apt-get", "old_python", "opanel-agent-self-contained"),
        ("ID=ubuntu VERSION_ID=24.04", "apt-get", "python", "apt-get install python3 python3-venv"),
        ("ID=almalinux VERSION_ID=9.6", "dnf", "python", "dnf install python3.12"),
        ("ID=centos VERSION_ID=7", "yum", "old_python", "opanel-agent-self-contained"),
        ("ID=opensuse-leap VERSION_ID=15.6", "zypper", "python", "zypper install python311"),
        ("ID=arch", "pacman", "python", "pacman -S python"),
        ("ID=other", "", "python", "this system's package manager"),
    ],
)
def test_a_system_without_python_is_told_what_brings_it(
    bare: Server, system: str, manager: str, code: str, cure: str
) -> None:
    bare.sh("rm -f /usr/bin/python3* /usr/local/bin/python3* /usr/bin/apt-get /usr/bin/dnf /usr/bin/dnf-3 /usr/bin/yum")
    bare.write("/etc/os-release", "\n".join(system.split()))
    if manager:
        bare.write(f"/played/bin/{manager}", "#!/bin/sh\n")
        bare.sh("chmod 755 /played/bin/*")
    for options in ((), ("--demo",)):
        ran = bare.install(*options)
        assert (ran.status, ran.err.splitlines()[-1]) == (78, f"  code: {code}"), ran.err
        assert cure in ran.err.splitlines()[-2]
    assert mutating(bare.calls()) == []


def test_an_older_systemd_is_told_and_taken(supplied: Server, stage: Container) -> None:
    server = stage.server(supplied)
    server.write("/played/version", "245")
    ran = server.install("--wheels", "/wheels", "--dry-run")
    assert (ran.status, "systemd 245 is older than 247" in ran.err) == (0, True)


# ---- what it says is what it does


def test_a_dry_run_says_every_change_and_makes_none(supplied: Server, installed: Server) -> None:
    before = supplied.changed()
    ran = supplied.install("--wheels", "/wheels", "--dry-run")
    assert ran.status == 0, ran.err
    assert supplied.changed() == before
    assert mutating(supplied.calls()) == []
    assert "Hosts that will be contacted: none." in ran.err
    named = {word for line in ran.err.splitlines() for word in line.split() if word.startswith("/")}
    made = {re.sub(f"^{PLACE}/(env|wheels)(-[^/]*|/.*)?(/.*)?$", rf"{PLACE}/\1", path) for path in installed.beyond()}
    untold = {path for path in made - named if not path.startswith(f"{PLACE}/env")}
    accounts = {f"/etc/{name}{end}" for name in ("passwd", "group", "shadow", "gshadow") for end in ("", "-")}
    wants = {f"/etc/systemd/system/played.wants{name}" for name in ("", *(f"/{unit}" for unit in UNITS))}
    assert untold - accounts - wants == {f"{PLACE}/manifest", "/run/opanel-agent/answer.json"}  # the agent's own


def test_a_dry_run_on_a_machine_without_systemd_shows_the_changes_and_ends_with_what_is_missing(bare: Server) -> None:
    """Whoever looks at it first in a container reads the same list, and then that this machine could not run the service."""
    with_systemd = bare.install("--dry-run")
    bare.sh("rm -r /run/systemd")
    before = bare.changed()
    ran = bare.install("--dry-run")
    assert with_systemd.status == 0
    assert (ran.status, ran.err.splitlines()[-1].strip()) == (78, "code: systemd")
    assert ran.err.startswith(with_systemd.err)
    assert "enable and start opanel-agent.service" in ran.err
    assert (bare.changed(), mutating(bare.calls())) == (before, [])


def test_under_do_not_track_nothing_is_asked_and_it_is_made_lasting(stage: Container, supplied: Server) -> None:
    server = stage.server(supplied)
    ran = server.install("--wheels", "/wheels", "--dry-run", DO_NOT_TRACK="1")
    assert f"write {CONFIG}/do-not-track" in ran.err
    assert "Nothing is asked" in ran.err
    ran = server.install("--wheels", "/wheels", DO_NOT_TRACK="1")
    assert ran.status == 0, ran.err
    assert server.sh(f"stat -c '%s %a %U' {CONFIG}/do-not-track").strip() == "0 644 root"
    assert not server.sh(f"ls {CONFIG}/consent.toml 2>/dev/null || true")
    again = server.install("--wheels", "/wheels", DO_NOT_TRACK="0")
    assert f"write {CONFIG}/do-not-track" not in again.err


def test_it_is_installed_as_it_must_be(installed: Server) -> None:
    assert installed.sh("/usr/local/bin/opanel-agent --version").startswith("opanel-agent ")
    forms = {
        CONFIG: "root:opanel-agent 2755",
        f"{CONFIG}/import.d": "root:opanel-agent 2750",
        f"{CONFIG}/agent.toml": "root:root 644",
        "/run/opanel-agent": "opanel-agent:opanel 2750",
        "/run/opanel-courier": "opanel-agent:opanel-agent 700",
        "/run/opanel-machine": "root:root 700",
        f"{PLACE}/install.sh": "root:root 755",
    }
    for path, form in forms.items():
        assert installed.sh(f"stat -c '%U:%G %a' {path}").strip() == form, path
    printed = installed.sh(
        f"cd {PLACE}/env && bin/python -I -c 'from opanel_agent.system.storage import paths; print(paths.find().system)'"
    )
    assert printed.strip() == "True"
    assert installed.sh(f"find {PLACE}/env/ -name 'errors.*.pyc' -path '*opanel_agent*'")
    assert installed.sh(f"find {PLACE} ! -user root -o ! -type l -perm /022") == ""
    assert sorted(installed.sh("ls /played/active").split()) == sorted(UNITS)


def test_without_a_root_of_trust_it_is_said_first_and_is_not_done(stage: Container, supplied: Server) -> None:
    server = stage.server(supplied)
    wheel = "/wheels/opanel_agent-0.1.0-py3-none-any.whl"
    server.write(
        "/without.py",
        f"""import hashlib, os, zipfile
with zipfile.ZipFile("{wheel}") as old, zipfile.ZipFile("/new.whl", "w") as new:
    for name in old.namelist():
        if name != "{ROOT_PLACE.removeprefix("agent/")}":
            new.writestr(name, old.read(name))
os.replace("/new.whl", "{wheel}")
digest = hashlib.sha256(open("{wheel}", "rb").read()).hexdigest()
open("/wheels/opanel-agent.lock", "w").write("opanel-agent==0.1.0 --hash=sha256:" + digest + chr(10))
""",
    )
    server.sh("/usr/bin/python3 /without.py")
    ran = server.install("--wheels", "/wheels")
    assert ran.err.splitlines()[1].startswith("This copy brings no root of trust"), ran.err
    assert (ran.status, "gives no answer until trust_root" in ran.err, "Done" in ran.err) == (78, True, False), ran.err
    server.write(f"{CONFIG}/agent.toml", f'schema = 1\ntrust_root = "{CONFIG}/root.jws"\n')
    assert "no root of trust" not in server.install("--wheels", "/wheels", "--dry-run").err


def test_a_second_time_changes_nothing_whoever_starts_it(stage: Container, installed: Server) -> None:
    server = stage.server(installed)
    server.calls()
    server.write("/answers.toml", NOTHING)
    assert server.install("--preseed", "/answers.toml").status == 0
    assert server.sh(f"cat {CONFIG}/consent.toml") == NOTHING
    before = server.changed()
    preseed = ("--preseed", "/answers.toml")
    for source, options in (("/source", ("--wheels", "/wheels", *preseed)), ("/source", ()), (PLACE, ())):
        ran = server.install(*options, source=source)
        assert ran.status == 0, ran.err
        assert "Nothing has to be changed." in ran.err
        assert "(0 changes)" in ran.err
    assert server.changed() == before
    assert mutating(server.calls()) == []


def test_a_license_that_it_puts_there_is_the_agent_s_to_read(stage: Container, installed: Server) -> None:
    server = stage.server(installed)
    server.write(f"{CONFIG}/root.jws", signing.root().decode())
    server.write(f"{CONFIG}/agent.toml", f'schema = 1\ntrust_root = "{CONFIG}/root.jws"\n')
    server.write("/license.jws", signing.bundle().decode())
    ran = server.install("--license", "/license.jws", LC_ALL="tr_TR.UTF-8")
    assert ran.status == 0, ran.err
    assert "Tamam: opanel-agent" in ran.err
    assert server.sh(f"stat -c '%U:%G %a' {CONFIG}/license.jws").strip() == "root:opanel-agent 640"


def test_a_key_in_a_file_is_exchanged_after_the_questions_and_never_said(stage: Container, installed: Server) -> None:
    server, key = stage.server(installed), license_key.make(bytes(range(16))) or ""
    server.write("/key", f"{key}\r\n")
    ran = server.install("--license", "/key")
    assert "After the questions: the license key is redeemed" in ran.err
    assert (ran.status, "(not_running)" in ran.err) == (69, True), ran.err  # there is none on this stage
    assert key not in ran.err + ran.out


def test_a_refused_consent_file_is_said_and_the_installation_is_done(stage: Container, installed: Server) -> None:
    server = stage.server(installed)
    server.write(f"{CONFIG}/consent.toml", "schema = 9\n")
    ran = server.install()
    assert (ran.status, "The consent file is refused" in ran.err) == (0, True), ran.err


# ---- upgrading


def test_a_newer_one_takes_its_place_and_everything_of_the_administrator_s_stays(
    stage: Container, installed: Server
) -> None:
    server = stage.server(installed)
    server.write(f"{CONFIG}/agent.toml", "schema = 1\n# mine\n")
    server.write(f"{STATE}/ledger.jsonl", "one\n")
    server.sh("rm /played/active/opanel-agent-courier.socket; rm -f /played/calls")  # switched off by the administrator
    source = newer(server, "9.0.0")
    ran = server.install(source=source)
    assert ran.status == 0, ran.err
    assert "9.0.0 takes its place" in ran.err
    assert "Hosts that will be contacted: none." in ran.err
    assert server.sh("opanel-agent --version || /usr/local/bin/opanel-agent --version").strip() == "opanel-agent 9.0.0"
    assert server.sh(f"cat {CONFIG}/agent.toml {STATE}/ledger.jsonl") == "schema = 1\n# mine\none\n"
    calls = [call for call in server.calls() if TRIAL not in call]
    assert not [call for call in calls if "enable" in call or call.startswith("start")]
    assert "opanel-agent-courier.socket" not in server.sh("ls /played/active")
    assert sorted(server.sh(f"ls -d {PLACE}/env-*").split()) == [f"{PLACE}/env-0.1.0-1", f"{PLACE}/env-9.0.0-1"]
    assert try_out(server, seconds=0).status == 0
    assert server.sh(f"ls -d {PLACE}/env-* {PLACE}/.[a-z]* 2>/dev/null || true").split() == [f"{PLACE}/env-9.0.0-1"]
    older = server.install("--dry-run")
    assert (older.status, "cannot put 0.1.0 in the place of 9.0.0" in older.err) == (78, True)


@pytest.mark.parametrize("fault", ["broken", "dying"])
def test_one_that_does_not_run_leaves_the_old_one_as_it_was(stage: Container, installed: Server, fault: str) -> None:
    server = stage.server(installed)
    server.write("/run/opanel-agent/answer.json", "{}")
    before = kinds(server)
    server.sh("ls /played/active >/played/were")
    source = newer(server, "9.0.0")
    server.sh(f"echo '# newer' >>{source}/systemd/opanel-agent.service")
    server.write(f"/played/{fault}", "env-9.0.0-1")
    ran = server.install(source=source)
    assert (ran.status, "cannot run the new version; the one that was here runs again" in ran.err) == (70, True), (
        ran.err
    )
    assert server.sh("ls /played/active") == server.sh("cat /played/were")
    assert kinds(server) == before
    server.sh(f"rm /played/{fault}")
    assert server.install(source=source).status == 0


def try_out(server: Server, *, seconds: int) -> Ran:
    """What opanel-agent-trial.service runs, for so long."""
    line = server.sh(f"sed -n 's/^ExecStart=//p' /etc/systemd/system/{TRIAL}")
    ran = server.type(*line.replace(" 600", f" {seconds}").split())
    assert (
        server.sh(f"ls /etc/systemd/system/{TRIAL} /etc/systemd/system/played.wants/{TRIAL} 2>/dev/null || true") == ""
    )
    return ran


def test_a_version_that_dies_in_its_first_minutes_is_rolled_back(stage: Container, installed: Server) -> None:
    """It gave an answer, and systemd had to start it anew after that."""
    server = stage.server(installed)
    before = kinds(server)
    source = newer(server, "9.0.0")
    server.sh(f"echo '# newer' >>{source}/systemd/opanel-agent.service; touch {source}/packaging/share/man/man8/new.8")
    assert server.install(source=source).status == 0
    assert server.sh(f"readlink {PLACE}/env").strip() == "env-9.0.0-1"
    server.write("/played/restarts", "1")
    ran = try_out(server, seconds=600)
    assert (ran.status, "the one that was here runs again" in ran.err) == (70, True), ran.err
    assert kinds(server) == before
    server.sh("rm /played/restarts")
    again = server.install(source=source)
    assert (again.status, "0.1.0 is here; 9.0.0 takes its place" in again.err) == (0, True), again.err


def test_the_next_version_takes_the_place_of_one_on_trial(stage: Container, installed: Server) -> None:
    server = stage.server(installed)
    assert server.install(source=newer(server, "9.0.0")).status == 0
    assert server.install(source=newer(server, "9.0.1", "/newest")).status == 0
    assert sorted(server.sh(f"ls -d {PLACE}/env-*").split()) == [f"{PLACE}/env-9.0.0-1", f"{PLACE}/env-9.0.1-1"]
    server.write("/played/restarts", "1")
    assert try_out(server, seconds=600).status == 70
    assert server.sh(f"readlink {PLACE}/env").strip() == "env-9.0.0-1"


def test_a_bad_version_whose_upgrade_was_cut_is_rolled_back_by_the_next_run(
    stage: Container, installed: Server
) -> None:
    server = stage.server(installed)
    before = kinds(server)
    source = newer(server, "9.0.0")
    server.write("/played/dies", "try-restart")  # when its environment is in use
    server.write("/played/dying", "env-9.0.0-1")
    assert server.install(source=source).status != 0
    assert server.sh(f"readlink {PLACE}/env").strip() == "env-9.0.0-1"
    ran = server.install(source=source)
    assert (ran.status, "the one that was here runs again" in ran.err) == (70, True), ran.err
    assert kinds(server) == before


def kinds(server: Server) -> dict[str, str]:
    """What lies in the installer's places: kind, mode, owner and content, no times."""
    printed = server.sh(
        f"cd /; find {PLACE} /etc/systemd/system /usr/lib/sysusers.d /usr/lib/tmpfiles.d /usr/local/bin {CONFIG} "
        "-name __pycache__ -prune -o -printf '%p %y %m %U:%G %l\\n';"
        f"find {PLACE} /etc/systemd/system {CONFIG} -name __pycache__ -prune -o -type f -exec cksum {{}} +"
    )
    found: dict[str, str] = {}
    for line in sorted(printed.splitlines()):
        words = line.split()
        path = words[0] if line.startswith("/") else words[2]
        found[path] = found.get(path, "") + line
    return found


def test_a_changed_python_makes_the_environment_anew_from_what_was_kept(stage: Container, installed: Server) -> None:
    server = stage.server(installed)
    server.sh(f"echo 'another Python' >{PLACE}/env/stamp")
    ran = server.install(source=PLACE)
    assert ran.status == 0, ran.err
    assert "make the environment" in ran.err
    assert "Hosts that will be contacted: none." in ran.err
    assert server.sh(f"readlink {PLACE}/env").strip() == "env-0.1.0-2"
    assert server.sh(f"ls -d {PLACE}/env-*").split() == [f"{PLACE}/env-0.1.0-2"]


def test_without_network_or_wheels_it_ends_with_nothing_made(stage: Container, bare: Server) -> None:
    before = [line for line in bare.changed() if not line.startswith("/opt")]
    ran = bare.install(PIP_RETRIES="0", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_CONFIG_FILE="/dev/null")
    assert (ran.status, "Hosts that will be contacted, for the packages: 127.0.0.1." in ran.err) == (69, True), ran.err
    assert [line for line in bare.changed() if not line.startswith("/opt")] == before
    assert bare.beyond() == []


def test_a_run_that_was_cut_short_is_finished_by_the_next(
    stage: Container, supplied: Server, installed: Server
) -> None:
    server = stage.server(supplied)
    for where in ("sysusers", "daemon-reload", "start"):
        server.write("/played/dies", where)
        assert server.install("--wheels", "/wheels").status != 0
        assert server.sh(f"cat {PLACE}/.pending; ls /played").find("dies") == -1
    ran = server.install("--wheels", "/wheels")
    assert (ran.status, "cut short" in ran.err) == (0, True), ran.err
    assert sorted(server.sh("ls /played/active").split()) == sorted(UNITS)
    assert without_numbers(kinds(server)) == without_numbers(kinds(installed))


def without_numbers(found: dict[str, str]) -> set[str]:
    """Which environment it is, and what says so: its scripts, its own list of files, the order of the manifest."""
    numbered = (f"{PLACE}/manifest", "RECORD", "/bin/", "pyvenv.cfg", f"{PLACE}/env ")
    lines = {re.sub(r"env-0\.1\.0-\d+", "env-0.1.0-n", line) for line in found.values()}
    return {line for line in lines if not any(each in line for each in numbered)}


@pytest.mark.parametrize(
    "damage",
    [
        "rm -r site-packages/cryptography",
        "rm -r site-packages/cryptography*",
        "echo >>site-packages/httpx/__init__.py",
        "rm site-packages/opanel_agent/core/codes.py",
    ],
)
def test_a_damaged_environment_is_made_anew(stage: Container, installed: Server, damage: str) -> None:
    server = stage.server(installed)
    whole = server.install("--wheels", "/wheels")
    assert "Nothing has to be changed" in whole.err
    server.sh(f"cd {PLACE}/env/lib/python3*/ && {damage}")
    ran = server.install("--wheels", "/wheels")
    assert (ran.status, "make the environment" in ran.err) == (0, True), ran.err
    assert "Nothing has to be changed" in server.install("--wheels", "/wheels").err


# ---- removing


def test_uninstalling_leaves_what_is_the_administrator_s(stage: Container, installed: Server) -> None:
    server = stage.server(installed)
    server.sh(f"install -d -o opanel-agent -g opanel-agent -m 700 {STATE}; touch {STATE}/ledger.jsonl")
    dry = server.install("--uninstall", "--dry-run", source=PLACE)
    assert dry.status == 0
    server.calls()
    ran = server.install("--uninstall", source=PLACE)
    assert ran.status == 0, ran.err
    left = [path for path in server.beyond() if not re.match("/etc/(passwd|group|shadow|gshadow|sub.id)-?$", path)]
    of_config = [CONFIG, f"{CONFIG}/agent.toml", f"{CONFIG}/import.d"]
    of_state = [STATE, f"{STATE}/ledger.jsonl", f"{STATE}-withdrawals", f"{STATE}-withdrawals/agent"]
    assert sorted(left) == sorted(of_config + of_state)
    assert server.sh("ls /played/active") == ""
    again = server.install("--wheels", "/wheels")
    assert again.status == 0, again.err
    assert server.sh(f"ls {STATE}").strip() == "ledger.jsonl"


def test_purging_leaves_the_file_system_as_it_was_and_follows_no_link(stage: Container, installed: Server) -> None:
    server = stage.server(installed)
    server.sh(
        f"install -d -o opanel-agent -g opanel-agent -m 700 {STATE}; mkdir -p /srv/mine; echo mine >/srv/mine/file;"
        f"ln -s /srv/mine {STATE}/sent; ln -s /srv/mine {CONFIG}/consent.d"
    )
    ran = server.install("--uninstall", "--purge", "--no-export", source=PLACE)
    assert ran.status == 0, ran.err
    assert server.sh("cat /srv/mine/file") == "mine\n"
    server.sh(
        "rm -r /srv/mine; getent passwd opanel-agent opanel-courier && exit 1; getent group opanel && exit 1; true"
    )
    backups = re.compile("/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$")
    assert [path for path in server.beyond() if not backups.match(path)] == []


def test_purging_exports_first_and_removes_nothing_where_it_cannot(stage: Container, installed: Server) -> None:
    server = stage.server(installed)
    server.sh(f"install -d -o opanel-agent -g opanel-agent -m 700 {STATE} {STATE}/sent; chmod 000 {STATE}/sent")
    server.sh(f"chown root:root {STATE}/sent")  # not the agent's to read
    before = kinds(server)
    ran = server.install("--uninstall", "--purge")
    assert (ran.status, "cannot export the data" in ran.err) == (74, True), ran.err
    after = kinds(server)
    del before[f"{PLACE}/manifest"], after[f"{PLACE}/manifest"]  # it notes that they are to be enabled again
    assert after == before
    server.sh(f"rmdir {STATE}/sent; install -o opanel-agent -g opanel-agent -m 600 /dev/null {STATE}/ledger.jsonl")
    ran = server.install("--uninstall", "--purge")
    assert ran.status == 0, ran.err
    assert server.sh("stat -c %a /root/opanel-agent-*.export").strip() == "600"
    assert server.type("ls", PLACE, CONFIG, STATE).out == ""


def test_a_group_that_was_there_before_stays(stage: Container, supplied: Server) -> None:
    server = stage.server(supplied)
    server.sh("groupadd --system opanel; usermod -a -G opanel nobody")
    assert server.install("--wheels", "/wheels").status == 0
    assert server.install("--uninstall", "--purge", "--no-export").status == 0
    assert server.sh("getent group opanel").strip().endswith(":nobody")


def test_purging_leaves_the_accounts_that_are_another_s(stage: Container, supplied: Server) -> None:
    """A panel's user with the group opanel as its own, and one that happened to be called as ours."""
    server = stage.server(supplied)
    server.sh("groupadd -r opanel; useradd -r -g opanel opanel; useradd -r -U -c mine opanel-courier")
    before = server.sh("getent passwd opanel opanel-courier; getent group opanel opanel-courier")
    assert server.install("--wheels", "/wheels").status == 0
    ran = server.install("--uninstall", "--purge", "--no-export", source=PLACE)
    assert ran.status == 0, ran.err
    assert server.sh("getent passwd opanel opanel-courier; getent group opanel opanel-courier") == before
    assert server.sh("getent passwd opanel-agent || true") == ""


# ---- alone, from a repository


@pytest.fixture
def published(stage: Container, bare: Server) -> Iterator[tuple[Server, str]]:
    """A server beside a repository over loopback, and the SHA-256 of its key. apt and the agent are played."""
    bare.write("/published/opanel.asc", "a key\n")
    bare.write(
        "/played/bin/apt-get", '#!/bin/sh\necho "apt-get $*" >>/played/calls\n[ "$1 $2" != "-q update" ] || exit 0\n'
    )
    bare.write("/played/bin/opanel-agent", '#!/bin/sh\necho "opanel-agent $*" >>/played/calls\n')
    bare.sh("chmod 755 /played/bin/*; rm -rf /source/packaging/installer; mkdir -p /etc/apt")
    serve = f"ip link set lo up && cd {bare.merged}/published && exec /usr/bin/python3 -m http.server -b 127.0.0.1 8080"
    server = subprocess.Popen([*stage.enter, "sh", "-c", serve], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    listening = "import socket; socket.create_connection(('127.0.0.1', 8080)).close()"
    try:
        end = time.monotonic() + 30
        while bare.type("/usr/bin/python3", "-I", "-c", listening).status != 0:
            assert time.monotonic() < end, "the repository is not served"
            time.sleep(0.2)
        yield bare, bare.sh("sha256sum /published/opanel.asc").split()[0]
    finally:
        server.kill()
        server.wait()


def test_another_key_than_the_pinned_one_ends_it_before_anything_is_changed(published: tuple[Server, str]) -> None:
    server, digest = published
    before = server.beyond()
    ran = server.install("--repository", "http://127.0.0.1:8080", "--key", "0" * 64)
    assert (ran.status, f"its key has the SHA-256 {digest}" in ran.err) == (78, True), ran.err
    assert server.beyond() == before
    assert server.calls() == []


def test_the_package_manager_installs_from_the_repository_and_the_agent_asks(published: tuple[Server, str]) -> None:
    server, digest = published
    server.write("/license.jws", "a license")
    ran = server.install("--repository", "http://127.0.0.1:8080/", "--key", digest, "--license", "/license.jws")
    assert (ran.status, "Done: opanel-agent is installed and answers" in ran.err) == (0, True), ran.err
    calls = server.calls()
    package = calls[1].split()[-1]
    assert package in {"opanel-agent", "opanel-agent-self-contained"}
    assert calls == [
        "apt-get -q update",
        f"apt-get -qy install {package}",
        "opanel-agent setup --lang en",
        "opanel-agent license install /license.jws --lang en",
        "opanel-agent status --lang en",
    ]
    keyring = "/etc/apt/keyrings/opanel.asc"
    listed = server.sh("cat /etc/apt/sources.list.d/opanel.list").strip()
    assert listed == f"deb [signed-by={keyring}] http://127.0.0.1:8080 ./"
    assert server.sh(f"cat {keyring}; stat -c %a {keyring}") == "a key\n644\n"
    assert server.sh("ls /var/tmp | grep opanel-agent || true") == ""


def test_a_package_is_removed_by_its_manager(published: tuple[Server, str]) -> None:
    server, _ = published
    assert server.install("--uninstall", "--dry-run").status == 0
    assert server.calls() == []
    ran = server.install("--uninstall", "--purge", "--no-export")
    assert (ran.status, "Done: the package was removed." in ran.err) == (0, True), ran.err
    assert [call.rpartition(" ")[0] for call in server.calls()] == ["apt-get -y purge"]
