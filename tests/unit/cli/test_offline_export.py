"""The export of a stopped agent is read by the agent's own user, who changes nothing; it is what the running one gives."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.daemon.live_agent import Home, live_agent
from opanel_agent.cli import offline_export
from opanel_agent.core.errors import Storage
from opanel_agent.core.ledger import export
from opanel_agent.core.ledger.export import ExportFlawKind

NOBODY = 65534
WHO = ("/bin/sh", "-c", "id -u; id -g; id -G; pwd; env | cut -d= -f1 | sort | tr '\\n' ' '")


def tree(folder: Path) -> list[tuple[str, int, int]]:
    found = [(path, path.lstat()) for path in folder.rglob("*")]
    return sorted((str(path), seen.st_mtime_ns, seen.st_size) for path, seen in found)


def test_what_the_reader_says_is_the_export(tmp_path: Path) -> None:
    assert offline_export.export(tmp_path, (sys.executable, "-c", "print('all of it')")) == b"all of it\n"


@pytest.mark.parametrize(
    "reader", [("/bin/sh", "-c", "echo half; exit 70"), ("/bin/true",), ("/nowhere/opanel-agent",)]
)
def test_a_reader_that_fails_says_nothing_or_is_not_there_is_told(tmp_path: Path, reader: tuple[str, ...]) -> None:
    with pytest.raises(Storage, match="export_unread"):
        offline_export.export(tmp_path, reader)


def test_without_the_folder_there_is_nothing_to_export(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    for name in ("absent", "link", "file"):
        with pytest.raises(Storage, match="file_absent"):
            offline_export.export(tmp_path / name, WHO)


@pytest.mark.root
def test_for_root_the_owner_of_the_folder_reads(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    uid, gid, groups, place, names = offline_export.export(tmp_path, WHO).decode().splitlines()
    assert (uid, gid, groups, place) == (str(NOBODY), str(NOBODY), str(NOBODY), "/")
    assert "HOME" not in names


@pytest.fixture
def home() -> Iterator[Home]:
    with live_agent() as made:
        yield made


@pytest.mark.slow
def test_a_stopped_agent_exports_what_it_did_and_nothing_is_written(home: Home) -> None:
    license_file = home.file("license.jws", home.issued.text.encode())
    with home.daemon():
        assert home.type("license", "install", license_file).status == 0
        assert home.type("data", "export", "-o", "running.jsonl").status == 0
    before = tree(home.state)
    exported = home.type("data", "export", "-o", "stopped.jsonl")
    assert exported.status == 0, exported.err
    assert tree(home.state) == before
    data = (home.place / "stopped.jsonl").read_bytes()
    assert export.check(data, None).findings == ()
    assert data == (home.place / "running.jsonl").read_bytes()


@pytest.mark.slow
def test_a_stopped_agent_s_records_are_those_that_the_running_one_tells(home: Home) -> None:
    commands = (("data", "sent"), ("consent", "history", "-n", "0"))
    with home.daemon():
        assert home.type("license", "install", home.file("license.jws", home.issued.text.encode())).status == 0
        home.type("license", "activate")  # nobody answers: it may have left
        running = [home.type(*command, "--json").json["result"] for command in commands]
    before = tree(home.state)
    stopped = [home.type(*command, "--json").json for command in commands]
    assert running[0]["sent"]
    assert stopped[0]["result"]["sent"] == running[0]["sent"]
    assert stopped[1]["result"]["entries"] == running[1]["entries"]
    assert [[each["code"] for each in result["warnings"]] for result in stopped] == [["not_running"]] * 2
    (request_id,) = (each["id"] for each in running[0]["sent"])
    assert home.type("data", "sent", request_id).out.startswith(request_id)
    assert home.type("data", "sent", "usage-0123456789abcdef").status == 65
    assert tree(home.state) == before


@pytest.mark.slow
def test_an_agent_whose_root_is_gone_still_exports(home: Home) -> None:
    with home.daemon():
        pass
    home.settings.write_text("schema = 1\n")
    exported = home.type("data", "export", "-o", "stopped.jsonl")
    assert exported.status == 0, exported.err
    found = export.check((home.place / "stopped.jsonl").read_bytes(), None).findings
    assert {each.what for each in found} == {ExportFlawKind.ABSENT, ExportFlawKind.ROOT}
