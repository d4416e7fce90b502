"""Chromium and the panel's page, once for each file."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.daemon.live_agent import powerless
from fixtures.web.browser import Browser, chromium
from fixtures.web.panel_page import PanelPage, served


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="module")
def page() -> Iterator[PanelPage]:
    """Its PHP is not root as far as the kernel is concerned, so that a mode counts."""
    with tempfile.TemporaryDirectory(prefix="page-") as place, served(Path(place), powerless()) as running:
        yield running
