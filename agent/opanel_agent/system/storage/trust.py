"""Loads the roots of trust: the first one, and the newest that can be walked to from it.

The first root ships in the package, or a private authority's is named by `trust_root` in the settings (owner as for
them). The state keeps every root since and they are walked from the first at each load: the file alone is never trusted.
"""

from pathlib import Path
from typing import Final

import opanel_agent
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents import root as root_document
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import Misconfigured, Untrusted
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths
from opanel_agent.system.storage.settings import Settings

PACKAGED: Final = Path(opanel_agent.__file__).parent / "data" / "trust" / "root.jws"
MAX_ROOT_BYTES: Final = 64 * 1024
MAX_ROOTS_BYTES: Final = 512 * 1024


def first_root(files: Files, paths: Paths, settings: Settings) -> Root:
    """Raises Misconfigured where there is none, or where the one named is not a root."""
    path = settings.trust_root or PACKAGED
    text = files.read(path, max_bytes=MAX_ROOT_BYTES, owners=paths.owners | {0})
    if text is None:
        raise Misconfigured(Reason.SETTINGS_REFUSED, "root_absent", file=str(path))
    try:
        return root_document.first(text)
    except Untrusted as refused:
        raise Misconfigured(Reason.SETTINGS_REFUSED, "root_refused", file=str(path), rule=refused.detail) from refused


def every_root(files: Files, paths: Paths, first: Root) -> tuple[Root, ...]:
    """All that were ever walked, oldest first: what one of them vouched for was good then."""
    text = files.read(paths.roots, max_bytes=MAX_ROOTS_BYTES)
    return (first,) if text is None else (first, *root_document.steps(first, text))


def newest_root(files: Files, paths: Paths, first: Root) -> Root:
    """The last root that the state's file leads to; the first where the file is absent. Raises Untrusted."""
    text = files.read(paths.roots, max_bytes=MAX_ROOTS_BYTES)
    return first if text is None else root_document.walk(first, text)
