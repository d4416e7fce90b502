"""What ships beside the code is read from there, and a fault in it is told as ours."""

from pathlib import Path

import pytest

from opanel_agent.core.errors import Bug
from opanel_agent.system.storage.resources import DATA, Resources, installed_notice, load_catalog


def test_the_data_is_the_packages() -> None:
    assert installed_notice() == Resources(DATA).installed_notice() == "2026-12-03"
    assert load_catalog() == Resources(DATA).catalog()
    assert set(load_catalog().sheets) == {path.stem for path in (DATA / "fields").iterdir()}


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(Bug) as caught:
        Resources(tmp_path).installed_notice()
    assert (caught.value.detail, caught.value.values) == ("data_missing", {"file": "current"})


def test_a_changed_declaration_is_told(tmp_path: Path) -> None:
    (tmp_path / "fields").mkdir()
    (tmp_path / "fields/p.toml").write_bytes(b"schema = 1\npurpose = 'q'\n")
    with pytest.raises(Bug) as caught:
        Resources(tmp_path).catalog().fields("p")
    assert (caught.value.detail, caught.value.values) == ("member_value", {"where": "p", "name": "purpose"})


def test_an_earlier_notice_is_found_beside_the_installed_one(tmp_path: Path) -> None:
    for version in ("2026-12-01", "2027-01-01"):
        (tmp_path / "notices" / version).mkdir(parents=True)
        (tmp_path / "notices" / version / "fields.json").write_text(version)
    (tmp_path / "notices/current").write_text("2027-01-01\n")
    assert Resources(tmp_path).notice_catalog() == b"2027-01-01"
    assert Resources(tmp_path).notice_catalog("2026-12-01") == b"2026-12-01"
