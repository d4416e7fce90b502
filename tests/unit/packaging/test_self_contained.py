"""packaging/build rpm, tar and repository: what they hold, what the rpm's scripts do, what dnf refuses of a repository.

The deb of the same files is installed on a booted system: tests/boot/run.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from boot import host
from fixtures import signing
from fixtures.packaging.rpm_root import LIMIT_S, UNITS, RpmRoot, rpm_root, served
from opanel_agent import __version__
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.jose.jws import Typ

ROOT = Path(__file__).resolve().parents[3]
FIRST_ROOT = ROOT / "docs/examples/root.jws"
LINT = ROOT / "packaging/rpm/rpmlint.toml"
KEY = "packages@opanel.example"
ENV = "/opt/opanel-agent/env"
MODULES = f"{ENV}/lib/python3.13/site-packages"
NEEDED = ("rpmbuild", "rpmsign", "dnf", "createrepo_c", "gpg", "dpkg-source", "nsenter")
missing = [program for program in NEEDED if shutil.which(program) is None]

pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.skipif(
        bool(missing), reason=f"not installed: {', '.join(missing)} (apt install rpm dnf createrepo-c gnupg dpkg-dev)"
    ),
]


def ran(*words: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=4 * LIMIT_S,  # the runtime, where nothing compiled it before
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Built:
    """Two repositories, signed with the key of `gpg`; the newer package carries its release manifest."""

    folder: Path
    gpg: dict[str, str]

    @property
    def previous(self) -> Path:
        return self.folder / "repository-previous"

    @property
    def current(self) -> Path:
        return self.folder / "repository-current"

    def build(self, kind: str, out: Path, **environment: str) -> Path:
        """With the release manifest in it."""
        options = ("--root", FIRST_ROOT, "--release", self.folder / "release.jws", "--out", out)
        return Path(ran(ROOT / "packaging/build", kind, *options, **environment))

    def sign(self, repository: Path) -> None:
        ran(ROOT / "packaging/build", "repository", repository, "--key", KEY, **self.gpg)

    def copy(self, name: str) -> Path:
        return Path(shutil.copytree(self.current, self.folder / name))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp("rpm")
    (folder / "gpg").mkdir(mode=0o700)
    gpg = {"GNUPGHOME": str(folder / "gpg")}
    ran("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", KEY, "rsa3072", "sign", **gpg)
    made = Built(folder, gpg)
    draft, release = folder / "draft.json", folder / "release.jws"
    ran(ROOT / "packaging/build", "manifest", "--self-contained", "--root", FIRST_ROOT, "--out", draft)
    claims: dict[str, Any] = {**json.loads(draft.read_bytes()), "ver": 1, "iss": signing.VENDOR}
    release.write_bytes(signing.lines(signing.RELEASE.sign(Typ.RELEASE, dumps(claims))))
    shutil.copy(made.build("rpm", made.current), folder / "unsigned.rpm")
    host.tree(folder / "previous")
    host.call(folder / "previous", host.PREVIOUS)
    (folder / "previous/.env").mkdir()
    (folder / "previous/.env/runtime").symlink_to(ROOT / ".env/runtime")
    ran(folder / "previous/packaging/build", "rpm", "--root", FIRST_ROOT, "--out", made.previous)
    for repository in (made.previous, made.current):
        made.sign(repository)
    yield made
    ran("gpgconf", "--kill", "all", **gpg)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[RpmRoot]:
    with rpm_root(tmp_path) as made:
        yield made


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def succeeds(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(root: RpmRoot, repository: Path, *words: str) -> str:
    """Installs from a repository over loopback. Returns what was printed; a refusal is a failure here."""
    with served(repository) as address:
        root.know(address)
        return succeeds(root.dnf(*(words or ("install", "opanel-agent"))))


def enabled(root: RpmRoot) -> dict[str, str]:
    return {unit: root.sh(f"systemctl is-enabled {unit} || true") for unit in UNITS}


@pytest.fixture(scope="module")
def archive(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built.build("tar", tmp_path_factory.mktemp("tar"))


@pytest.fixture(scope="module")
def archive_before(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tar of the version before."""
    out = tmp_path_factory.mktemp("before")
    return Path(ran(built.folder / "previous/packaging/build", "tar", "--root", FIRST_ROOT, "--out", out))


