"""README.md's first screen: its pictures, what it says of systems, and that the table of systems is what CI boots."""

import re
import struct
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from boot import host

ROOT: Final = Path(__file__).resolve().parents[3]
README: Final = (ROOT / "README.md").read_text("utf-8")
OPERATIONS: Final = (ROOT / "docs/operations.md").read_text("utf-8")
RUN: Final = (ROOT / "tests/run").read_text("utf-8")
PICTURES: Final = ROOT / "docs/pictures"
SVG: Final = "{http://www.w3.org/2000/svg}"
# The systems as people call them, by the name of the archive's suite that tests/boot makes a guest of.
NAMES: Final = {"bookworm": "Debian 12", "trixie": "Debian 13", "bullseye": "Debian 11", "noble": "Ubuntu 24.04"}
BOOTED: Final = "booted by every run of CI"
NOT_BOOTED: Final = ("never booted", "never run", "the agent itself never")
WITHOUT_SYSTEMD: Final = "a container without systemd"


def rows(text: str, heading: str) -> list[list[str]]:
    """The table of a section, without its heading."""
    part = re.search(rf"^## {heading}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    assert part, heading
    return [row.split(" | ") for row in re.findall(r"^\| (.*) \|$", part[1], re.MULTILINE)][2:]


TRIED: Final = {row[0]: (row[1], row[-1]) for row in rows(OPERATIONS, "Where it runs")}


def systems(cell: str) -> set[str]:
    return {each.strip() for each in cell.split(",")}


def test_the_systems_that_ci_boots_are_those_that_the_table_says() -> None:
    booted = {system: versions for system, (versions, tried) in TRIED.items() if tried.startswith(BOOTED)}
    assert booted.keys() == {NAMES[suite] for suite in host.ALL}
    for suite, python in host.SUITES.items():
        assert booted[NAMES[suite]].endswith(f", {python}")


def test_ci_boots_them_and_has_the_tests_on_debian_12_s_libraries() -> None:
    """`.ci/run` runs everything; what tests/run names a stage is what the table's first row says."""
    assert "exec tests/run --all" in (ROOT / ".ci/run").read_text("utf-8")
    (boot,) = re.findall(r"stage '([^']*booted systems[^']*)'", RUN)
    assert {NAMES[suite] for suite in host.ALL} == set(re.findall(r"Debian \d+", boot))
    assert """stage "tests on Debian 12's own libraries" suite debian""" in RUN
    assert "every test on its own libraries" in TRIED["Debian 12"][1]


def test_every_other_system_says_that_it_was_not_booted() -> None:
    for system, (_, tried) in TRIED.items():
        if not tried.startswith(BOOTED) and system != WITHOUT_SYSTEMD:
            assert any(words in tried for words in NOT_BOOTED), system


def test_the_front_page_says_the_same_of_each_system() -> None:
    first, others, container = rows(README, "Systems")
    assert systems(first[0]) == {NAMES[suite] for suite in host.ALL}
    assert first[1].startswith(BOOTED)
    assert systems(others[0]) == {
        each
        for system, (_, tried) in TRIED.items()
        if not tried.startswith(BOOTED) and system != WITHOUT_SYSTEMD
        for each in systems(system)
    }
    assert "never booted" in others[1]
    assert container[0] == WITHOUT_SYSTEMD


def test_it_answers_what_one_asks_first_on_its_first_screen() -> None:
    screen = "\n".join(README.splitlines()[:26])
    for question in ("For whom", "Where", "Cost", "Install", "See", "Undo", "License", "Try it"):
        assert f"| **{question}** | " in screen
    assert all(each.name in screen for each in PICTURES.iterdir())


def test_its_pictures_are_there_and_say_what_they_show() -> None:
    images = re.findall(r'<img src="([^"]+)" width="\d+" alt="([^"]{40,})">', README)
    assert len(images) == README.count("<img ") == 2
    assert all((ROOT / path).is_file() for path, _ in images)


def test_the_picture_of_the_processes_is_accessible_small_and_of_its_own() -> None:
    data = (PICTURES / "processes.svg").read_text("utf-8")
    assert len(data) < 8_000
    tree = ET.fromstring(data)  # noqa: S314 - a file of this repository
    assert tree.get("role") == "img"
    named = {tree.find(f"{SVG}{tag}").get("id"): tree.find(f"{SVG}{tag}").text for tag in ("title", "desc")}  # type: ignore[union-attr]
    assert (tree.get("aria-labelledby") or "").split() == list(named)
    assert all(named.values())
    for process in ("daemon", "evaluate", "fetch", "courier"):
        assert f">{process}</text>" in data
    assert "prefers-color-scheme: dark" in data
    assert "script" not in data
    assert re.findall(r"https?://[^\s\"]+", data) == ["http://www.w3.org/2000/svg"]


@pytest.mark.parametrize("name", ["settings-page.png"])
def test_the_picture_of_the_page_is_small(name: str) -> None:
    data = (PICTURES / name).read_bytes()
    assert len(data) <= 100_000
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    assert (width, depth, colour) == (820, 8, 3)  # with a palette
    assert 600 < height < 1600


def test_each_question_of_the_faq_has_a_short_answer() -> None:
    text = (ROOT / "docs/faq.md").read_text("utf-8")
    parts = re.split(r"^### (.*)$", re.sub(r"^## .*$", "", text, flags=re.MULTILINE), flags=re.MULTILINE)[1:]
    answers = dict(zip(parts[::2], parts[1::2], strict=True))
    assert len(answers) >= 25
    assert {question for question, answer in answers.items() if not 40 <= len(answer.strip()) <= 700} == set()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "Administrators",
        "Resellers",
        "Auditors and data-protection officers",
        "Panel developers",
    ]
