"""packaging/build: what the Debian package holds, and what it is refused for. That it installs: tests/boot/run."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BUILD = ROOT / "packaging/build"
FIRST_ROOT = ROOT / "docs/examples/root.jws"
UNITS = ROOT / "systemd"
DEB = ROOT / "packaging/deb"
ENVIRONMENT = "usr/lib/opanel-agent/env"

pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("dh") is None, reason="debhelper is not installed (apt install debhelper dpkg-dev)"
    ),
]


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(each) for each in arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = run(BUILD, "deb", "--root", FIRST_ROOT, "--out", tmp_path_factory.mktemp("deb"))
    assert built.returncode == 0, built.stderr
    return Path(built.stdout.strip())


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("unpacked")
    assert run("dpkg-deb", "-x", package, place).returncode == 0
    return place


def test_the_same_source_gives_the_same_bytes(package: Path, tmp_path: Path) -> None:
    again = run(BUILD, "deb", "--root", FIRST_ROOT, "--out", tmp_path, TMPDIR=str(tmp_path))
    digests = {hashlib.sha256(Path(path).read_bytes()).digest() for path in (package, again.stdout.strip())}
    assert len(digests) == 1


@pytest.mark.skipif(shutil.which("lintian") is None, reason="lintian is not installed (apt install lintian)")
def test_lintian_finds_neither_an_error_nor_a_warning(package: Path) -> None:
    judged = run("lintian", "--allow-root", "--fail-on", "error,warning", package)
    assert judged.returncode == 0, judged.stdout


def test_it_runs_on_the_system_s_modules_and_sees_none_of_usr_local(unpacked: Path) -> None:
    """As laid: an environment without a word of the machine that built it."""
    assert (
        unpacked / ENVIRONMENT / "pyvenv.cfg"
    ).read_text() == "home = /usr/bin\ninclude-system-site-packages = false\n"
    assert (unpacked / ENVIRONMENT / "bin/python").readlink() == Path("../../../../bin/python3")
    site = unpacked / ENVIRONMENT / "lib/python3/site-packages"
    assert (site / "distribution.pth").read_text() == "/usr/lib/python3/dist-packages\n"
    assert (unpacked / "usr/bin/opanel-agent").read_text().startswith(f"#!/{ENVIRONMENT}/bin/python -I\n")
    assert (site / "opanel_agent/data/trust/root.jws").read_bytes() == FIRST_ROOT.read_bytes()


def test_nothing_of_the_source_is_missing(unpacked: Path) -> None:
    site = unpacked / ENVIRONMENT / "lib/python3/site-packages/opanel_agent"
    source = ROOT / "agent/opanel_agent"
    wanted = {
        path.relative_to(source)
        for path in source.rglob("*")
        if path.is_file() and path.suffix not in {".po", ".pyc"} and path.name != "root.jws"
    }
    assert wanted == {path.relative_to(site) for path in site.rglob("*") if path.is_file() and path.name != "root.jws"}


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.iterdir() if not path.name.endswith(".conf")))
def test_a_unit_is_the_source_s_but_for_the_program_s_place(unpacked: Path, unit: str) -> None:
    laid = (unpacked / "usr/lib/systemd/system" / unit).read_text()
    source = (UNITS / unit).read_text()
    assert "/opt/" not in "".join(line for line in laid.splitlines() if not line.startswith("#"))
    back = laid.replace("ExecStart=/usr/lib/opanel-agent/", "ExecStart=/opt/opanel-agent/")
    assert back == source.replace("BindReadOnlyPaths=/usr /opt/opanel-agent ", "BindReadOnlyPaths=/usr ")


def test_no_conffile_is_shipped(package: Path) -> None:
    """One that an administrator edited would stop an unattended upgrade half configured."""
    assert run("dpkg-deb", "-I", package, "conffiles").returncode != 0


def test_each_package_conflicts_with_the_other_and_replaces_it() -> None:
    """So that one gives way to the other; and nothing that a script says of a place stands in one of them alone."""
    native, other = (
        dict(re.findall(r"^([A-Z][A-Za-z-]+): (.*)$", (DEB / name).read_text(), re.MULTILINE))
        for name in ("control", "self-contained.control")
    )
    assert native["Conflicts"] == native["Replaces"] == other["Package"] == "opanel-agent-self-contained"
    assert other["Conflicts"] == other["Replaces"] == native["Package"] == "opanel-agent"
    assert "python3" not in other["Depends"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "deb, rpm, tar, runtime, manifest, sbom or repository?"),
        (("deb",), "deb needs --root"),
        (("deb", "--rot", "x"), "deb does not know --rot"),
        (("deb", "--self-contained"), "deb needs --root"),
        (("tar",), "tar needs --root"),
        (("rpm",), "rpm needs --root"),
        (("tar", "--self-contained"), "tar does not know --self-contained"),
        (("runtime", "--root", "x"), "runtime does not know --root"),
        (("manifest",), "manifest needs --root"),
        (("repository",), "repository needs the folder"),
        (("repository", "."), "repository needs --key"),
    ],
)
def test_wrong_usage_is_said_and_ends_with_64(arguments: tuple[str, ...], sentence: str) -> None:
    refused = run(BUILD, *arguments)
    assert refused.returncode == 64
    assert sentence in refused.stderr