@pytest.mark.parametrize("kind", ["rpm", "tar"])
def test_the_same_source_gives_the_same_bytes(built: Built, archive: Path, kind: str, tmp_path: Path) -> None:
    """Wherever it is built; of the rpm, before it is signed."""
    (tmp_path / "elsewhere").mkdir()
    again = built.build(kind, tmp_path / "out", TMPDIR=str(tmp_path / "elsewhere"))
    first = {"rpm": built.folder / "unsigned.rpm", "tar": archive}[kind]
    assert digest(again) == digest(first)


@pytest.mark.skipif(shutil.which("rpmlint") is None, reason="rpmlint is not installed (apt install rpmlint)")
def test_rpmlint_finds_neither_an_error_nor_a_warning(built: Built) -> None:
    judged = ran("rpmlint", "--config", LINT, *built.current.glob("*.rpm"))
    assert "0 errors, 0 warnings" in judged, judged


def test_dnf_installs_it_and_each_file_is_as_it_was_published(built: Built, root: RpmRoot) -> None:
    install(root, built.current)
    assert root.sh("opanel-agent --version") == f"opanel-agent {__version__}"
    assert root.sh("stat -c %U:%G:%a /etc/opanel-agent /run/opanel-agent").split() == [
        "root:opanel-agent:2755",
        "opanel-agent:opanel:2750",
    ]
    root.sh("cmp /usr/share/opanel-agent/agent.toml /etc/opanel-agent/agent.toml")
    assert root.sh("cat /opt/opanel-agent/package") == "rpm"
    assert enabled(root) == dict.fromkeys(UNITS, "enabled")
    wanted = root.sh("readlink /etc/systemd/system/sockets.target.wants/opanel-agent.socket")
    assert wanted.removeprefix("/usr") == "/lib/systemd/system/opanel-agent.socket"
    assert root.rpm("-V", "opanel-agent").stdout == ""
    assert root.rpm("-q", "--configfiles", "opanel-agent").stdout.strip() == ""
    found = json.loads(root.sh("opanel-agent verify-install --json"))["result"]
    assert (found["good"], found["not_covered"], found["differences"]) == (True, ["verifier"], [])
    assert found["files"] > 2000


def test_whatever_was_changed_of_it_is_told(built: Built, root: RpmRoot) -> None:
    install(root, built.current)
    altered = (
        *(f"{MODULES}/opanel_agent/core/consent/gate.py", f"{ENV}/lib/python3.13/json/__init__.py"),
        *(f"{ENV}/lib/python3.13/lib-dynload/_ssl.*.so", f"{ENV}/bin/python3.13"),
    )
    names = root.sh(f"ls {' '.join(altered)}").split()
    assert len(names) == 4
    root.sh(f"for each in {' '.join(names)}; do printf x >>$each; done")
    root.sh(f"rm {MODULES}/h11/py.typed; touch {MODULES}/sitecustomize.py {ENV}/lib/libssl.so")
    done = root.inside("opanel-agent", "verify-install", "--json")
    differences = {each["path"]: each["kind"] for each in json.loads(done.stdout)["result"]["differences"]}
    assert done.returncode == 1
    assert differences == {
        **dict.fromkeys(names, "altered"),
        f"{MODULES}/h11/py.typed": "missing",
        f"{MODULES}/sitecustomize.py": "extra",
        f"{ENV}/lib/libssl.so": "extra",
    }


