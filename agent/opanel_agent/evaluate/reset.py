"""`reset --image`: forgets everything that makes this installation this server's, before its disk becomes a template.

What stays is nobody's: the roots, the status list and the advisories are the same bytes for everyone, and with them stay
the newest `iat` by key. All else goes: license, activation, key and salt, the machine's identity, clock and schedule, what
waits, what left and its secrets, receipts and ledger. Whatever a server made from the template draws, it draws itself.

consent.toml is the administrator's and stays where it is, but a yes was this server's: on another it counts once somebody
has said so there. For reports that had left, whoever has their secrets may have them erased; so the requests for it are
handed over before the secrets go. The first step, durably, is the memory that knows nothing but this; a reset that was cut
short is not undone, and the next one finishes it.
"""

from collections.abc import Iterator
from pathlib import Path

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.strict_json import Json, Members
from opanel_agent.core.errors import Storage
from opanel_agent.evaluate.consent import changes, rights
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.state import AgentState
from opanel_agent.system.log import log_event
from opanel_agent.system.storage.paths import Paths

Result = dict[str, Json]


def act(context: PassContext, intent: Members) -> Result:
    """With `preview` only what would be forgotten. Raises Storage when something could not be removed."""
    told = _told(context)
    if intent.has("preview") and intent.boolean("preview"):
        return told | {"forgotten": False}
    erase: list[Json] = [base64url(body) for body in rights.erasures(context)]
    _forget(context)
    log_event("state_forgotten", level="warning")
    return told | {"forgotten": True, "erase": erase}


def _told(context: PassContext) -> Result:
    """What is here, in numbers, and what of root's the servers to come will find."""
    files, paths = context.world.files, context.world.paths
    stays: list[Json] = [str(path) for path in (paths.license, paths.consent) if files.exists(path)]
    stays += [str(paths.import_dir / name) for name in files.names(paths.import_dir)]
    return {
        "license": context.bundle is not None,
        "activated": context.bundle is not None and context.bundle.activation is not None,
        "held": len(context.outbox.held_reports()),
        "sent": len(context.outbox.sent_ids()),
        "unerased": len(rights.reports_unerased(context)),
        "receipts": len(files.names(paths.receipts)),
        "entries": context.book.head.seq,
        "stays": stays,
    }


def _forget(context: PassContext) -> None:
    files, paths = context.world.files, context.world.paths
    memory = AgentState(
        clone_of=changes.grant(context),
        floors=dict(context.memory.floors),
        list_iat=context.memory.list_iat,
    )
    context.start_over(memory)
    files.write(paths.state, memory.encode())
    failed: list[Storage] = []
    for path in _going(context):
        try:
            files.remove(path)
        except Storage as stuck:
            failed.append(stuck)
    if failed:
        raise failed[0]


def _going(context: PassContext) -> Iterator[Path]:
    """The key first, then what could leave, then what left, and all else that lies in the folder."""
    files, paths = context.world.files, context.world.paths
    yield paths.activation_key
    for room in _rooms(paths):
        yield from (room / name for name in files.names(room))
    stays = {path.name for path in _staying(paths)}
    yield from (paths.state_dir / name for name in files.names(paths.state_dir) if name not in stays)


def _rooms(paths: Paths) -> tuple[Path, ...]:
    return (paths.held, paths.ready, paths.sent, paths.erasure, paths.receipts)


def _staying(paths: Paths) -> tuple[Path, ...]:
    """What is everyone's, what was written a moment ago, and the folders themselves."""
    everyones = (paths.roots, paths.status_list, paths.advisories)
    return (*everyones, paths.state, paths.lock, *_rooms(paths), paths.runtime_dir)
