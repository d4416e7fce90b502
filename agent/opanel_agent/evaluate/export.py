"""Gathers what belongs in an export from this machine's disk, for `core.ledger.export` to write down.

Everything that proves, and nothing that opens: the activation key, the secrets in erasure/ and the license documents stay
here; of the last, and of rights requests (which reveal such secrets), the file has the digests. A file that cannot be read
any more ends the export: half a proof is none.

The same state gives the same bytes, so an export that is carried out of here in pieces fits together, or is seen not to.

`main` is for an agent that is stopped, before it is removed: a process of the agent's own user, which only reads.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from itertools import chain as chain_of_parts
from pathlib import Path
from typing import Final

from opanel_agent import __version__
from opanel_agent.core.consent.purposes import SHARDS
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import AgentError, Misconfigured
from opanel_agent.core.ledger import chain as ledger
from opanel_agent.core.ledger import export
from opanel_agent.core.ledger.export import Part, PartKind
from opanel_agent.core.units import LANGUAGES
from opanel_agent.core.values import replace
from opanel_agent.evaluate.consent.rights import PREFIX as RIGHTS
from opanel_agent.evaluate.storage.ledger_file import BROKEN_NAME, MAX_BYTES
from opanel_agent.system.storage import paths as installation
from opanel_agent.system.storage import settings, trust
from opanel_agent.system.storage.files import Files, LocalFiles
from opanel_agent.system.storage.paths import Paths
from opanel_agent.system.storage.resources import Resources

# What of set-aside ledgers, copies and held requests is carried as bytes; of the rest the digests are, which prove as much.
# As JSON a byte takes six at the most, one of the ledger two: all of it stays below what an export may have.
MAX_CARRIED_BYTES: Final = 24 * 1024 * 1024
_MAX_PART_BYTES: Final = 1024 * 1024


def gather(files: Files, paths: Paths, first_root: Root | None, *, max_carried_bytes: int = MAX_CARRIED_BYTES) -> bytes:
    """Returns the export. The caller holds the state's lock, or knows that nobody writes."""
    chain = files.read(paths.ledger, max_bytes=MAX_BYTES) or b""
    parts = [
        Part.of(PartKind.LEDGER, paths.ledger.name, chain),
        *_one(files, paths.ledger.with_name("ledger.head"), PartKind.HEAD),
        *(() if first_root is None else (Part.of(PartKind.ROOT, "root.jws", first_root.lines),)),
        *_one(files, paths.roots, PartKind.ROOTS),
        *_one(files, paths.consent, PartKind.CONSENT),
        *(replace(part, name=f"consent.d/{part.name}") for part in _all(files, paths.consent_dir, PartKind.CONSENT)),
        *(Part.of(PartKind.NOTICE, name, text) for name, text in _notice(Resources())),
        *_carried(
            chain_of_parts(
                map(_without_secrets, _all(files, paths.sent, PartKind.SENT)),
                map(_without_secrets, _all(files, paths.held, PartKind.HELD)),
                _broken(files, paths),
            ),
            max_carried_bytes,
        ),
        *(
            Part.digest_of(PartKind.READY, part.name, part.data or b"")
            for part in _all(files, paths.ready, PartKind.READY)
        ),
        *_all(files, paths.receipts, PartKind.RECEIPT),
        *_digests(files, (paths.bundle, paths.previous_bundle, *_lists(paths), paths.advisories, paths.settings)),
    ]
    return export.assemble(parts, as_of=ledger.verify(ledger.lines(chain)).at, version=__version__)


def at_rest(files: Files, paths: Paths) -> bytes:
    """Returns the export of an agent that is stopped. One that trusts no root any more keeps what it did all the same."""
    try:
        first_root = trust.first_root(files, paths, settings.load(files, paths))
    except Misconfigured:
        first_root = None
    return gather(files, paths, first_root)


def main() -> int:
    """Writes all of it on stdout, or a status that says that it is not."""
    try:
        data = at_rest(LocalFiles(), installation.find())
    except AgentError as error:
        return error.exit_status
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return 0


def _notice(installed: Resources) -> Iterator[tuple[str, bytes]]:
    for lang in LANGUAGES:
        yield f"notice.{lang}.md", installed.notice(lang).encode("utf-8")
    yield "fields.json", installed.notice_catalog()


def _carried(parts: Iterable[Part], max_bytes: int) -> Iterator[Part]:
    """Yields the parts as they are, as long as their bytes fit; from then on their digests."""
    left = max_bytes
    for part in parts:
        left -= len(part.data or b"")
        yield part if left >= 0 else replace(part, data=None)


def _broken(files: Files, paths: Paths) -> Iterator[Part]:
    """Yields the ledgers that were set aside."""
    here = paths.ledger.parent
    for name in files.names(here):
        if re.fullmatch(BROKEN_NAME, name):
            yield Part.of(PartKind.BROKEN, name, files.read(here / name, max_bytes=MAX_BYTES) or b"")


def _without_secrets(part: Part) -> Part:
    """Returns the part without secrets: a rights request reveals the secrets of reports.

    Of it the export has the digest, which the ledger has as well.
    """
    rights = part.name.startswith(f"{RIGHTS}-") and not part.name.endswith((".attempted", ".reply"))
    return replace(part, data=None) if rights else part


def _one(files: Files, path: Path, holds: PartKind) -> Iterator[Part]:
    data = files.read(path, max_bytes=_MAX_PART_BYTES)
    if data is not None:
        yield Part.of(holds, path.name, data)


def _all(files: Files, directory: Path, holds: PartKind) -> Iterator[Part]:
    for name in files.names(directory):
        yield from _one(files, directory / name, holds)


def _lists(paths: Paths) -> Iterator[Path]:
    return (paths.status_shard(shard) for shard in range(SHARDS))


def _digests(files: Files, paths: Iterable[Path]) -> Iterator[Part]:
    for path in paths:
        data = files.read(path, max_bytes=_MAX_PART_BYTES)
        if data is not None:
            yield Part.digest_of(PartKind.DOCUMENT, path.name, data)
