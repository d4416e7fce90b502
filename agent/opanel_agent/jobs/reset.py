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

from opanel_agent.core.base64url import base64url
from opanel_agent.core.errors import Storage
from opanel_agent.core.strict_json import Json, Members
from opanel_agent.jobs import consents, rights, sent
from opanel_agent.jobs.desk import Desk
from opanel_agent.jobs.memory import Memory
from opanel_agent.system.log import line
from opanel_agent.system.paths import Paths

Result = dict[str, Json]


def act(desk: Desk, intent: Members) -> Result:
    """With `preview` only what would be forgotten. Raises Storage when something could not be removed."""
    told = _told(desk)
    if intent.has("preview") and intent.boolean("preview"):
        return told | {"forgotten": False}
    erase: list[Json] = [base64url(body) for body in rights.erasures(desk)]
    _forget(desk)
    line("state_forgotten", level="warning")
    return told | {"forgotten": True, "erase": erase}


def _told(desk: Desk) -> Result:
    """What is here, in numbers, and what of root's the servers to come will find."""
    files, paths = desk.world.files, desk.world.paths
    stays: list[Json] = [str(path) for path in (paths.license, paths.consent) if files.exists(path)]
    stays += [str(paths.import_dir / name) for name in files.names(paths.import_dir)]
    return {
        "license": desk.bundle is not None,
        "activated": desk.bundle is not None and desk.bundle.activation is not None,
        "held": len(list(consents.held_reports(desk))),
        "sent": len(sent.ids(desk)),
        "unerased": len(rights.reports_unerased(desk)),
        "receipts": len(files.names(paths.receipts)),
        "entries": desk.book.head.seq,
        "stays": stays,
    }


def _forget(desk: Desk) -> None:
    files, paths = desk.world.files, desk.world.paths
    memory = Memory(
        clone_of=consents.grant(desk),
        floors=dict(desk.memory.floors),
        list_iat=desk.memory.list_iat,
    )
    desk.start_over(memory)
    files.write(paths.state, memory.encode())
    failed: list[Storage] = []
    for path in _going(desk):
        try:
            files.remove(path)
        except Storage as stuck:
            failed.append(stuck)
    if failed:
        raise failed[0]


def _going(desk: Desk) -> Iterator[Path]:
    """The key first, then what could leave, then what left, and all else that lies in the folder."""
    files, paths = desk.world.files, desk.world.paths
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
