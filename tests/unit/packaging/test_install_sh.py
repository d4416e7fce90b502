"""install.sh takes the options that its help names, and --demo checks before it changes; as a service: test_install_system.

It runs in a copy of what it reads, so that "nothing was changed" can be seen. The slow tests make the environment
of the demo as a stranger would, from the package registry; the story itself has its own test.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "packaging"))
from installer import demo  # noqa: E402 - found by that folder
from installer.texts import CannotError  # noqa: E402

READS = (
    *("install.sh", "LICENSE", "pyproject.toml", "setup.cfg", "authority/pyproject.toml", "packaging/demo.lock"),
    *(f"packaging/installer/{path.name}" for path in (ROOT / "packaging/installer").iterdir() if path.is_file()),
)
STATUSES = {"64", "69", "70", "74", "77", "78"}
STORY = """
import sys
import opanel_agent, opanel_authority
print(sys.argv[1:], opanel_agent.__file__, opanel_authority.__file__)
"""


def snapshot(root: Path) -> list[tuple[str, float]]:
    return sorted((str(path), path.stat().st_mtime) for path in root.rglob("*"))


def copy_to(place: Path) -> Path:
    for name in READS:
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    (place / "packaging/demo.py").write_text(STORY, encoding="utf-8")
    (place / "README.md").write_text("a readme", encoding="utf-8")
    return place


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return copy_to(tmp_path / "a clone")


def run(clone: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As a stranger would, on the Python that runs this test."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [str(clone / "install.sh"), *arguments],
        cwd="/",
        env={**os.environ, "PATH": path, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with the tools that the script calls, and no Python."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("sh", "dirname", "df", "awk", "cat", "cksum", "find", "sort", "rm", "mkdir", "cp"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    return folder


def script(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (("--keep",), 64, "cannot use --keep here"),
        (("--frobnicate",), 64, "cannot understand --frobnicate"),
        (("--demo", "extra"), 64, "cannot understand extra"),
        (("--demo", "--lang", "de"), 64, "cannot use the language de"),
        (("--demo", "--lang=de"), 64, "cannot use the language de"),
        (("--demo", "--lang"), 64, "cannot tell the language"),
        (("--demo", "--dry-run"), 64, "cannot use --dry-run here"),
        (("--demo", "--wheels", "x"), 64, "cannot use --wheels here"),
        (("--demo", "--uninstall"), 64, "cannot use --uninstall here"),
        (("--purge",), 64, "cannot use --purge here"),
        (("--uninstall", "--no-export"), 64, "cannot use --no-export here"),
        (("--uninstall", "--license", "x"), 64, "cannot use --license here"),
        (("--uninstall", "--preseed=x"), 64, "cannot use --preseed here"),
        (("--wheels",), 64, "cannot use --wheels without its value"),
        (("--license", "no such file"), 64, "cannot read the license no such file"),
        (("--preseed", "/nowhere/consent.toml"), 64, "cannot read /nowhere/consent.toml"),
        (("--lang=tr", "--frobnicate"), 64, "--frobnicate anlaşılamıyor"),
    ],
)
def test_what_it_cannot_do_changes_nothing(clone: Path, arguments: tuple[str, ...], status: int, expected: str) -> None:
    before = snapshot(clone)
    ran = run(clone, *arguments)
    assert ran.returncode == status
    sentence, cure, code = ran.stderr.splitlines()[-3:]
    assert expected in sentence
    assert cure.startswith("  ")
    assert re.fullmatch(r"  (code|kod): [a-z_]+", code)
    assert ran.stdout == ""
    assert snapshot(clone) == before


@pytest.mark.parametrize("variable", ["LC_ALL", "LC_MESSAGES", "LANG"])
def test_the_locale_chooses_the_language_unless_told(clone: Path, variable: str) -> None:
    locale = {"LC_ALL": "", "LC_MESSAGES": "", "LANG": "", variable: "tr_TR.UTF-8"}
    assert "kullanım:" in run(clone, "--help", **locale).stdout
    assert "usage:" in run(clone, "--help", "--lang", "en", **locale).stdout


def test_every_sentence_is_there_in_both_languages_and_said_somewhere() -> None:
    files = ("install.sh", "packaging/installer/python.sh")
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in files)
    code = re.sub(r"#.*$|^    \w+\) (both|cannot) .*$", "", text.partition("\nboth() {")[2], flags=re.MULTILINE)
    sentences = re.findall(r"^    (\w+)\) both (.*) ;;$", text, re.MULTILINE)
    problems = re.findall(r"^    (\w+)\) cannot (\d+) (.*) ;;$", text, re.MULTILINE)
    assert len(sentences) > 8
    assert len(problems) > 10
    for name, sentence in sentences:
        assert len(shlex.split(sentence)) == 2, name
        assert re.search(rf"(tell|sentence) {name}\b", text), name
    for name, status, sentence in problems:
        assert status in STATUSES, name
        english, _, turkish, _ = shlex.split(sentence)
        assert english.startswith("cannot "), name
        assert not turkish.startswith("cannot"), name
        assert re.search(rf"fail {name}\b", text), name
    for verb, found in (("tell|sentence", {each[0] for each in sentences}), ("fail", {each[0] for each in problems})):
        used = re.findall(rf"(?:^|[^\w-])(?:{verb}) ([a-z_]+)", code, re.MULTILINE)
        assert set(used) <= found, verb


def test_every_sentence_of_the_installer_is_there_in_both_languages_and_said_somewhere() -> None:
    table = tomllib.loads((ROOT / "packaging/installer/texts.toml").read_text("utf-8"))
    code = "".join(path.read_text("utf-8") for path in (ROOT / "packaging/installer").glob("*.py"))
    assert (len(table["sentences"]) > 40, len(table["problems"]) > 20) == (True, True)
    for name, row in table["sentences"].items():
        assert row.keys() == {"en", "tr"}, name
        assert placeholders(row["en"]) == placeholders(row["tr"]), name
        assert f'"{name}"' in code or f"'{name}'" in code, name
    for name, row in table["problems"].items():
        assert row.keys() == {"status", "en", "tr"}, name
        assert str(row["status"]) in STATUSES, name
        assert row["en"][0].startswith("cannot "), name
        assert [len(row[lang]) for lang in ("en", "tr")] == [2, 2], name
        assert placeholders(" ".join(row["en"])) == placeholders(" ".join(row["tr"])), name


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{\d\}", text))


def test_the_front_is_short() -> None:
    """What a package manager or packaging/installer does is theirs (docs/adr/0035)."""
    assert (ROOT / "install.sh").read_text("utf-8").count("\n") <= 300


def test_the_day_of_the_package_is_a_day_that_has_been() -> None:
    found = re.search(r"^released=(\S+)", (ROOT / "install.sh").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    assert date.fromisoformat(found[1]) <= datetime.now(UTC).date()


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_on_stdout(clone: Path, option: str) -> None:
    ran = run(clone, option)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "--demo" in ran.stdout


def test_a_cut_script_runs_nothing(clone: Path) -> None:
    """A download that ends early, at any line, does nothing: all is in functions until the last line."""
    text = (clone / "install.sh").read_text(encoding="utf-8")
    whole = text.splitlines(keepends=True)
    before = snapshot(clone)
    for end in range(0, len(whole), 7):
        ran = subprocess.run(
            ["/bin/sh", "-s", "--", "--demo"],
            input="".join(whole[:end]),
            text=True,
            capture_output=True,
            cwd=clone,
            check=False,
        )
        assert ran.stdout == ""
    assert snapshot(clone) == before


def test_no_python_is_told_with_a_cure(clone: Path, tools: Path) -> None:
    script(tools / "dnf", "exit 1")
    before = snapshot(clone)
    ran = run(clone, "--demo", PATH=str(tools))
    assert ran.returncode == 78
    assert "cannot find Python 3.11" in ran.stderr
    assert "  install it by: dnf install python3.12" in ran.stderr.splitlines()
    assert snapshot(clone) == before


def test_an_old_python_is_none(clone: Path, tools: Path) -> None:
    script(tools / "python3", "exit 1")
    assert run(clone, "--demo", PATH=str(tools)).returncode == 78


def test_a_newer_python_is_found_behind_an_old_one(clone: Path, tools: Path) -> None:
    script(tools / "python3", "exit 1")
    script(tools / "python3.12", f'case "$*" in *ensurepip*) exit 1 ;; *) exec "{sys.executable}" "$@" ;; esac')
    ran = run(clone, "--demo", PATH=str(tools))
    assert f"{tools}/python3.12" in ran.stderr


def test_a_python_without_venv_is_told_with_debians_cure(clone: Path, tools: Path) -> None:
    script(tools / "apt-get", "exit 1")
    script(tools / "python3", f'case "$*" in *ensurepip*) exit 1 ;; *) exec "{sys.executable}" "$@" ;; esac')
    before = snapshot(clone)
    ran = run(clone, "--demo", PATH=str(tools))
    assert ran.returncode == 78
    assert "  install it by: apt-get install python3-venv" in ran.stderr.splitlines()
    assert snapshot(clone) == before


@pytest.fixture
def with_python(tools: Path) -> Path:
    script(tools / "python3", f'exec "{sys.executable}" "$@"')
    return tools


def test_a_place_that_cannot_be_written_is_told(clone: Path, with_python: Path) -> None:
    (clone / ".env").write_text("a file where the folder should be", encoding="utf-8")
    before = snapshot(clone)
    ran = run(clone, "--demo", PATH=str(with_python))
    assert ran.returncode == 74
    assert f"cannot write in {clone}/.env" in ran.stderr
    assert snapshot(clone) == before


def test_a_full_disk_is_told(clone: Path) -> None:
    with pytest.raises(CannotError) as refusal:
        demo.check(clone, megabytes=10**9)
    assert (refusal.value.code, refusal.value.status, refusal.value.values) == ("demo_full", 74, (clone,))


@pytest.mark.parametrize("name", ["packaging/demo.py", "packaging/demo.lock", "README.md", "LICENSE"])
def test_an_incomplete_copy_is_told(clone: Path, with_python: Path, name: str) -> None:
    (clone / name).unlink()
    before = snapshot(clone)
    ran = run(clone, "--demo", PATH=str(with_python))
    assert ran.returncode == 74
    assert name in ran.stderr
    assert snapshot(clone) == before


@pytest.mark.root
def test_below_usr_the_demo_is_refused() -> None:
    with tempfile.TemporaryDirectory(dir="/usr/local") as place:
        clone = copy_to(Path(place).resolve())
        before = snapshot(clone)
        ran = run(clone, "--demo")
        assert ran.returncode == 74
        assert "counts as the system's own" in ran.stderr
        assert snapshot(clone) == before


@pytest.mark.slow
def test_unreachable_packages_are_told_and_the_next_run_starts_anew(clone: Path) -> None:
    nowhere = {"PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0"}
    ran = run(clone, "--demo", **nowhere, PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="", PIP_NO_CACHE_DIR="1")
    assert ran.returncode == 69
    assert "cannot fetch the packages" in ran.stderr
    assert not (clone / ".env/demo/stamp").exists()


@pytest.mark.slow
def test_the_environment_is_made_once_compiled_and_remade_when_the_source_changes(clone: Path) -> None:
    for name in ("agent", "authority"):
        ignored = shutil.ignore_patterns("*.egg-info", "build", "__pycache__")
        shutil.copytree(ROOT / name, clone / name, dirs_exist_ok=True, ignore=ignored)
    before = {path for path in clone.rglob("*") if ".env" not in path.parts}
    first = run(clone, "--demo", "--lang", "tr", "--keep", PIP_USER="1")
    assert first.returncode == 0, first.stderr
    assert ".env/demo kuruluyor" in first.stderr
    site = clone / ".env/demo/lib"
    assert first.stdout.startswith(f"['--keep', '--lang', 'tr'] {site}")
    assert list(site.glob("*/site-packages/opanel_agent/core/__pycache__/errors.*.pyc"))
    assert {path for path in clone.rglob("*") if ".env" not in path.parts} == before

    second = run(clone, "--demo")
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout.startswith(f"[] {site}")

    with (clone / "agent/opanel_agent/__init__.py").open("a", encoding="utf-8") as changed:
        changed.write("# changed\n")
    assert "making .env/demo" in run(clone, "--demo").stderr
