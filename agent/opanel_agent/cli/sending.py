"""A command that sends: what will leave is shown first, and then those very bytes are sent, named by their id.

Where a signal forbids sending, or the administrator wishes it (`-o`), the request is written to a file instead, to be
carried by other ways. The resident runs as a user of its own and this as root: nothing that it says becomes a path.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opanel_agent.cli.client import Done, understood
from opanel_agent.cli.grammar import Options
from opanel_agent.cli.output import Outcome
from opanel_agent.cli.world import World
from opanel_agent.core.base64url import unbase64url
from opanel_agent.core.strict_json import Json, Members, dumps, loads

MAX_WAIT_S: Final = 30  # the resident's own patience
MAX_REQUEST_CHARACTERS: Final = 128 * 1024
REQUEST_MODE: Final = 0o600
_ID: Final = re.compile(r"[a-z]{1,16}-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Why nothing may be sent: the code, and the place that it comes from."""

    reason: str
    place: str
    line: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """A sealed request before it is sent. `raw` is its head and body; `names` what the body says, `values` as it says it."""

    id: str
    purpose: str
    url: str
    raw: str
    names: tuple[str, ...]
    values: Mapping[str, Json]
    why: tuple[Ground, ...]


def wait_s(options: Options) -> int:
    return options.number("--wait", MAX_WAIT_S, high=MAX_WAIT_S)


def send(options: Options, world: World, path: str, asked: dict[str, Json]) -> Done | Outcome:
    """Done where it was sent; the Outcome of a file where it was not. `asked` are the request's own options."""
    patience_s = wait_s(options)
    shown = world.client.post(path, asked | {"preview": True}, wait_s=patience_s)
    with understood():
        leaving = _leaving(shown.result)
    if "-o" in options.values or leaving.why:
        written = world.client.post(path, asked | {"to_file": True}, wait_s=patience_s)
        return _write_out(options, world, written.result)
    _show(world, leaving)
    return world.client.post(path, asked | {"confirm": leaving.id}, wait_s=patience_s)


def _leaving(told: Members) -> Leaving:
    body = _lines(told, "body")
    return Leaving(
        id=told.text("id", pattern=_ID),
        purpose=told.text("purpose"),
        url=told.text("url"),
        raw=_lines(told, "head") + body,
        names=tuple(sorted(told.texts("leaves"))),
        values=_values(body),
        why=_why(told),
    )


def _values(body: str) -> Mapping[str, Json]:
    """The claims of a signed request, or the members of a plain one. The bytes are shown as well, whatever they say."""
    _, _, after = body.partition(".")
    said = loads(unbase64url(after.partition(".")[0]) if after else body.encode(), max_bytes=MAX_REQUEST_CHARACTERS)
    return said if isinstance(said, dict) else {}


def _lines(told: Members, name: str) -> str:
    """A text that may have line breaks in it, which `Members.text` refuses."""
    value = told.value(name)
    if not isinstance(value, str):
        raise told.refuse(name)
    return value


def _why(told: Members) -> tuple[Ground, ...]:
    return tuple(
        Ground(
            reason=each.text("reason"),
            place=each.text("place", max_length=1024),
            line=None if each.value("line") is None else each.integer("line"),
        )
        for each in told.each("why", 64)
    )


def _show(world: World, leaving: Leaving) -> None:
    """On stderr, before anything is sent: in words, then the bytes themselves."""
    world.note("leaves.head", purpose=world.named("purpose", leaving.purpose), url=leaving.url)
    for name in leaving.names:
        value = dumps(leaving.values[name]).decode() if name in leaving.values else "?"
        world.note("leaves.line", name=name, value=value, meaning=world.named("field", name))
    world.note("leaves.address")
    world.note("leaves.bytes")
    for line in leaving.raw.splitlines():
        world.note("leaves.raw", line=line)


def _write_out(options: Options, world: World, written: Members) -> Outcome:
    """The request into a file of the administrator's. Nothing was sent."""
    with understood():
        file = Path(options.values.get("-o") or f"{written.text('id', pattern=_ID)}.jwt")
        request = unbase64url(written.text("request", max_length=MAX_REQUEST_CHARACTERS))
        why = _why(written)
    world.files.write(file, request, mode=REQUEST_MODE)
    lines = (
        world.say("carry.not_sent"),
        *(_because(world, each) for each in why),
        world.say("carry.file", file=str(file)),
    )
    grounds: list[Json] = [{"reason": each.reason, "place": each.place, "line": each.line} for each in why]
    return Outcome(result={"sent": False, "file": str(file), "why": grounds}, lines=lines)


def _because(world: World, ground: Ground) -> str:
    if ground.line is None:
        return world.say("carry.because", place=ground.place)
    return world.say("carry.because_line", place=ground.place, line=ground.line)
