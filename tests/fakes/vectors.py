"""Public test vectors, read from beside the repository; a test that needs them skips where they are absent."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

VECTORS: Final = Path(__file__).resolve().parents[3] / "shared" / "vectors"


def vectors(name: str) -> Any:
    """The parsed JSON of one vector file."""
    path = VECTORS / name
    if not path.is_file():
        pytest.skip(f"public vectors are absent: {path}")
    return json.loads(path.read_text("utf-8"))
