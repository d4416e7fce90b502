"""held/ and sent/: every request that crosses to the network, kept byte for byte where a person can read it.

A sealed request waits in `held/<id>`. Before its connection is opened it is written to `sent/<id>.request` and marked
`attempted`, durably; the reply joins it as `sent/<id>.reply`. After a crash in between it is not sent again without a new
decision. Of each fixed GET, which is the same for everyone, the latest is kept: what went over the wire, and the reply's
head.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.strict_json import Members, dumps, loads
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.purposes import MAX_REPLY_BYTES
from opanel_agent.core.errors import Misconfigured, Untrusted
from opanel_agent.core.wire.message import MAX_BODY_BYTES, MAX_LINE_BYTES, Reply, Sealed
from opanel_agent.evaluate.context import PassContext

_MAX_BYTES: Final = MAX_LINE_BYTES + 1 + MAX_BODY_BYTES
_MAX_REPLY_BYTES: Final = MAX_LINE_BYTES + 1 + MAX_REPLY_BYTES
_MAX_MARK_BYTES: Final = 1024
_ID: Final = re.compile(r"[a-z]{1,16}-[0-9a-f]{16}")


def new_id(context: PassContext, kind: str) -> str:
    """Unpredictable, and never on the wire."""
    return f"{kind}-{context.world.chance.token_bytes(8).hex()}"


def hold(context: PassContext, sealed: Sealed) -> None:
    context.world.files.write(context.world.paths.held / sealed.id, sealed.encode())


def held(context: PassContext, request_id: str) -> Sealed:
    """Raises Untrusted for an id that names none."""
    sealed = waiting(context, request_id)
    if sealed is None:
        raise Untrusted(Fault.USAGE, "held_unknown", id=request_id[:64])
    return sealed


def waiting(context: PassContext, request_id: str) -> Sealed | None:
    """What is held under this id. None for what is no request of that name: damaged, or written by another version."""
    return _sealed(context, context.world.paths.held / request_id, request_id)


def attempted(context: PassContext, sealed: Sealed) -> None:
    """Durable before the first packet: the bytes, then the mark, then out of `held/`."""
    files, paths = context.world.files, context.world.paths
    files.write(paths.sent / f"{sealed.id}.request", sealed.encode())
    files.write(paths.sent / f"{sealed.id}.attempted", dumps({"schema": 1, "at": context.now}) + b"\n")


def keep_reply(context: PassContext, sealed: Sealed, reply: Reply) -> None:
    context.world.files.write(context.world.paths.sent / f"{sealed.id}.reply", reply.encode())


def end_wait(context: PassContext, sealed: Sealed) -> None:
    context.world.files.remove(context.world.paths.held / sealed.id)


def drop(context: PassContext, *kinds: str) -> None:
    """Forgets the held requests of these kinds: what they asked for is answered or means nothing any more."""
    for name in context.world.files.names(context.world.paths.held):
        if name.partition("-")[0] in kinds:
            context.world.files.remove(context.world.paths.held / name)


def last_attempt(context: PassContext, kind: str) -> int | None:
    """When a request of this kind was attempted last, as far as its mark is still kept."""
    marks = (name.removesuffix(".attempted") for name in context.world.files.names(context.world.paths.sent))
    moments = (attempted_at(context, name) for name in marks if name.partition("-")[0] == kind and _ID.fullmatch(name))
    return max((moment for moment in moments if moment is not None), default=None)


def request(context: PassContext, request_id: str) -> Sealed:
    """A request that left, as it left. Raises Untrusted for an id that names none."""
    sealed = left(context, request_id)
    if sealed is None:
        raise Untrusted(Fault.USAGE, "sent_unknown", id=request_id[:64])
    return sealed


def reply(context: PassContext, request_id: str) -> Reply | None:
    """What came back, None where nothing did."""
    data = _read(context, context.world.paths.sent / f"{request_id}.reply", _MAX_REPLY_BYTES)
    try:
        return None if data is None else Reply.decode(data)
    except Untrusted:
        return None


def attempted_at(context: PassContext, request_id: str) -> int | None:
    """When its connection was opened, in effective time."""
    data = _read(context, context.world.paths.sent / f"{request_id}.attempted", _MAX_MARK_BYTES)
    try:
        return None if data is None else Members(loads(data, max_bytes=_MAX_MARK_BYTES), "attempted").integer("at")
    except Untrusted:
        return None


def unanswered(context: PassContext) -> list[Sealed]:
    """Requests whose connection may have been opened and which nobody heard the end of: this pass asks for none yet."""
    names = {*context.world.files.names(context.world.paths.sent)}
    attempted_ = sorted(name.removesuffix(".attempted") for name in names if name.endswith(".attempted"))
    known = (left(context, name) for name in attempted_ if f"{name}.reply" not in names)
    return [sealed for sealed in known if sealed is not None]


def ids(context: PassContext) -> list[str]:
    """Of everything that was ever attempted and is still kept, but for the fixed GETs."""
    names = (name.removesuffix(".request") for name in context.world.files.names(context.world.paths.sent))
    return sorted(name for name in names if left(context, name) is not None)


def reports(context: PassContext, purpose: str) -> list[tuple[str, int]]:
    """The reports of a purpose that left and whose copies are still kept: id, and when."""
    kept = {name for name in ids(context) if request(context, name).purpose == purpose}
    return [(name, attempted_at(context, name) or 0) for name in sorted(kept)]


def attempted_get(context: PassContext, word: str) -> None:
    context.world.files.write(
        context.world.paths.sent / f"{word}.attempted", dumps({"schema": 1, "at": context.now}) + b"\n"
    )


def replied_get(context: PassContext, word: str, reply: Reply) -> None:
    context.world.files.write(context.world.paths.sent / f"{word}.reply", replace(reply, body=b"").encode())


def left(context: PassContext, request_id: str) -> Sealed | None:
    """A request that left, None where no copy of it is kept."""
    return _sealed(context, context.world.paths.sent / f"{request_id}.request", request_id)


def _sealed(context: PassContext, path: Path, request_id: str) -> Sealed | None:
    data = _read(context, path, _MAX_BYTES) if _ID.fullmatch(request_id) else None
    try:
        sealed = None if data is None else Sealed.decode(data)
    except Untrusted:
        return None
    return sealed if sealed is not None and sealed.id == request_id else None


def _read(context: PassContext, path: Path, max_bytes: int) -> bytes | None:
    """None for what is no file of a sane size as well: the disk may be at fault, and a license must not suffer from it."""
    try:
        return context.world.files.read(path, max_bytes=max_bytes)
    except Misconfigured:
        return None
