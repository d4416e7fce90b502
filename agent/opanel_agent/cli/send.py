"""A command that sends: what will leave is shown first, and then those very bytes are sent, named by their id.

Where a signal forbids sending, or the administrator wishes it (`-o`), the request is written to a file instead, to be
carried by other ways. The daemon runs as a user of its own and this as root: nothing that it says becomes a path.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from opanel_agent.cli.client import Done, decode_reply
from opanel_agent.cli.consent.locations import where
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.layout import verbatim
from opanel_agent.cli.display.output import CommandResult, Shown, escaped
from opanel_agent.cli.parser import Options
from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Usage
from opanel_agent.core.values import frozen

MAX_WAIT_S: Final = 30  # the daemon's own patience
MAX_REQUEST_CHARACTERS: Final = 128 * 1024
REQUEST_MODE: Final = 0o600
_ID: Final = r"[a-z]{1,16}-[0-9a-f]{16}"


@frozen
class SendObstacle:
    """Why nothing may be sent: the code, and the place that it comes from."""

    reason: str
    place: str
    line: int | None
    what: str | None = None


@frozen
class Leaving:
    """A sealed request before it is sent. `raw` is its head and body; `names` what the body says, `values` as it says it.

    `why` is what forbids sending it now.
    """

    id: str
    purpose: str
    url: str
    raw: str
    names: tuple[str, ...]
    values: Mapping[str, Json]
    why: tuple[SendObstacle, ...]


def wait_s(options: Options) -> int:
    return options.number("--wait", MAX_WAIT_S, high=MAX_WAIT_S)


def known_id(operand: str) -> str:
    """Returns a request's id as it was typed. Raises Usage for what has not the shape of one."""
    if not re.fullmatch(_ID, operand):
        raise Usage(Fault.USAGE, "id_shape")
    return operand


def send(
    options: Options, world: Context, path: str, asked: dict[str, Json], *, suffix: str = "jwt"
) -> Done | CommandResult:
    """Sends it; returns Done where it was sent; the Outcome of a file where it was not.

    `asked` are the request's own options.

    `suffix` is that of the file, where its name is left to us.
    """
    patience_s = wait_s(options)
    shown = world.client.post(path, asked | {"preview": True}, wait_s=patience_s)
    with decode_reply():
        leaving = read(shown.result)
    if "-o" in options.values or leaving.why:
        written = world.client.post(path, asked | {"to_file": True}, wait_s=patience_s)
        file = Path(options.values.get("-o") or f"{leaving.id}.{suffix}")
        return _write_out(world, written.result, file)
    show(world, leaving)
    return world.client.post(path, asked | {"confirm": leaving.id}, wait_s=patience_s)


def read(members: Members) -> Leaving:
    """Returns what the daemon shows of a request. Raises Untrusted where it is none."""
    body = text_of(members, "body")
    return Leaving(
        id=members.text("id", pattern=_ID),
        purpose=members.text("purpose"),
        url=members.text("url"),
        raw=text_of(members, "head") + body,
        names=tuple(sorted(members.texts("leaves"))),
        values=_values(body),
        why=grounds(members),
    )


def _values(body: str) -> Mapping[str, Json]:
    """Returns the claims of a signed request, or the members of a plain one.

    The bytes are shown as well, whatever they say.
    """
    claims = body if body.startswith("{") else unbase64url(body.partition(".")[2].partition(".")[0])
    parsed = loads(claims.encode() if isinstance(claims, str) else claims, max_bytes=MAX_REQUEST_CHARACTERS)
    return parsed if isinstance(parsed, dict) else {}


def text_of(members: Members, name: str) -> str:
    """Returns a text that may have line breaks in it, which `Members.text` refuses."""
    value = members.value(name)
    if not isinstance(value, str):
        raise members.refuse(name)
    return value


def grounds(members: Members) -> tuple[SendObstacle, ...]:
    """Returns the member `why`. Raises Untrusted where it is none."""
    return tuple(
        SendObstacle(
            reason=each.text("reason"),
            place=each.text("place", max_length=1024),
            line=each.optional_integer("line"),
            what=each.optional_text("what", max_length=1024) if each.has("what") else None,
        )
        for each in members.each("why", 64)
    )


def why_json(why: tuple[SendObstacle, ...]) -> Shown:
    return [{"reason": each.reason, "what": each.what, "place": each.place, "line": each.line} for each in why]


def show(world: Context, leaving: Leaving) -> None:
    """Shows it on stderr, before anything is sent: in words, then the bytes themselves."""
    for line in (
        world.sentence("leaves.head", purpose=world.named("purpose", leaving.purpose), url=leaving.url),
        *(_value_line(world, leaving, name) for name in leaving.names),
        *raw_lines(world, leaving),
    ):
        world.console.note(escaped(line))


def raw_lines(world: Context, leaving: Leaving) -> Iterator[str]:
    """Yields the bytes themselves, and what the other end sees besides."""
    yield world.sentence("leaves.address")
    yield world.sentence("leaves.bytes")
    yield from verbatim(leaving.raw)


def _value_line(world: Context, leaving: Leaving, name: str) -> str:
    return world.sentence("leaves.line", name=name, value=value_of(leaving, name), meaning=world.named("field", name))


def value_of(leaving: Leaving, name: str) -> str:
    """Returns the value as the body says it; a question mark where the daemon names what is not in the body."""
    return dumps(leaving.values[name]).decode() if name in leaving.values else "?"


def _write_out(world: Context, written: Members, file: Path) -> CommandResult:
    with decode_reply():
        request = unbase64url(written.text("request", max_length=MAX_REQUEST_CHARACTERS))
        why = grounds(written)
    return write_out(world, file, request, why)


def write_out(world: Context, file: Path, request: bytes, why: tuple[SendObstacle, ...]) -> CommandResult:
    """Writes a request's body to a file of the administrator's, 0600, instead of sending it. Raises Storage."""
    world.files.write(file, request, mode=REQUEST_MODE)
    lines = (
        world.sentence("carry.not_sent"),
        *(world.sentence("carry.because", where=where(world, each)) for each in why),
        world.sentence("carry.file", file=str(file)),
    )
    return CommandResult(result={"sent": False, "file": str(file), "why": why_json(why)}, lines=lines)
