"""Where a daemon of a test lives: a short path, since a socket's has 107 bytes."""

from pathlib import Path

import pytest


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "r"
