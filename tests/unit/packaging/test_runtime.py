"""packaging/runtime: what is pinned is used, and what must not be shipped is refused. That it runs: tests/boot/run."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "packaging"))
from runtime import assemble, sources  # found by that folder

ROOT = Path(__file__).resolve().parents[3]
CC = shutil.which("cc")
pytestmark = pytest.mark.once


def test_every_file_of_every_source_package_is_pinned() -> None:
    """Its description, upstream's archive and the distribution's own, whose patches are why it is taken."""
    _, pinned = sources.pinned()
    names = set(sources.hashes())
    assert {f"{sources.files_of(source)}.dsc" for source in pinned} <= names
    assert len(names) == 3 * len(pinned)
    assert all(len(digest) == 64 for digest in sources.hashes().values())


def test_a_version_s_epoch_is_in_no_file_name() -> None:
    assert sources.files_of({"name": "zlib", "version": "1:1.3-1"}) == "zlib_1.3-1"
    assert sources.files_of({"name": "openssl", "version": "3.5.7-1~deb13u2"}) == "openssl_3.5.7-1~deb13u2"


def test_a_file_that_is_missing_or_another_is_told(tmp_path: Path) -> None:
    lock = tmp_path / "sources.lock"
    digest = hashlib.sha256(b"as pinned").hexdigest()
    lock.write_text(f"# a comment\n{digest}  good\n{digest}  altered\n{digest}  missing\n")
    (tmp_path / "good").write_bytes(b"as pinned")
    (tmp_path / "altered").write_bytes(b"as pinned!")
    assert sources.wrong(tmp_path, lock) == ["altered", "missing"]


def test_every_patch_is_applied_but_those_that_are_named(tmp_path: Path) -> None:
    """A patch that is new to a version is applied, and one that is gone from it is noticed."""
    (tmp_path / "debian/patches").mkdir(parents=True)
    (tmp_path / "debian/patches/series").write_text(
        "# kept\nlayout.diff\n\n#off.diff\nCVE-1.patch # why\nCVE-2.patch\n"
    )
    assert sources.series(tmp_path, ["layout.diff"]) == ["CVE-1.patch", "CVE-2.patch"]
    with pytest.raises(sources.CannotError, match=r"cannot leave out gone\.diff"):
        sources.series(tmp_path, ["layout.diff", "gone.diff"])


def test_versions_are_compared_as_dpkg_does() -> None:
    if shutil.which("dpkg") is None:
        pytest.skip("dpkg is not here")
    assert sources.is_newer("3.5.7-1~deb13u3", "3.5.7-1~deb13u2")
    assert not sources.is_newer("3.5.7-1~deb13u2", "3.5.7-1")


def test_what_is_left_out_has_to_be_there(tmp_path: Path) -> None:
    for name in assemble.UNUSED:
        (tmp_path / name).mkdir() if "." not in name else (tmp_path / name).touch()
    (tmp_path / "ssl.py").touch()
    assemble.leave_out(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ssl.py"]
    with pytest.raises(FileNotFoundError):
        assemble.leave_out(tmp_path)


def test_what_wants_a_newer_libc_or_another_library_is_told(tmp_path: Path) -> None:
    if shutil.which("objdump") is None or CC is None:
        pytest.skip("neither objdump nor a compiler is here")
    (tmp_path / "main.c").write_text("int elsewhere(void);\nint main(void) { return elsewhere(); }\n")
    (tmp_path / "elsewhere.c").write_text("int elsewhere(void) { return 0; }\n")
    out = tmp_path / "out"
    out.mkdir()
    library = tmp_path / "libelsewhere.so"
    subprocess.run([CC, "-shared", "-fPIC", "-o", library, tmp_path / "elsewhere.c"], check=True)
    linked: list[str | Path] = [CC, "-o", out / "program", tmp_path / "main.c", f"-L{tmp_path}", "-lelsewhere"]
    subprocess.run(linked, check=True)
    assert "program wants libelsewhere.so" in list(assemble.too_new(out))
    shutil.copy(library, out)
    assert "program wants libelsewhere.so" not in list(assemble.too_new(out))
    assert any(each.startswith("program wants GLIBC_2.") for each in assemble.too_new(out, glibc_minor=1))


def test_what_names_the_machine_that_built_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "out/lib").mkdir(parents=True)
    (tmp_path / "out/lib/built.pyc").write_bytes(b"\0" + bytes(tmp_path / "making/x.py") + b"\0")
    (tmp_path / "out/lib/fixed.pyc").write_bytes(b"/opt/opanel-agent/env/x.py")
    assert list(assemble.naming_this_machine(tmp_path / "out", tmp_path)) == ["lib/built.pyc"]


def test_the_agent_is_not_laid_without_a_root_of_trust(tmp_path: Path) -> None:
    with pytest.raises(sources.CannotError, match="no root of trust"):
        assemble.lay_agent(tmp_path, ROOT / "agent/opanel_agent", tmp_path / "library")


def test_what_one_state_of_the_files_made_is_kept(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(place: Path) -> None:
        made.append(place)
        (place / "file").write_text("whole")

    deciding = tmp_path / "deciding"
    deciding.write_text("1")
    first = assemble.kept("thing", make, [deciding], tmp_path / "kept")
    assert (assemble.kept("thing", make, [deciding], tmp_path / "kept"), len(made)) == (first, 1)
    deciding.write_text("2")
    assert assemble.kept("thing", make, [deciding], tmp_path / "kept") != first
    assert (first / "file").read_text() == "whole"
    assert len([path for path in (tmp_path / "kept").iterdir() if path.is_dir()]) == 2