def test_an_upgrade_and_a_removal_leave_what_is_the_administrator_s(built: Built, root: RpmRoot) -> None:
    install(root, built.previous)
    assert root.sh("opanel-agent --version") == f"opanel-agent {host.PREVIOUS}"
    root.write("/etc/opanel-agent/agent.toml", 'schema = 1\nlanguage = "tr"\n')
    root.write("/etc/opanel-agent/consent.toml", "schema = 1\n")
    root.write("/var/lib/opanel-agent/state.json", "{}")
    kept = "cd /; find etc/opanel-agent var/lib/opanel-agent -type f | sort | xargs sha256sum"
    before = root.sh(kept)
    assert len(before.splitlines()) == 3
    root.sh(f"systemctl disable opanel-agent-changed.path; touch {ENV}/only-before")
    states = {**dict.fromkeys(UNITS, "enabled"), "opanel-agent-changed.path": "disabled"}
    assert enabled(root) == states
    shown = install(root, built.current, "upgrade")
    assert root.sh("opanel-agent --version") == f"opanel-agent {__version__}"
    assert "opanel-agent setup" not in shown
    assert (root.sh(kept), enabled(root)) == (before, states)
    differences = json.loads(root.inside("opanel-agent", "verify-install", "--json").stdout)["result"]["differences"]
    assert [(each["path"], each["kind"]) for each in differences] == [(f"{ENV}/only-before", "extra")]
    root.sh(f"rm {ENV}/only-before")
    succeeds(root.dnf("--disablerepo=*", "remove", "opanel-agent"))
    assert root.sh(kept) == before
    assert root.sh("ls -d /opt/opanel-agent /usr/bin/opanel-agent /usr/lib/systemd/system/opanel-agent* || true") == ""
    assert root.sh("find /etc/systemd/system -name 'opanel-agent*'") == ""
    assert root.sh("find / -xdev -name '*.rpmsave' -o -xdev -name '*.rpmnew'") == ""


@pytest.fixture
def install_sh(archive: Path, root: RpmRoot) -> str:
    """That of the unpacked tar, on a system without a Python."""
    succeeds(root.outside("tar", "-C", f"{root.place}/root", "-xJf", archive))
    root.sh("rm /usr/bin/python3*")
    return f"/root/opanel-agent-{__version__}/install.sh"


def test_the_tar_brings_a_python_to_a_system_without_one(install_sh: str, root: RpmRoot) -> None:
    """Its install.sh shows what it would do, by that Python alone, and last that here is no running systemd."""
    shown = root.inside(install_sh, "--dry-run", "--lang", "en")
    assert shown.returncode == os.EX_CONFIG, shown.stderr
    assert f"make the environment /opt/opanel-agent/env-runtime-{__version__}-1 with Python 3.13" in shown.stderr
    assert "systemd" in shown.stderr
    assert root.sh("ls -d /opt/opanel-agent /etc/opanel-agent 2>/dev/null || true") == ""


def play_systemd(root: RpmRoot) -> None:
    """One whose units all run, whose agent answers, and which started it anew as often as /run/restarts says."""
    answering = """#!/bin/sh
case $* in
"start opanel-agent.service" | "try-restart opanel-agent.service" | "restart opanel-agent.service")
    date +%N >/run/opanel-agent/answer.json ;;
show*) printf 'NRestarts=%s\\nActiveState=active\\n' "$(cat /run/restarts 2>/dev/null || echo 0)" ;;
esac
"""
    root.sh("mkdir -p /run/systemd/system")
    root.write("/usr/bin/systemctl.answering", answering, "755")
    root.sh("mv /usr/bin/systemctl.answering /usr/bin/systemctl")


def differences_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    found = json.loads(done.stdout)["result"]
    assert (found["not_covered"], found["files"] > 2000) == (["verifier"], True)
    return {each["path"]: each["kind"] for each in found["differences"]}


