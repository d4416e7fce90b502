"""`prove-silence` says whether the code that was proven is the code that was published, or why that cannot be said."""

import io
from pathlib import Path

import pytest

from fixtures.command_line import Terminal
from fixtures.installed.released_code import packaged
from opanel_agent.cli import silence
from opanel_agent.cli.display.output import Console
from opanel_agent.core.units import LANGUAGES, Language


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_code_that_was_proven(tmp_path: Path, lang: Language) -> None:
    root, folder = tmp_path / "root", tmp_path / "user"
    root.mkdir()
    folder.mkdir()
    laid = packaged(root)
    terminal = Terminal(folder=folder, lang=lang)
    terminal.trust()
    world = terminal.world(Console(out=io.StringIO(), err=io.StringIO()))
    same = silence._published(world, laid.code)
    assert (same[:2], "0.1.0" in same[2]) == ((True, None), True)
    laid.write(laid.source, "#")
    differs = silence._published(world, laid.code)
    assert (differs[:2], "verify-install" in differs[2]) == ((False, "code_differs"), True)
    laid.manifest.unlink()
    unknown = silence._published(world, laid.code)
    assert (unknown[:2], "release.jws" in unknown[2]) == ((None, "no_release"), True)
    checkout = silence._published(world)
    assert checkout[:2] == (None, "no_release")
    assert len({same[2], differs[2], unknown[2], checkout[2]}) == 4
