"""held/ and sent/: every request that crosses to the network, kept byte for byte where a person can read it.

A sealed request waits in `held/<id>`. Before its connection is opened it is written to `sent/<id>.request` and marked
`attempted`, durably; the reply joins it as `sent/<id>.reply`. After a crash in between it is not sent again without a new
decision. Of each fixed GET, which is the same for everyone, the latest is kept: what went over the wire, and the reply's
head.
"""

import re
from dataclasses import replace
from typing import Final

from opanel_agent.core.errors import Untrusted
from opanel_agent.core.purposes import MAX_REPLY_BYTES
from opanel_agent.core.reasons import Fault
from opanel_agent.core.request import MAX_BODY_BYTES, MAX_LINE_BYTES, Reply, Sealed
from opanel_agent.core.strict_json import Members, dumps, loads
from opanel_agent.jobs.desk import Desk

_MAX_BYTES: Final = MAX_LINE_BYTES + 1 + MAX_BODY_BYTES
_MAX_REPLY_BYTES: Final = MAX_LINE_BYTES + 1 + MAX_REPLY_BYTES
_MAX_MARK_BYTES: Final = 1024
_ID: Final = re.compile(r"[a-z]{1,16}-[0-9a-f]{16}")


def new_id(desk: Desk, kind: str) -> str:
    """Unpredictable, and never on the wire."""
    return f"{kind}-{desk.world.chance.octets(8).hex()}"


def hold(desk: Desk, sealed: Sealed) -> None:
    desk.world.files.write(desk.world.paths.held / sealed.id, sealed.encode())


def held(desk: Desk, request_id: str) -> Sealed:
    """Raises Untrusted for an id that names none."""
    data = None
    if _ID.fullmatch(request_id):
        data = desk.world.files.read(desk.world.paths.held / request_id, max_bytes=_MAX_BYTES)
    if data is None:
        raise Untrusted(Fault.USAGE, "held_unknown", id=request_id[:64])
    return Sealed.decode(data)


def attempted(desk: Desk, sealed: Sealed) -> None:
    """Durable before the first packet: the bytes, then the mark, then out of `held/`."""
    files, paths = desk.world.files, desk.world.paths
    files.write(paths.sent / f"{sealed.id}.request", sealed.encode())
    files.write(paths.sent / f"{sealed.id}.attempted", dumps({"schema": 1, "at": desk.now}) + b"\n")


def replied(desk: Desk, sealed: Sealed, reply: Reply) -> None:
    """An answer of any kind ends the wait; a failure to reach anybody leaves the request held for the next command."""
    files, paths = desk.world.files, desk.world.paths
    files.write(paths.sent / f"{sealed.id}.reply", reply.encode())
    if reply.ok:
        files.remove(paths.held / sealed.id)


def request(desk: Desk, request_id: str) -> Sealed:
    """A request that left, as it left. Raises Untrusted for an id that names none."""
    data = None
    if _ID.fullmatch(request_id):
        data = desk.world.files.read(desk.world.paths.sent / f"{request_id}.request", max_bytes=_MAX_BYTES)
    if data is None:
        raise Untrusted(Fault.USAGE, "sent_unknown", id=request_id[:64])
    return Sealed.decode(data)


def reply(desk: Desk, request_id: str) -> Reply | None:
    """What came back, None where nothing did."""
    data = desk.world.files.read(desk.world.paths.sent / f"{request_id}.reply", max_bytes=_MAX_REPLY_BYTES)
    return None if data is None else Reply.decode(data)


def attempted_at(desk: Desk, request_id: str) -> int | None:
    """When its connection was opened, in effective time."""
    data = desk.world.files.read(desk.world.paths.sent / f"{request_id}.attempted", max_bytes=_MAX_MARK_BYTES)
    return None if data is None else Members(loads(data, max_bytes=_MAX_MARK_BYTES), "attempted").integer("at")


def ids(desk: Desk) -> list[str]:
    """Of everything that was ever attempted and is still kept, but for the fixed GETs."""
    names = desk.world.files.names(desk.world.paths.sent)
    return sorted(name.removesuffix(".request") for name in names if name.endswith(".request"))


def reports(desk: Desk, purpose: str) -> list[tuple[str, int]]:
    """The reports of a purpose that left and whose copies are still kept: id, and when."""
    kept = {name for name in ids(desk) if request(desk, name).purpose == purpose}
    return [(name, attempted_at(desk, name) or 0) for name in sorted(kept)]


def attempted_get(desk: Desk, word: str) -> None:
    desk.world.files.write(desk.world.paths.sent / f"{word}.attempted", dumps({"schema": 1, "at": desk.now}) + b"\n")


def replied_get(desk: Desk, word: str, reply: Reply) -> None:
    desk.world.files.write(desk.world.paths.sent / f"{word}.reply", replace(reply, body=b"").encode())
