"""The lock files pin, with a hash, everything that the distributions ask for, and name no place they came from."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "packaging"))
from generators import lock  # noqa: E402 - found by that folder

HASH = "0" * 64
TEXT = (
    f"# a comment\nh11==0.16.0 \\\n    --hash=sha256:{HASH}\ntomli-w==1.2.0 ; os == 'x' \\\n    --hash=sha256:{HASH}\n"
)


def test_the_locks_hold_what_the_distributions_ask_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert not lock.check()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("name", "least"), [("agent.lock", 6), ("build.lock", 1), ("demo.lock", 6)])
def test_a_lock_names_no_place_and_pins_every_line(name: str, least: int) -> None:
    text = (ROOT / "packaging" / name).read_text(encoding="utf-8")
    assert not re.search(r"://|--index|--find-links|@ ", text)
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(lines) == len(lock.pinned(text)) >= least


@pytest.mark.parametrize("requirement", ["h11", "h11>=0.14", "H11>=0.16.0", "tomli_w>=1.0"])
def test_a_pinned_requirement_is_found(requirement: str) -> None:
    assert lock.missing("x.lock", [requirement], TEXT) == []


@pytest.mark.parametrize(
    ("requirement", "text"),
    [
        ("httpx>=0.23.3", TEXT),
        ("h11>=0.17", TEXT),
        ("h11>=0.16.1", TEXT),
        ("h11", "h11==0.16.0\n"),
        ("h11", f"h11>=0.16.0 \\\n    --hash=sha256:{HASH}\n"),
        ("h11", "h11==0.16.0 \\\n    --hash=sha256:00\n"),
    ],
)
def test_what_is_not_pinned_with_a_hash_is_told(requirement: str, text: str) -> None:
    assert len(lock.missing("x.lock", [requirement], text)) == 1