def test_what_install_sh_laid_from_the_tar_is_what_was_published_and_goes_again(install_sh: str, root: RpmRoot) -> None:
    """Whatever was changed of it is told, installing again repairs it, and after that there is nothing to change."""
    play_systemd(root)
    verify = ("/usr/local/bin/opanel-agent", "verify-install", "--json")
    succeeds(root.inside(install_sh))
    env = root.sh("readlink -f /opt/opanel-agent/env")
    assert env == f"/opt/opanel-agent/env-runtime-{__version__}-1"
    laid = root.inside(*verify)
    assert (laid.returncode, differences_of(laid)) == (0, {})
    python = f"{env}/lib/python3.13"
    names = (
        *(f"{python}/site-packages/opanel_agent/core/consent/gate.py", f"{python}/lib-dynload/_ssl.*.so"),
        *(f"{python}/__pycache__/ssl.*.pyc", f"{env}/bin/python3.13", f"{env}/bin/opanel-agent", f"{env}/stamp"),
        *("/opt/opanel-agent/packaging/installer/trial.py", "/etc/systemd/system/opanel-agent.service"),
    )
    altered = root.sh(f"ls {' '.join(names)}").split()
    assert len(altered) == len(names)
    root.sh(f"for each in {' '.join(altered)}; do echo '#' >>$each; done")
    root.sh(
        f"rm {python}/site-packages/h11/py.typed; touch {python}/site-packages/sitecustomize.py {env}/lib/libssl.so"
    )
    found = root.inside(*verify)
    assert (found.returncode, differences_of(found)) == (
        1,
        {
            **dict.fromkeys(altered, "altered"),
            f"{python}/site-packages/h11/py.typed": "missing",
            f"{python}/site-packages/sitecustomize.py": "extra",
            f"{env}/lib/libssl.so": "extra",
        },
    )
    succeeds(root.inside(install_sh))
    assert root.sh("ls -d /opt/opanel-agent/env-*") == f"/opt/opanel-agent/env-runtime-{__version__}-2"
    repaired = root.inside(*verify)
    assert (repaired.returncode, differences_of(repaired)) == (0, {})
    again = root.inside(install_sh, "--lang", "en")
    assert "Nothing has to be changed." in again.stderr, again.stderr
    succeeds(root.inside("/opt/opanel-agent/install.sh", "--uninstall", "--purge", "--no-export"))
    assert root.sh("ls -d /opt/* /etc/opanel-agent /var/lib/opanel-agent* /run/opanel* || true") == ""
    assert (
        root.sh("find /etc /usr/lib/sysusers.d /usr/lib/tmpfiles.d /usr/local/bin /usr/local/share -name '*opanel*'")
        == ""
    )
    assert root.sh("grep opanel /etc/passwd /etc/group || true") == ""


def laid(root: RpmRoot) -> str:
    """What lies in the installer's places: kind, mode, owner and content, no times."""
    places = "/opt/opanel-agent /etc/systemd/system /usr/lib/sysusers.d /usr/lib/tmpfiles.d /usr/local/bin"
    return root.sh(
        f"find {places} /etc/opanel-agent -printf '%p %y %m %U:%G %l\\n' | sort;"
        f"find {places} /etc/opanel-agent -type f | sort | xargs sha256sum"
    )


def try_out(root: RpmRoot, seconds: int) -> subprocess.CompletedProcess[str]:
    """What opanel-agent-trial.service runs after an upgrade, for so long."""
    line = root.sh("sed -n 's/^ExecStart=//p' /etc/systemd/system/opanel-agent-trial.service")
    return root.inside(*line.replace(" 600", f" {seconds}").split())


