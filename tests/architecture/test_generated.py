"""What is generated is what its sources make, and one command says so or mends it, from a clean clone as well."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "packaging"))
from generators import command, lock  # noqa: E402 - found by that folder

Capture = pytest.CaptureFixture[str]
# Sentences outside of the catalogs, which the pages on troubleshooting have as well.
OTHER_SENTENCES: Final = ("install.sh", "packaging/installer/texts.toml", "authority/opanel_authority/messages.py")


pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every generated file, and nothing else. To be left as it is: writing them all takes a second."""
    folder = tmp_path_factory.mktemp("generated")
    assert command.main([], folder) == 0
    return folder


@pytest.fixture
def generated(written: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_nothing_here_is_stale(capsys: Capture) -> None:
    assert command.main(["--check"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_each_generator_writes_what_its_pattern_finds(generated: Path) -> None:
    found = {path for each in command.GENERATORS for path in generated.glob(each.pattern)}
    assert found == {path for path in generated.rglob("*") if path.is_file()}
    for each in command.GENERATORS:
        names = {name for name, _ in each.outputs()}
        assert names == {path.relative_to(generated).as_posix() for path in generated.glob(each.pattern)} != set()


def test_what_is_written_is_not_stale(generated: Path, capsys: Capture) -> None:
    assert command.main(["--check"], generated) == 0
    assert command.main([], generated) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_stale_files_are_named_and_mended(generated: Path, capsys: Capture) -> None:
    """Of each generator: one file that was edited and one that is missing; of those that write one file, the missing one."""
    edited: dict[Path, bytes] = {}
    missing: set[Path] = set()
    for each in command.GENERATORS:
        first, second = (sorted(generated.glob(each.pattern)) * 2)[:2]
        edited[first] = first.read_bytes()
        first.write_bytes(b"edited")
        second.unlink()
        missing.add(second)
    assert {first for first in edited if first not in missing}, "nothing is edited"
    names = sorted(path.relative_to(generated).as_posix() for path in edited.keys() | missing)
    assert command.main(["--check"], generated) == 1
    assert sorted(capsys.readouterr().err.splitlines()) == [
        f"{name} is stale: run packaging/generate" for name in names
    ]
    assert all(path.read_bytes() == b"edited" for path in edited.keys() - missing), "--check writes nothing"
    assert command.main([], generated) == 0
    assert sorted(capsys.readouterr().out.splitlines()) == [f"wrote {name}" for name in names]
    assert {path: path.read_bytes() for path in edited} == edited
    assert all(path.is_file() for path in missing)


@pytest.mark.slow
def test_a_file_that_nothing_generates_any_more_is_named_and_removed(generated: Path, capsys: Capture) -> None:
    left = "packaging/share/man/man1/opanel-courier.1"
    (generated / left).touch()
    assert command.main(["--check"], generated) == 1
    assert capsys.readouterr().err == f"{left} is stale: run packaging/generate\n"
    assert command.main([], generated) == 0
    assert capsys.readouterr().out == f"removed {left}\n"
    assert not (generated / left).exists()


@pytest.mark.parametrize("options", [["--chekc"], ["--check", "--locks"], ["--check", "--notice"], ["x"]])
def test_a_wrong_option_is_refused(tmp_path: Path, options: list[str], capsys: Capture) -> None:
    assert command.main(options, tmp_path) == 64
    assert "usage: packaging/generate" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_option(capsys: Capture) -> None:
    assert command.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(option in printed for options in command.OPTIONS for option in options)


@pytest.mark.slow
def test_the_script_needs_nothing_but_the_environment_that_it_asks_for(tmp_path: Path) -> None:
    """In a copy whose `tests/run --env` answers at once, and from another folder."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("agent", "docs", "packaging", "systemd", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=unwanted)
    for name in ("pyproject.toml", "authority/pyproject.toml", *OTHER_SENTENCES):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "tests/run").write_text(f'#!/bin/sh\n[ "$*" = --env ] && echo {sys.executable}\n', "ascii")
    page = tmp_path / "packaging/share/man/man1/opanel-agent.1"
    page.write_text("edited", "ascii")

    def run(*options: str) -> tuple[int, str, str]:
        script = tmp_path / "packaging/generate"
        path = {"PATH": os.environ["PATH"]}
        ran = subprocess.run([script, *options], cwd="/", env=path, capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout, ran.stderr

    stale = page.relative_to(tmp_path)
    assert run("--check") == (1, "", f"{stale} is stale: run packaging/generate\n")
    assert run() == (0, f"wrote {stale}\n", "")
    assert run("--check") == (0, "", "")


def test_locks_are_checked_and_their_cure_is_named(tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(ROOT / "packaging", tmp_path / "packaging", ignore=shutil.ignore_patterns("share", "__pycache__"))
    (tmp_path / "authority").mkdir()
    for name in ("pyproject.toml", "authority/pyproject.toml"):
        text = (ROOT / name).read_text("utf-8").replace('"h11>=0.14"', '"h11>=99"')
        (tmp_path / name).write_text(text, "utf-8")
    assert lock.check(tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"packaging/{name}: h11>=99 (locked: {version}) is not pinned: run packaging/generate --locks"
        for name, version in (("agent.lock", pinned("agent.lock")), ("demo.lock", pinned("demo.lock")))
    ]


def pinned(name: str) -> str:
    return lock.pinned((ROOT / "packaging" / name).read_text("utf-8"))["h11"]


def uv(folder: Path, script: str) -> str:
    """A PATH on which `uv` is this shell script."""
    folder.mkdir(exist_ok=True)
    (folder / "uv").write_text(f"#!/bin/sh\n{script}\n", "ascii")
    (folder / "uv").chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_locks_are_raised_by_uv(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", uv(tmp_path / "bin", "cat"))
    assert command.main(["--locks"], tmp_path) == 0
    text = (tmp_path / "packaging/build.lock").read_text("utf-8")
    assert text == f"{lock.HEADER.format(name='build.lock')}setuptools>=77"
    assert "wrote packaging/demo.lock" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("exit 2", "cannot pin the packages of agent.lock: the lines above, which are uv's, say why"),
        ("case $(cat) in *starlette*) exit 2 ;; esac", "cannot pin the packages of demo.lock: the lines above"),
    ],
)
def test_locks_that_uv_cannot_raise_stay(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, script: str, sentence: str
) -> None:
    monkeypatch.setenv("PATH", uv(tmp_path / "bin", script))
    assert command.main(["--locks"], tmp_path) == 69
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "packaging").exists()


def test_without_uv_its_absence_is_told(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command.main(["--locks"], tmp_path) == 69
    assert capsys.readouterr().err == "cannot pin the packages: uv is not installed (pip install uv)\n"


def test_a_source_that_is_wrong_is_named_with_its_line(tmp_path: Path) -> None:
    """In a copy: the first line of a catalog, then a manual page that forgets a setting."""
    for name in ("agent", "docs", "packaging", "systemd", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in OTHER_SENTENCES:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(ROOT / name, tmp_path / name)
    po = tmp_path / "agent/opanel_agent/locale/tr/LC_MESSAGES/opanel-agent.po"
    page = tmp_path / "docs/man/en/opanel-agent.5.md"

    def run() -> tuple[int, str]:
        ran = subprocess.run(
            [sys.executable, "-m", "generators", "--check"],
            cwd=tmp_path,
            env={"PYTHONPATH": "packaging"},
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.returncode, ran.stderr

    right = po.read_text("utf-8")
    po.write_text(f"nonsense\n{right}", "utf-8")
    status, printed = run()
    assert (status, printed.partition(" line 1:")[0]) == (65, f"cannot generate: {po.relative_to(tmp_path)},")
    po.write_text(right, "utf-8")
    page.write_text(page.read_text("utf-8").replace("- `region`", "- `regions`"), "utf-8")
    status, printed = run()
    assert status == 65
    assert printed.startswith(f"cannot generate: {page.relative_to(tmp_path)}, every setting:")
    assert "'region', 'regions'" in printed
