"""A living agent's socket and each of the libraries that ask it, one language at a time."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.web.panel import LANGUAGES, Panel, Program, installed, started


@pytest.fixture(scope="module", params=sorted(LANGUAGES))
def program(request: pytest.FixtureRequest) -> Iterator[Program]:
    with started(installed(LANGUAGES[request.param])) as running_program:
        yield running_program


@pytest.fixture
def panel(program: Program) -> Iterator[Panel]:
    with tempfile.TemporaryDirectory(prefix="panel-") as folder:
        yield Panel(program=program, folder=Path(folder))
