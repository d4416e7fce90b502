"""Proves what counts as a difference between what is installed and what was published."""

import pytest

from fixtures import signing
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Misconfigured
from opanel_agent.core.release import comparison, manifest
from opanel_agent.core.release.comparison import COMPILED, COMPILED_OTHERWISE, CodeDifference, DifferenceKind

KIND = DifferenceKind


def test_paths_of_a_layout_are_absolute_and_links_are_told_from_files() -> None:
    layout = manifest.verify(signing.release(), signing.trusted_root()).layouts["installer"]
    wanted = comparison.expected(layout, "/opt/x/site-packages")
    claims = signing.layout()
    assert wanted == {
        "/opt/x/site-packages/opanel_agent/__init__.py": claims["files"]["modules/opanel_agent/__init__.py"],
        "/etc/systemd/system/opanel-agent.service": claims["files"]["/etc/systemd/system/opanel-agent.service"],
        "/opt/opanel-agent/packaging/agent.lock": claims["files"]["/opt/opanel-agent/packaging/agent.lock"],
        "/usr/local/bin/opanel-agent": "link:/opt/opanel-agent/bin/opanel-agent",
    }
    assert comparison.absolute("modules", "/opt/x") == "/opt/x"
    assert (
        comparison.absolute("env/bin/python", "/opt/x/env-2/lib/python3.13/site-packages") == "/opt/x/env-2/bin/python"
    )


@pytest.mark.parametrize(
    ("wanted", "seen", "kind"),
    [
        ("aa", "aa", None),
        ("aa", "bb", KIND.ALTERED),
        ("aa", "link:aa", KIND.ALTERED),
        ("link:x", "link:y", KIND.ALTERED),
        ("aa", "folder", KIND.ALTERED),
        ("aa", COMPILED, KIND.ALTERED),
        ("aa", None, KIND.MISSING),
        (None, "aa", KIND.EXTRA),
        (None, "link:x", KIND.EXTRA),
        (None, COMPILED, None),
        (None, COMPILED_OTHERWISE, KIND.COMPILED),
    ],
)
def test_what_a_difference_is(wanted: str | None, seen: str | None, kind: DifferenceKind | None) -> None:
    found = comparison.differences(
        {} if wanted is None else {"/p": wanted}, {} if seen is None else {"/p": seen}, foreign=(), again="dnf"
    )
    assert found == (() if kind is None else (CodeDifference(path="/p", kind=kind, again="dnf"),))


def test_differences_are_in_order_and_each_has_its_own_sentence() -> None:
    found = comparison.differences({"/c": "1", "/a": "1"}, {"/b": "2", "/a": "2"}, foreign=("/d",), again="dnf")
    assert [(each.path, each.kind) for each in found] == [
        ("/a", KIND.ALTERED),
        ("/b", KIND.EXTRA),
        ("/c", KIND.MISSING),
        ("/d", KIND.FOREIGN),
    ]
    details = {kind: CodeDifference(path="/p", kind=kind, again="dnf").error for kind in KIND}
    assert {kind: error.detail for kind, error in details.items()} == {kind: f"code_{kind}" for kind in KIND}
    assert {(error.code, error.values["file"]) for error in details.values()} == {(Fault.CODE_DIFFERS, "/p")}


def test_a_layout_is_known_by_where_the_modules_lie() -> None:
    layouts = {
        "deb": signing.layout(place="/usr/lib/opanel-agent/env"),
        "installer": signing.layout(),
        "self-contained": signing.layout(place="/opt/opanel-agent/env/lib"),
        "tar": signing.layout(place="/opt/opanel-agent/env-runtime-"),
    }
    read = manifest.verify(signing.release(layouts=layouts), signing.trusted_root())
    for modules, name in (
        ("/usr/lib/opanel-agent/env/lib/python3/site-packages", "deb"),
        ("/opt/opanel-agent/env-0.1.0-2/lib/python3.13/site-packages", "installer"),
        ("/opt/opanel-agent/env/lib/python3.13/site-packages", "self-contained"),
        ("/opt/opanel-agent/env-runtime-0.1.0-1/lib/python3.13/site-packages", "tar"),
    ):
        assert comparison.layout_for(read, modules, version="0.1.0", again="dnf") is read.layouts[name]
    with pytest.raises(Misconfigured, match="release_layout"):
        comparison.layout_for(read, "/home/x", version="0.1.0", again="dnf")
    with pytest.raises(Misconfigured, match="release_version"):
        comparison.layout_for(read, "/usr/lib/opanel-agent/env", version="0.1.1", again="dnf")


@pytest.mark.parametrize(
    ("path", "carried"),
    [
        ("/opt/opanel-agent/env/bin/python3.13", True),
        ("/opt/opanel-agent/env/bin/python3.13-config", False),
        ("modules/bin/python", False),
    ],
)
def test_an_interpreter_of_the_release_s_own_is_a_file_of_it(path: str, *, carried: bool) -> None:
    """A link is to the system's, which the release says nothing of."""
    files = {**signing.layout()["files"], path: "0" * 64}
    links = {"/opt/opanel-agent/env/bin/python3.11": "/usr/bin/python3.11"}
    layouts = {"other": signing.layout(files=files, links=links)}
    read = manifest.verify(signing.release(layouts=layouts), signing.trusted_root())
    assert read.layouts["other"].carries_interpreter is carried
