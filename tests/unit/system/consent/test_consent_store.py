"""consent.toml and consent.d are read from the disk as they lie there; whatever is wrong with them is a "no"."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.memory_files import MemoryFiles
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.consent_file import ConsentReading, parse, parse_policy
from opanel_agent.core.consent.opt_outs import Signal, SignalKind
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.errors import Misconfigured, Storage
from opanel_agent.system.consent.consent_store import LocalConsents
from opanel_agent.system.storage.files import LocalFiles
from opanel_agent.system.storage.paths import Paths

PATHS = Paths(
    system=True, owner=0, config_dir=Path("/etc/opanel-agent"), state_dir=Path("/var"), runtime_dir=Path("/run")
)
GOOD = b"""schema = 1
notice = "2026-12-03"
do_not_track = false
[purposes.usage_statistics]
allow = true
"""
OPTED_OUT = GOOD.replace(b"do_not_track = false", b"do_not_track = true")
POLICY = b"schema = 1\n[purposes.crash_reports]\nallow = false\n"
UNREAD = Signal(kind=SignalKind.FILE, what="consent.toml", place="/etc/opanel-agent")


def read(files: MemoryFiles) -> ConsentReading:
    return LocalConsents(files, PATHS).read()


def laid(data: bytes = GOOD, **lay: object) -> MemoryFiles:
    files = MemoryFiles()
    files.put(PATHS.consent, data, **lay)  # type: ignore[arg-type]
    return files


def refusal(reading: ConsentReading) -> tuple[str, object, object]:
    """Of a consent.toml that is refused: nothing of it may count."""
    fault = reading.refused
    assert fault is not None
    assert reading.file is None
    assert fault.code is Reason.CONSENT_REFUSED
    return fault.detail, fault.values["file"], fault.values.get("line")


# ---- consent.toml


def test_no_file_is_no_answer_and_no_fault() -> None:
    assert read(MemoryFiles()) == ConsentReading(place="/etc/opanel-agent/consent.toml")


def test_a_good_file_is_read_anew_each_time() -> None:
    files = laid()
    consents = LocalConsents(files, PATHS)
    assert consents.read() == ConsentReading(place="/etc/opanel-agent/consent.toml", file=parse(GOOD))
    files.put(PATHS.consent, GOOD.replace(b"allow = true", b"allow = false"))
    file = consents.read().file
    assert file is not None
    assert not file.purposes[Purpose.USAGE_STATISTICS].allow


@pytest.mark.parametrize(
    ("lay", "detail"),
    [
        ({"owner": 1000}, "file_owner"),
        ({"mode": 0o664}, "file_writable"),
        ({"mode": 0o646}, "file_writable"),
        ({"kind": "link"}, "file_type"),
        ({"kind": "fifo"}, "file_type"),
        ({"kind": "dir"}, "file_type"),
        ({"data": GOOD + b"#" * 64 * 1024}, "file_size"),
    ],
)
def test_a_file_that_is_not_the_owners_alone_is_refused(lay: dict[str, object], detail: str) -> None:
    assert refusal(read(laid(**lay))) == (detail, "/etc/opanel-agent/consent.toml", None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "detail", "line"),
    [
        (b"", "toml_schema", 1),
        (GOOD.replace(b"schema = 1", b"schema = 2"), "toml_schema", 1),
        (GOOD + b"x = 1\n", "toml_unknown", 6),
        (GOOD + b"# \xfc\n", "toml_utf8", 6),
        (GOOD + b"x\n", "toml_syntax", 6),
        (GOOD.replace(b"allow = true", b'allow = "true"'), "toml_type", 5),
        (GOOD.replace(b"allow = true", b"allow = 1"), "toml_type", 5),
    ],
)
def test_a_fault_within_names_file_and_line(data: bytes, detail: str, line: int) -> None:
    assert refusal(read(laid(data))) == (detail, "/etc/opanel-agent/consent.toml", line)


def test_exactly_64_kib_are_read() -> None:
    assert read(laid(GOOD + b"#" * (64 * 1024 - len(GOOD)))).refused is None


def test_an_unreadable_file_is_refused() -> None:
    def fault(name: str, path: Path) -> None:
        if path == PATHS.consent:
            raise Storage(Fault.NO_PERMISSION, "read_failed", file=str(path), errno="EACCES")

    reading = read(MemoryFiles(fault=fault))
    assert refusal(reading) == ("read_failed", "/etc/opanel-agent/consent.toml", None)
    assert reading.in_doubt == (UNREAD,)


# ---- consent.d


def policies(**laid: bytes) -> MemoryFiles:
    files = MemoryFiles()
    files.put(PATHS.consent, GOOD)
    for name, data in laid.items():
        files.put(PATHS.consent_dir / f"{name}.toml", data)
    return files


def test_policies_are_read_in_the_order_of_their_names() -> None:
    files = policies(b=POLICY, a=b"schema = 1\ndo_not_track = true\n")
    files.put(PATHS.consent_dir / "README", b"no TOML")
    files.put(PATHS.consent_dir / "c.toml.bak", b"no TOML")
    a, b = "/etc/opanel-agent/consent.d/a.toml", "/etc/opanel-agent/consent.d/b.toml"
    assert read(files) == ConsentReading(
        place="/etc/opanel-agent/consent.toml",
        file=parse(GOOD),
        policies=(parse_policy(b"schema = 1\ndo_not_track = true\n", a), parse_policy(POLICY, b)),
    )


def test_a_faulty_policy_is_told_and_takes_nothing_back_from_the_others() -> None:
    files = policies(a=POLICY, b=POLICY.replace(b"false", b"true"), c=b"schema = 1\ndo_not_track = true\n")
    files.put(PATHS.consent_dir / "d.toml", POLICY, owner=1000)
    reading = read(files)
    assert [policy.place[-6:] for policy in reading.policies] == ["a.toml", "c.toml"]
    assert [(fault.detail, fault.values) for fault in reading.policies_refused] == [
        (
            "consent_policy_grants",
            {"file": "/etc/opanel-agent/consent.d/b.toml", "name": "purposes.crash_reports.allow", "line": 3},
        ),
        ("file_owner", {"file": "/etc/opanel-agent/consent.d/d.toml"}),
    ]
    assert all(fault.code is Reason.CONSENT_REFUSED for fault in reading.policies_refused)
    assert (reading.refused, reading.file) == (None, parse(GOOD))


def test_policies_count_without_a_consent_file() -> None:
    files = policies(a=POLICY)
    files.take_away(PATHS.consent)
    reading = read(files)
    assert (reading.file, reading.refused, len(reading.policies)) == (None, None, 1)


def test_a_directory_that_cannot_be_listed_is_a_fault() -> None:
    def fault(name: str, path: Path) -> None:
        if path == PATHS.consent_dir:
            raise Storage(Fault.NO_PERMISSION, "read_failed", file=str(path), errno="EACCES")

    files = MemoryFiles(fault=fault)
    files.put(PATHS.consent, GOOD)
    reading = read(files)
    (told,) = reading.policies_refused
    assert (told.detail, told.values["file"]) == ("read_failed", "/etc/opanel-agent/consent.d")
    assert reading.in_doubt == (Signal(kind=SignalKind.FILE, what="consent.d", place="/etc/opanel-agent"),)


def test_a_policy_that_goes_while_it_is_read_is_none() -> None:
    class Going(MemoryFiles):
        def names(self, directory: Path) -> tuple[str, ...]:
            return ("gone.toml",)

    assert read(Going()) == ConsentReading(place="/etc/opanel-agent/consent.toml")


# ---- a refused file must not lose a "no"


@pytest.mark.parametrize("lay", [{"owner": 1000}, {"mode": 0o666}, {"kind": "link"}])
def test_an_opt_out_counts_whoever_wrote_it(lay: dict[str, object]) -> None:
    said = Signal(kind=SignalKind.SETTING, what="do_not_track", place="/etc/opanel-agent/consent.toml", line=3)
    assert list(read(laid(OPTED_OUT, **lay)).signals()) == [said]
    assert list(read(laid(GOOD, **lay)).signals()) == []


def test_an_opt_out_beside_a_typing_error_counts() -> None:
    (said,) = read(laid(OPTED_OUT + b"x = 1\n")).signals()
    assert (said.what, said.line) == ("do_not_track", 3)
    files = policies(a=b"schema = 1\ndo_not_track = true\nx = 1\n")
    (said,) = read(files).signals()
    assert (said.place, said.line) == ("/etc/opanel-agent/consent.d/a.toml", 2)


@pytest.mark.parametrize(
    "lay", [{"kind": "fifo"}, {"kind": "dir"}, {"data": b"#" * 70_000}, {"data": b"", "kind": "link"}]
)
def test_what_cannot_be_read_may_say_it(lay: dict[str, object]) -> None:
    assert list(read(laid(**lay)).signals()) == [UNREAD]  # type: ignore[arg-type]


# ---- on a real disk


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "above" / "opanel-agent"
    directory.mkdir(parents=True, mode=0o755)
    (directory / "consent.toml").write_bytes(GOOD)
    (directory / "consent.toml").chmod(0o644)
    return directory


def on_disk(home: Path, *, owner: int | None = None) -> ConsentReading:
    paths = Paths(
        system=False,
        owner=os.geteuid() if owner is None else owner,
        config_dir=home,
        state_dir=home,
        runtime_dir=home,
    )
    return LocalConsents(LocalFiles(), paths).read()


def test_a_good_file_on_a_disk_is_read(home: Path) -> None:
    (home / "consent.d").mkdir()
    (home / "consent.d" / "fleet.toml").write_bytes(POLICY)
    (home / "consent.d" / "fleet.toml").chmod(0o644)
    reading = on_disk(home)
    assert (reading.file, reading.faults()) == (parse(GOOD), ())
    assert reading.policies == (parse_policy(POLICY, str(home / "consent.d" / "fleet.toml")),)


def test_no_directory_is_no_answer(tmp_path: Path) -> None:
    assert on_disk(tmp_path / "none") == ConsentReading(place=str(tmp_path / "none" / "consent.toml"))


def link(path: Path) -> None:
    path.rename(path.with_name("target"))
    path.symlink_to("target")


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "detail", "at"),
    [
        (lambda path: path.chmod(0o664), "file_writable", "consent.toml"),
        (lambda path: path.chmod(0o646), "file_writable", "consent.toml"),
        (lambda path: path.parent.chmod(0o775), "file_writable", ""),
        (lambda path: path.parent.chmod(0o757), "file_writable", ""),
        (lambda path: path.parent.parent.chmod(0o777), "file_writable", ".."),
        (link, "file_type", "consent.toml"),
        (dangling, "file_type", "consent.toml"),
        (fifo, "file_type", "consent.toml"),
        (directory, "file_type", "consent.toml"),
        (lambda path: path.write_bytes(GOOD + b"#" * 64 * 1024), "file_size", "consent.toml"),
        (lambda path: path.write_bytes(b"\xff"), "toml_utf8", "consent.toml"),
        (lambda path: path.write_bytes(GOOD + b"x = 1"), "toml_unknown", "consent.toml"),
    ],
)
def test_what_is_wrong_on_a_disk_is_told_with_its_place(
    home: Path, spoil: Callable[[Path], object], detail: str, at: str
) -> None:
    spoil(home / "consent.toml")
    told, file, _ = refusal(on_disk(home))
    assert (told, file) == (detail, str((home / at).resolve() if at != "consent.toml" else home / at))


def test_another_owner_s_file_is_refused(home: Path) -> None:
    assert refusal(on_disk(home, owner=os.geteuid() + 1))[0] == "file_owner"


def test_a_fifo_that_others_write_to_is_not_waited_for(home: Path) -> None:
    (home / "consent.d").mkdir()
    os.mkfifo(home / "consent.d" / "a.toml")
    writer = os.open(home / "consent.d" / "a.toml", os.O_RDWR | os.O_NONBLOCK)
    try:
        (told,) = on_disk(home).policies_refused
    finally:
        os.close(writer)
    assert told.detail == "file_type"


def test_an_unreadable_file_on_a_disk_is_refused(home: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (home / "consent.toml").chmod(0)
    assert refusal(on_disk(home))[0] == "read_failed"


def test_a_policy_directory_that_is_none_is_a_fault(home: Path) -> None:
    (home / "consent.d").write_bytes(b"")
    (told,) = on_disk(home).policies_refused
    assert isinstance(told, Misconfigured)
    assert (told.code, told.detail) == (Reason.CONSENT_REFUSED, "read_failed")
