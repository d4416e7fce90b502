"""Loads the roots of trust: the first one, and the newest that can be walked to from it.

The first root ships in the package, or a private authority's is named by `trust_root` in the settings (owner as for
them). The state keeps every root since and they are walked from the first at each load: the file alone is never trusted.

Evaluate lays a copy where fetch and courier read it, so that they follow when mirrors or endpoints change. They walk it from
the first root, too: whoever writes that file without the root's keys can at most withhold an address. A state whose own
roots are lost, damaged or older begins anew from the copy.
"""

from pathlib import Path
from typing import Final

import opanel_agent
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents import root as root_document
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import AgentError, Misconfigured, Untrusted
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths
from opanel_agent.system.storage.settings import Settings

PACKAGED: Final = Path(opanel_agent.__file__).parent / "data" / "trust" / "root.jws"
MAX_ROOT_BYTES: Final = 64 * 1024
MAX_ROOTS_BYTES: Final = 512 * 1024
_READABLE: Final = 0o644
_DIRECTORY: Final = 0o755


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
    """Returns all that were ever walked, oldest first: what one of them vouched for was good then."""
    text = files.read(paths.roots, max_bytes=MAX_ROOTS_BYTES)
    return (first,) if text is None else (first, *root_document.steps(first, text))


def newest_root(files: Files, paths: Paths, first: Root) -> Root:
    """Returns the last root that the state's file leads to; the first where the file is absent. Raises Untrusted."""
    text = files.read(paths.roots, max_bytes=MAX_ROOTS_BYTES)
    return first if text is None else root_document.walk(first, text)


def walk_copy(files: Files, paths: Paths, first: Root) -> tuple[Root, bytes] | None:
    """Returns the newest root that the copy leads to, and the copy; None where there is none that follows from `first`."""
    try:
        text = files.read(paths.shared_roots, max_bytes=MAX_ROOTS_BYTES)
        return None if text is None else (root_document.walk(first, text), text)
    except AgentError:
        return None  # `copy_roots` makes it anew


def copy_roots(files: Files, paths: Paths, first: Root, newest: Root) -> None:
    """Makes the copy lead to the newest root, as the state's roots do; none is left that leads nowhere.

    One that leads there already stays, also where the state's own could not be written. Raises Storage, and Misconfigured
    for what is no file of ours.
    """
    text = files.read(paths.shared_roots, max_bytes=MAX_ROOTS_BYTES)
    copied = None if text is None else walk_copy(files, paths, first)
    if copied is not None and copied[0].seq >= newest.seq:
        return
    own = None if newest.seq == first.seq else files.read(paths.roots, max_bytes=MAX_ROOTS_BYTES)
    if own is None:
        files.remove(paths.shared_roots)
        return
    files.make_dir(paths.shared_roots.parent, mode=_DIRECTORY)
    files.write(paths.shared_roots, own, mode=_READABLE)


def shared_root(files: Files, paths: Paths, settings: Settings) -> Root:
    """Returns the newest root as fetch and courier know it: the last of the copy, the first root where there is none.

    Raises Misconfigured as `first_root` does, Untrusted for a copy that does not follow from it.
    """
    first = first_root(files, paths, settings)
    text = files.read(paths.shared_roots, max_bytes=MAX_ROOTS_BYTES)
    return first if text is None else root_document.walk(first, text)
