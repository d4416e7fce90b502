"""Forgets everything that makes this installation this server's, before its disk becomes a template (`reset --image`).

What stays is public: the roots, the status list and the advisories are the same bytes for everyone, and with them stay
the newest `iat` by key. All else goes: license, activation, key and salt, the machine's identity, clock and schedule, what
waits, what left and its secrets, receipts and ledger. Whatever a server made from the template draws, it draws itself.

consent.toml is the administrator's and stays where it is, but its consents were this server's: on another they count once
they are given again there. Reports that have left can be erased by whoever has their secrets; so the erasure requests are
returned before the secrets are removed. The first step, durably, is a state that has nothing but this; a reset that was
cut short is not undone, and the next one finishes it.
"""

from collections.abc import Iterator
from pathlib import Path

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.errors import Storage
from opanel_agent.core.values import replace
from opanel_agent.evaluate.consent.changes import grant_digest
from opanel_agent.evaluate.consent.rights import DataRights
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.ports import Ports
from opanel_agent.evaluate.requests.outbox import Outbox
from opanel_agent.evaluate.storage.state import AgentState
from opanel_agent.system.log import log_event
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths

Result = dict[str, Json]


def run(context: PassContext, intent: Members) -> Result:
    """Forgets everything; with `preview` returns only what would be forgotten.

    Raises Storage when something could not be removed.
    """
    summary = _summary(context.ports, context.inputs.bundle, context.outbox, context.rights)
    if intent.has("preview") and intent.boolean("preview"):
        return summary | {"forgotten": False}
    erase: list[Json] = [base64url(body) for body in context.rights.erasures()]
    _forget(context)
    log_event("state_forgotten", level="warning")
    return summary | {"forgotten": True, "erase": erase}


def _summary(ports: Ports, bundle: Bundle | None, outbox: Outbox, rights: DataRights) -> Result:
    """Returns what is here, in numbers, and what of root's the servers to come will find."""
    files, paths = ports.files, ports.paths
    stays: list[Json] = [str(path) for path in (paths.license, paths.consent) if files.exists(path)]
    stays += [str(paths.import_dir / name) for name in files.names(paths.import_dir)]
    return {
        "license": bundle is not None,
        "activated": bundle is not None and bundle.activation is not None,
        "held": len(outbox.held_reports()),
        "sent": len(outbox.sent_ids()),
        "unerased": len(rights.reports_unerased()),
        "receipts": len(files.names(paths.receipts)),
        "entries": outbox.ledger.head.seq,
        "stays": stays,
    }


def _forget(context: PassContext) -> None:
    files, paths, old = context.ports.files, context.ports.paths, context.state
    state = AgentState(
        clone_of=grant_digest(context.inputs.consent),
        floors=dict(old.floors),
        list_iat=old.list_iat,
        shard_iats=dict(old.shard_iats),
    )
    context.state, context.reset = state, True
    context.install(replace(context.inputs.documents, bundle=None, refused=None))
    files.write(paths.state, state.encode())
    failed: list[Storage] = []
    for path in _to_remove(files, paths):
        try:
            files.remove_tree(path)  # a folder that was set aside is one
        except Storage as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _to_remove(files: Files, paths: Paths) -> Iterator[Path]:
    """Yields the key first, then what could leave, then what left, and all else that lies in the folder."""
    yield paths.activation_key
    for folder in _folders(paths):
        yield from (folder / name for name in files.names(folder))
    kept = {path.name for path in _kept(paths)}
    yield from (paths.state_dir / name for name in files.names(paths.state_dir) if name not in kept)


def _folders(paths: Paths) -> tuple[Path, ...]:
    return (paths.held, paths.ready, paths.sent, paths.erasure, paths.receipts)


def _kept(paths: Paths) -> tuple[Path, ...]:
    """Returns what is the same for everyone, what was written a moment ago, and the folders themselves."""
    public = (paths.roots, paths.status_list, paths.advisories)
    return (*public, paths.state, paths.lock, *_folders(paths), paths.runtime_dir)