def test_from_tar_to_tar_it_upgrades_and_what_dies_gives_way_to_what_was_here(
    archive: Path, archive_before: Path, root: RpmRoot
) -> None:
    """The version before is whole again to the last byte; one that lives stays, and is older only where that is meant."""
    for each in (archive_before, archive):
        succeeds(root.outside("tar", "-C", f"{root.place}/root", "-xJf", each))
    root.sh("rm /usr/bin/python3*")
    play_systemd(root)
    before, now = (f"/root/opanel-agent-{version}/install.sh" for version in (host.PREVIOUS, __version__))
    succeeds(root.inside(before))
    root.write("/etc/opanel-agent/agent.toml", 'schema = 1\nlanguage = "tr"\n')
    root.write("/var/lib/opanel-agent/ledger.jsonl", "{}\n")
    whole = laid(root)
    root.write("/run/restarts", "1")
    assert f"{host.PREVIOUS} is here; {__version__} takes its place" in root.inside(now, "--lang", "en").stderr
    assert root.sh("/usr/local/bin/opanel-agent --version") == f"opanel-agent {__version__}"
    died = try_out(root, 600)
    assert (died.returncode, "code: upgrade" in died.stderr) == (70, True), died.stderr
    assert root.sh("/usr/local/bin/opanel-agent --version") == f"opanel-agent {host.PREVIOUS}"
    assert laid(root) == whole
    root.sh("rm /run/restarts")
    succeeds(root.inside(now))
    assert try_out(root, 0).returncode == 0
    assert root.sh("ls -d /opt/opanel-agent/env-* /opt/opanel-agent/.[a-z]* 2>/dev/null || true") == (
        f"/opt/opanel-agent/env-runtime-{__version__}-1"
    )
    older = root.inside(before, "--lang", "en")
    assert (older.returncode, "code: downgrade" in older.stderr) == (78, True), older.stderr
    succeeds(root.inside("/opt/opanel-agent/install.sh", "--uninstall"))
    succeeds(root.inside(before))
    assert root.sh("/usr/local/bin/opanel-agent --version") == f"opanel-agent {host.PREVIOUS}"
    assert root.sh("cat /etc/opanel-agent/agent.toml /var/lib/opanel-agent/ledger.jsonl").split("\n")[1:] == [
        'language = "tr"',
        "{}",
    ]


def test_with_the_tar_gone_it_repairs_itself_whatever_was_damaged(install_sh: str, root: RpmRoot) -> None:
    """Also its own interpreter, on a system without another, and with nothing to be had over the network."""
    play_systemd(root)
    succeeds(root.inside(install_sh))
    root.sh("rm -r /root/opanel-agent-*")
    own, env = "/opt/opanel-agent/install.sh", "/opt/opanel-agent/env"
    library = f"{env}/lib/python3.13"
    for damage in (
        f"rm -r {library}/site-packages/cryptography",
        f"echo x >>$(echo {library}/lib-dynload/_ssl.*.so)",
        f"echo '#' >>{library}/site-packages/opanel_agent/core/consent/gate.py",
        f"echo x >{env}/bin/python3.13",
        f"rm -r $(readlink -f {env})",
    ):
        assert "Nothing has to be changed." in root.inside(own, "--lang", "en").stderr
        root.sh(damage)
        damaged = laid(root)
        assert "make the environment" in root.inside(own, "--dry-run", "--lang", "en").stderr
        assert laid(root) == damaged
        repaired = root.inside(own, "--lang", "en")
        assert (repaired.returncode, "contacted: none" in repaired.stderr) == (0, True), repaired.stderr
        found = root.inside("/usr/local/bin/opanel-agent", "verify-install", "--json")
        assert (found.returncode, differences_of(found)) == (0, {}), damage
    assert root.sh("ls -A /var/tmp") == ""
    root.sh(f"truncate -s 1000000 /opt/opanel-agent/runtime.tar.gz; rm -r {library}/site-packages/cryptography")
    for last, code in ((f"rm {library}/site-packages/h11/py.typed", "no_runtime"), (f"rm -r {env}/bin", "no_start")):
        root.sh(last)
        refused = root.inside(own, "--lang", "en")
        assert refused.stderr.splitlines()[-1] == f"  code: {code}", refused.stderr
        assert "the tar" in refused.stderr.splitlines()[-2]


