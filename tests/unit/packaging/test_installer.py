"""packaging/installer, part by part: what it takes for a key, what it refuses, when a version died."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "packaging"))
from installer import checks, environment, options, trial  # noqa: E402 - found by that folder
from installer.texts import CannotError  # noqa: E402

KEY = "AB12-CD34-EF56-GH78-JK90-MN12"


def test_a_license_is_a_document_a_key_or_a_file_that_holds_a_key(tmp_path: Path) -> None:
    document, key = tmp_path / "license.jws", tmp_path / "key"
    document.write_text("eyJhbGciOiJFZERTQSJ9.e30.c2ln\n" * 9, "ascii")
    key.write_text(f" {KEY}\r\n", "ascii")
    assert options.of_license(str(document)) == (document, None)
    assert options.of_license(str(key)) == (None, str(key))
    assert options.of_license(KEY) == (None, KEY)
    assert options.of_license(None) == (None, None)
    for wrong in ("no such file", "", "AB12", "x" * 49):
        with pytest.raises(CannotError, match="license"):
            options.of_license(wrong)


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--keep"], "--keep"),
        (["--uninstall", "--no-export"], "--no-export"),
        (["--purge"], "--purge"),
        (["--demo", "--uninstall"], "--uninstall"),
        (["--demo", "--dry-run"], "--dry-run"),
        (["--uninstall", "--wheels", "x"], "--wheels"),
        (["--demo", "--preseed", "x"], "--preseed"),
    ],
)
def test_options_of_another_use_are_refused_by_name(words: list[str], option: str) -> None:
    with pytest.raises(CannotError) as refusal:
        options.check(options.parse(words))
    assert (refusal.value.code, refusal.value.values, refusal.value.status) == ("together", (option,), 64)


def test_options_that_go_together_pass_and_an_empty_value_is_none() -> None:
    for words in (["--uninstall", "--purge", "--no-export"], ["--demo", "--keep"], ["--wheels", "x", "--preseed", ""]):
        options.check(options.parse(words))
    assert options.parse(["--wheels", ""]).wheels is None


@pytest.mark.parametrize(
    ("version", "here"), [("0.9.10", "0.10.0"), ("1.0", "1.0.1"), ("1.2.3", "10.0"), ("0.1.0-rc1", "0.1.1")]
)
def test_an_older_version_is_refused_by_its_numbers(version: str, here: str) -> None:
    with pytest.raises(CannotError, match="downgrade"):
        checks.not_older(version, here)
    checks.not_older(here, version)
    checks.not_older(version, version)
    checks.not_older(version, "")


def test_free_space_and_inodes_are_those_of_the_folder_that_exists(tmp_path: Path) -> None:
    missing = tmp_path / "not/yet/there"
    assert checks.nearest(missing) == tmp_path
    assert checks.has_free(missing, 0)
    assert not checks.has_free(missing, 10**12)
    if os.statvfs(tmp_path).f_files:
        assert not checks.has_free(missing, 0, 10**18)


def test_a_clock_before_the_day_of_the_package_is_refused() -> None:
    checks.clock("2026-11-24")
    with pytest.raises(CannotError) as refusal:
        checks.clock("9999-12-31")
    assert refusal.value.code == "clock"


@pytest.mark.parametrize(
    ("shown", "died"),
    [
        ("NRestarts=0\nActiveState=active", False),
        ("NRestarts=0\nActiveState=inactive", False),  # stopped by a person
        ("NRestarts=1\nActiveState=active", True),
        ("NRestarts=0\nActiveState=failed", True),
        ("", False),
    ],
)
def test_a_version_died_when_systemd_started_it_again_or_gave_it_up(
    shown: str, died: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\ncat <<END\n{shown}\nEND\n", "ascii")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert trial.died(0) is died


def test_trees_are_the_same_by_names_bytes_and_links(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        (folder / "a/__pycache__").mkdir(parents=True)
        (folder / "a/code.py").write_text("1", "ascii")
        (folder / "lib").symlink_to("a")
    (second / "a/__pycache__/code.pyc").write_text("x", "ascii")
    assert environment.is_same_tree(first, second, ignored={"__pycache__"})
    for change in (
        lambda: (second / "a/code.py").write_text("2", "ascii"),
        lambda: (second / "a/more.py").write_text("", "ascii"),
        (second / "lib").unlink,
    ):
        change()
        assert not environment.is_same_tree(first, second, ignored={"__pycache__"})
        (second / "a/code.py").write_text("1", "ascii")
        (second / "a/more.py").unlink(missing_ok=True)


def test_what_is_packed_is_known_by_every_byte_and_link(tmp_path: Path) -> None:
    """And packed again it is the same, so that a second run changes nothing."""
    runtime, archive = tmp_path / "env", tmp_path / "runtime.tar.gz"
    (runtime / "bin").mkdir(parents=True)
    (runtime / "bin/python3.13").write_bytes(b"\x7fELF" * 1000)
    (runtime / "bin/python").symlink_to("python3.13")
    assert not environment.is_packed(runtime, archive)
    archive.write_bytes(environment.pack(runtime))
    assert environment.is_packed(runtime, archive)
    assert environment.pack(runtime) == archive.read_bytes()
    packed = archive.read_bytes()
    for end in (0, 10, len(packed) // 2, len(packed) - 1):
        archive.write_bytes(packed[:end])
        assert not environment.is_packed(runtime, archive)
    archive.write_bytes(packed)
    (runtime / "bin/python3.13").write_bytes(b"\x7fELF" * 999)
    assert not environment.is_packed(runtime, archive)
    (runtime / "bin/python3.13").write_bytes(b"\x7fELF" * 1000)
    (runtime / "bin/python").unlink()
    assert not environment.is_packed(runtime, archive)


@pytest.mark.root
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_what_is_written_survives_a_power_cut(tmp_path: Path) -> None:
    """By name and content: else the record of an upgrade could be gone, and what it records already replaced."""
    program = (
        "from pathlib import Path; from installer.place import link, write; write(Path('a'), ''); link(Path('b'), 'a')"
    )
    traced = ["strace", "-qq", "-y", "-o", str(tmp_path / "calls"), "-e", "trace=fsync,rename,renameat,renameat2"]
    subprocess.run(
        [*traced, sys.executable, "-B", "-c", program],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "packaging")},
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
    calls = re.findall(r"^(rename|fsync\(\d+<.*>)", (tmp_path / "calls").read_text(), re.MULTILINE)
    seen = [call.partition("<")[2].rstrip(">") or call for call in calls]
    assert seen == [f"{tmp_path}/a.opanel-new", "rename", str(tmp_path), "rename", str(tmp_path)]
