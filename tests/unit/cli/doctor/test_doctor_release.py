"""`doctor` has one check of the code: what was published, what differs, and what is no release at all."""

from pathlib import Path

import pytest

from fixtures.doctor_host import DoctorHost, doctor_host
from fixtures.installed.released_code import ReleasedCode, packaged
from opanel_agent.cli import release


@pytest.fixture
def laid(tmp_path: Path) -> ReleasedCode:
    root = tmp_path / "root"
    root.mkdir()
    return packaged(root)


def seen(host: DoctorHost, laid: ReleasedCode) -> tuple[str, str | None]:
    host.release = lambda world: release.check(world, laid.code)
    return host.checks()["release"]


def test_a_checkout_needs_no_check(tmp_path: Path) -> None:
    with doctor_host(tmp_path) as host:
        assert host.checks()["release"] == ("not_needed", "no_release")


def test_the_code_is_what_was_published_or_named_where_it_is_not(tmp_path: Path, laid: ReleasedCode) -> None:
    with doctor_host(tmp_path) as host:
        assert seen(host, laid) == ("ok", None)
        laid.write(laid.source, "#")
        assert seen(host, laid) == ("failed", "code_differs")
        text = " ".join(host.see().out.split())
        assert f"cannot vouch for {laid.named(laid.source)}" in text
        for number in range(20):
            laid.write(laid.modules / f"m{number}.py", "")
        assert "cannot vouch for 9 more files" in " ".join(host.see().out.split())
        assert str(laid.source.name) not in host.see("--report").out


def test_a_manifest_that_nobody_signed_is_a_failure(tmp_path: Path, laid: ReleasedCode) -> None:
    laid.write(laid.manifest, "a.b.c\n")
    with doctor_host(tmp_path) as host:
        assert seen(host, laid) == ("failed", "format_invalid")
