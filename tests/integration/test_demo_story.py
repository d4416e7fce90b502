"""The demo's story with real processes, told to its end; stopped in the middle it leaves nothing behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.log_scan import LOGS

DEMO = Path(__file__).parents[2] / "packaging" / "demo.py"
pytestmark = pytest.mark.slow


@pytest.fixture
def place() -> Iterator[Path]:
    """Short, because the addresses of sockets are."""
    with tempfile.TemporaryDirectory(prefix="story-") as directory:
        yield Path(directory)


def start(place: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "DO_NOT"))}
    return subprocess.Popen(
        [sys.executable, "-I", str(DEMO), *arguments],
        env={**environment, "TMPDIR": str(place)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def left_over(place: Path) -> list[str]:
    """What still runs with a path of the story's folder in its command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if str(place).encode() in environment and int(process.name) != os.getpid() and command:
            found.append(command)
    return found


@pytest.mark.parametrize("lang", ["tr", "en"])
def test_it_is_told_to_its_end_and_nothing_stays(place: Path, lang: str) -> None:
    process = start(place, "--lang", lang)
    printed, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, printed
    for expected in {
        "tr": ("etkin, opanel, paket", "api:billing", "violations  0", "ek süre", "Hiçbir istek", "kanıtlandı"),
        "en": ("active, opanel, tier", "api:billing", "violations  0", "grace period", "unreachable_tcp", "proven"),
    }[lang]:
        assert expected.lower() in printed.lower(), expected
    assert list(place.iterdir()) == []
    assert left_over(place) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_it_leaves_no_process_and_no_file(place: Path, number: int) -> None:
    process = start(place, "--lang", "en")
    assert process.stdout is not None
    for line in process.stdout:
        if "opanel-agent status" in line:
            break
    os.killpg(process.pid, number)
    process.communicate(timeout=300)
    assert process.returncode == 130
    assert list(place.iterdir()) == []
    assert left_over(place) == []


def test_kept_it_goes_on_and_says_how_to_stop_it(place: Path) -> None:
    process = start(place, "--lang", "en", "--keep")
    printed, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, printed
    try:
        stop = next(line.strip() for line in printed.splitlines() if line.strip().startswith("kill "))
        exports = [line.strip() for line in printed.splitlines() if line.strip().startswith("export ")]
        status = subprocess.run(
            ["/bin/sh", "-c", "; ".join([*exports, "opanel-agent status --check"])],
            capture_output=True,
            text=True,
            check=False,
        )
        assert status.returncode in {0, 1}, status
        for erasure in place.rglob("erasure/*"):
            LOGS.plant_secret(erasure.read_bytes(), "what a report is erased by")
        logged = [log.read_bytes() for log in sorted(place.rglob("*.log"))]
        assert all(logged)
        LOGS.keep("the demo's programs", b"".join(logged), sinks=len(logged))
    finally:
        subprocess.run(["/bin/sh", "-c", stop], check=True)
    ends_at = time.monotonic() + 20
    while left_over(place) and time.monotonic() < ends_at:
        time.sleep(0.1)
    assert left_over(place) == []
    assert list(place.iterdir()) == []