def test_systemd_is_told_to_start_all_that_is_enabled_and_to_close_no_socket_at_an_upgrade(
    built: Built, root: RpmRoot
) -> None:
    root.note_systemctl(0)
    install(root, built.previous)
    first = root.noted()
    assert [line for line in first if line.startswith("start ")] == [f"start {unit}" for unit in UNITS]
    assert [line for line in first if "enable " in line] == [f"--no-reload enable {unit}" for unit in UNITS]
    install(root, built.current, "upgrade")
    assert root.noted() == ["daemon-reload", "daemon-reload", "try-restart opanel-agent.service"]
    succeeds(root.dnf("--disablerepo=*", "remove", "opanel-agent"))
    disabling, stopping, *after = root.noted()
    assert (disabling, after) == (f"--no-reload disable {' '.join(UNITS)}", ["daemon-reload"])
    assert sorted(stopping.split()) == sorted(["stop", *UNITS])


def test_a_systemctl_that_fails_keeps_no_transaction_from_its_end(built: Built, root: RpmRoot) -> None:
    root.note_systemctl(1)
    install(root, built.previous)
    install(root, built.current, "upgrade")
    assert root.rpm("-q", "opanel-agent").stdout.strip() == f"opanel-agent-{__version__}-1.x86_64"
    succeeds(root.dnf("--disablerepo=*", "remove", "opanel-agent"))
    assert root.rpm("-q", "opanel-agent").returncode == 1
    assert "try-restart opanel-agent.service" in root.noted()


def alter_package(built: Built, repository: Path) -> None:
    (package,) = repository.glob("*.rpm")
    with package.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"altered")


def alter_index(built: Built, repository: Path) -> None:
    index = repository / "repodata/repomd.xml"
    index.write_text(index.read_text().replace("<revision>", "<revision>1"))


def unsign_index(built: Built, repository: Path) -> None:
    (repository / "repodata/repomd.xml.asc").unlink()


def unsign_package(built: Built, repository: Path) -> None:
    """As somebody could who may write the index: its signature is good."""
    (package,) = repository.glob("*.rpm")
    ran("rpmsign", "--delsign", package)
    ran("createrepo_c", "--quiet", repository)
    ran(
        *(
            "gpg",
            "--batch",
            "--yes",
            "--local-user",
            KEY,
            "--armor",
            "--detach-sign",
            repository / "repodata/repomd.xml",
        ),
        **built.gpg,
    )


def sign_with_another(built: Built, repository: Path) -> None:
    """The whole of it, with a key that is not the one that the server knows."""
    home = repository / "gpg"
    home.mkdir(mode=0o700)
    other = {"GNUPGHOME": str(home)}
    known = (repository / "opanel.asc").read_bytes()
    ran("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", KEY, "rsa3072", "sign", **other)
    ran(ROOT / "packaging/build", "repository", repository, "--key", KEY, **other)
    ran("gpgconf", "--kill", "all", **other)
    (repository / "opanel.asc").write_bytes(known)


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (alter_package, "No more mirrors to try"),  # whose digest is the index's
        (alter_index, "repomd.xml GPG signature verification error"),
        (unsign_index, "GPG signature is not available"),
        (unsign_package, "is not signed"),
        (sign_with_another, "repomd.xml GPG signature verification error"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_what_is_not_as_it_was_signed_is_refused(built: Built, root: RpmRoot, alter: Any, reason: str) -> None:
    repository = built.copy(alter.__name__)
    alter(built, repository)
    with served(repository) as address:
        root.know(address)
        refused = root.dnf("install", "opanel-agent")
    assert refused.returncode != 0
    assert reason in refused.stdout + refused.stderr
    assert root.rpm("-q", "opanel-agent").returncode == 1
    assert root.sh("ls -d /opt/opanel-agent || true") == ""
