"""`reset --image`: forgets everything tied to this server, before its disk becomes a template.

Said first, then done; `--dry-run` only says. Where the daemon runs it is its doing; else a pass of its user's is started,
which is the better way: nothing learns anything any more before the template is taken. For reports that had left, requests
to have them erased are written here, because nobody could ask for it afterwards.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from opanel_agent.cli.client import decode_reply
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.layout import paragraph
from opanel_agent.cli.display.output import CommandResult, Shown, escaped
from opanel_agent.cli.parser import Options
from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Unavailable, Usage

MODE: Final = 0o600
ERASE_NAME: Final = "opanel-agent-erase.json"
_COUNTED: Final = {
    "held": "reset.held",
    "sent": "reset.sent",
    "receipts": "reset.receipts",
    "entries": "reset.entries",
    "unerased": "reset.unerased",
}
_MAX_REQUEST: Final = 64 * 1024


def reset(options: Options, world: Context) -> CommandResult:
    if "--image" not in options.flags:
        raise Usage(Fault.USAGE, "reset_image")
    world.need_owner()
    preview = _asked(world, preview=True)
    with decode_reply():
        warning_lines = tuple(_warning_lines(world, preview))
    if "--dry-run" in options.flags:
        return CommandResult(result=_shown(preview, ()), lines=warning_lines)
    for line in warning_lines:
        world.console.note(escaped(line))
    done = _asked(world, preview=False)
    with decode_reply():
        files = _write(world, Path(options.values.get("-o", ERASE_NAME)), done)
        lines = [
            world.sentence("reset.done"),
            *(part for line in _then(world, preview, files) for part in paragraph(line, hang=2)),
        ]
        return CommandResult(result=_shown(done, files), lines=tuple(lines))


def _asked(world: Context, *, preview: bool) -> Members:
    options: dict[str, Json] = {"preview": preview}
    try:
        return world.client.post("/v1/reset", options).result
    except Unavailable as error:
        if error.code is not Fault.NOT_RUNNING:
            raise
    return world.stand_in({"intent": "reset", **options})


def _warning_lines(world: Context, preview: Members) -> Iterator[str]:
    yield world.sentence("reset.head")
    yield world.sentence("reset.always")
    if preview.boolean("license"):
        yield world.sentence("reset.license_activated" if preview.boolean("activated") else "reset.license")
    for name, sentence in _COUNTED.items():
        if count := preview.integer(name):
            yield world.sentence(sentence, count=count)


def _then(world: Context, preview: Members, files: tuple[Path, ...]) -> Iterator[str]:
    """Yields what is still to be done before the image is taken."""
    yield from (world.sentence("reset.erase", file=str(file)) for file in files)
    stays = _stays(preview)
    for path in stays:
        known = {str(world.paths.consent): "reset.consent_stays", str(world.paths.license): "reset.license_stays"}
        yield world.sentence(known.get(path, "reset.document_stays"), file=path)
    yield world.sentence("reset.machine_id")
    yield world.sentence("reset.stop")


def _write(world: Context, file: Path, done: Members) -> tuple[Path, ...]:
    """Writes the requests, one a file: the first has the name that was asked for, the others a number before the suffix."""
    bodies = done.value("erase")
    made: list[Path] = []
    for number, body in enumerate(bodies if isinstance(bodies, list) else [], start=1):
        if not isinstance(body, str) or len(body) > _MAX_REQUEST:
            raise done.refuse("erase")
        path = file if number == 1 else file.with_name(f"{file.stem}-{number}{file.suffix}")
        world.files.write(path, unbase64url(body), mode=MODE)
        made.append(path)
    return tuple(made)


def _stays(members: Members) -> tuple[str, ...]:
    value = members.value("stays")
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _shown(members: Members, files: tuple[Path, ...]) -> Shown:
    names = ("forgotten", "license", "activated", *_COUNTED)
    shown: dict[str, Shown] = {name: members.value(name) for name in names}
    return {**shown, "stays": list(_stays(members)), "erase": [str(file) for file in files]}
