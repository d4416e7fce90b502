"""`license install | show | verify | refresh | activate | release | remove`.

What changes the state is asked of the daemon, whose hands the state is in; this prints what it came to. A command that
sends shows first, on stderr, exactly what will leave, and then has those very bytes sent by their id. Installing works with
the daemon stopped, too: the document is verified here and lies ready for the next start.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from opanel_agent.cli.client import Done, decode_reply
from opanel_agent.cli.consent import gate_view
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.layout import table
from opanel_agent.cli.display.output import CommandResult, Shown
from opanel_agent.cli.display.prompter import agreed
from opanel_agent.cli.display.times import moment
from opanel_agent.cli.license import documents
from opanel_agent.cli.license import status_view as answers
from opanel_agent.cli.license.screen import brief_rows, license_rows
from opanel_agent.cli.license.status import beside
from opanel_agent.cli.parser import Options
from opanel_agent.cli.send import send, wait_s
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.purposes import FIXED, POLICIES, Purpose, shown_paths
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import AgentError, Unavailable, Untrusted
from opanel_agent.core.license import license_key
from opanel_agent.network import gate_inputs
from opanel_agent.system.storage.settings import Settings

MAX_POST_BYTES: Final = 64 * 1024  # what the daemon takes; a larger document goes by way of import.d
NO: Final = 1
NOT_YET: Final = 75
# Long enough that no sensible file name is taken for a mistyped key.
_LIKE_A_KEY: Final = re.compile(r"[0-9A-Za-z -]{24,48}")


def install(options: Options, world: Context) -> CommandResult:
    """Installs a license key, or signed documents of any kind, told apart by content."""
    outcome = CommandResult(result=None)
    for operand in options.operands:
        given = _given(world, operand)
        key = _key(given)
        outcome = _exchange(options, world, key) if key else _document(options, world, given)
    return outcome


def show(options: Options, world: Context) -> CommandResult:
    if "--urls" in options.flags:
        return _urls(world)
    answer = answers.latest(world)
    lines = table(license_rows(world, answer), world.console.columns)
    return CommandResult(result=answer.license.members, lines=lines, warnings=beside(world, answer))


def verify(options: Options, world: Context) -> CommandResult:
    """Needs neither the daemon nor the network nor root."""
    data = documents.read(world, options.operands[0])
    claims = _verified(world, data)
    lines = (world.sentence("verify.good", kind=world.sentence(f"typ.{claims['typ']}")), *_claim_lines(world, claims))
    return CommandResult(result=claims, lines=lines)


def refresh(options: Options, world: Context) -> CommandResult:
    """Makes the fixed GETs, shown as they went over the wire, since they are the same for everyone."""
    patience_s = wait_s(options)
    if not gate_view.offline(world):  # else nothing leaves
        world.note("refresh.leaves")
    done = world.client.post("/v1/refresh", wait_s=patience_s)
    with decode_reply():
        asked = done.result.each("asked", 16)
        beside = (done.result.members("advisories"),) if _has_value(done.result, "advisories") else ()
        lines = tuple(line for each in (*asked, *beside) for line in _asked_lines(world, each))
        missed = tuple(filter(None, map(_failure, asked[-1:])))  # the list decides, whatever became of the roots
    outcome = _outcome(world, done, lines)
    return outcome._replace(failure=missed[0], exit_status=missed[0].exit_status) if missed else outcome


def activate(options: Options, world: Context) -> CommandResult:
    return _send(options, world, "/v1/activate", {}, "activation")


def release(options: Options, world: Context) -> CommandResult:
    return _send(options, world, "/v1/release", {}, "release")


def remove(options: Options, world: Context) -> CommandResult:
    """Removes the license; a person at a terminal is shown what is removed, and asked. `--dry-run` only shows."""
    if "--dry-run" in options.flags:
        license_id = answers.latest(world).license.terms.get("id")
        return CommandResult(result={"removed": False, "license": license_id}, lines=_removal_lines(world))
    if not agreed(options, world, lambda: _removal_lines(world), "remove.question"):
        return CommandResult(result={"removed": False}, lines=(world.sentence("prompt.nothing_done"),), exit_status=NO)
    done = world.client.post("/v1/remove", wait_s=wait_s(options))
    return _outcome(world, done, (world.sentence("license.removed"),))


def _removal_lines(world: Context) -> tuple[str, ...]:
    """Returns which license would be removed, and what that does not do."""
    terms = answers.latest(world).license.terms
    if not isinstance(terms.get("id"), str):
        return (world.sentence("remove.none"),)
    named = {name: str(terms.get(name)) for name in ("id", "product", "tier")}
    return world.sentence("remove.what", **named), world.sentence("remove.seat")


def _exchange(options: Options, world: Context, key: str) -> CommandResult:
    """Exchanges a license key for its bundle: what leaves of it is its SHA-256."""
    return _send(options, world, "/v1/bundle", {"key": key}, "exchange")


def _document(options: Options, world: Context, data: bytes) -> CommandResult:
    documents.kind(data)  # what is no document at all is told here: to the daemon it would be another request
    if len(data) > MAX_POST_BYTES:
        return _put(world, data, "install.at_next_run")
    try:
        done = world.client.post("/v1/bundle", data, wait_s=wait_s(options))
    except Unavailable as error:
        if error.code is not Fault.NOT_RUNNING:
            raise
        return _put(world, data, "install.at_next_start")
    return _outcome(world, done, (world.sentence("install.accepted"),))


def _verified(world: Context, data: bytes) -> dict[str, Json]:
    return documents.verify(data, documents.trusted_root(world), int(world.now_s()))


def _put(world: Context, data: bytes, when: str) -> CommandResult:
    claims = _verified(world, data)
    path = documents.put(world, data)
    lines = (
        world.sentence("verify.good", kind=world.sentence(f"typ.{claims['typ']}")),
        world.sentence(when, file=str(path)),
    )
    result: dict[str, Json] = {"file": str(path), "adopted": False, **claims}
    return CommandResult(result=result, lines=lines, exit_status=NOT_YET)


def _send(options: Options, world: Context, path: str, asked: dict[str, Json], errand: str) -> CommandResult:
    sent = send(options, world, path, asked)
    if isinstance(sent, Done):
        return _outcome(world, sent, (world.sentence(f"{errand}.done"),))
    return sent._replace(lines=(*sent.lines, world.sentence(f"carry.{errand}")))


def _has_value(result: Members, name: str) -> bool:
    return result.has(name) and result.value(name) is not None


def _failure(each: Members) -> AgentError | None:
    """Tells why the request came to nothing, where it did."""
    if each.value("ok") is True:
        return None
    error_json = each.value("error") if _has_value(each, "error") else None
    return (
        AgentError.from_json(error_json)
        if isinstance(error_json, dict)
        else Unavailable(Reason.SERVER_ERROR, "reply_failed")
    )


def _asked_lines(world: Context, each: Members) -> Iterator[str]:
    url = each.value("url")
    failure = each.value("code")
    head = each.value("head")
    if isinstance(failure, str):
        yield world.sentence("refresh.failed", url=str(url or "?"), reason=world.named("reason", failure), code=failure)
    else:
        yield world.sentence("refresh.fetched", url=str(url))
    if isinstance(head, str):
        yield from (f"    {line}" for line in head.splitlines() if line)


def _outcome(world: Context, done: Done, lines: tuple[str, ...]) -> CommandResult:
    """Shows what a job came to, and the license as it stands now."""
    try:
        license_ = answers.license_of(done.license)
    except Untrusted:  # no answer yet, or of another version: the job is done all the same
        return CommandResult(result=done.plain, lines=lines)
    result: dict[str, Shown] = {**done.plain, "license": license_.members}
    return CommandResult(result=result, lines=(*lines, *table(brief_rows(world, license_), world.console.columns)))


def _urls(world: Context) -> CommandResult:
    """Shows every address that the agent may contact, by purpose. Works without the daemon."""
    settings, root = world.settings(), documents.trusted_root(world)
    by_purpose = {purpose: tuple(_addresses(purpose, settings, root)) for purpose in POLICIES}
    lines: list[str] = []
    for purpose, addresses in by_purpose.items():
        lines.append(world.sentence("urls.purpose", purpose=world.sentence(f"purpose.{purpose}"), code=str(purpose)))
        lines += [f"  {method} {url}" for method, url in addresses] or [world.sentence("urls.none")]
    result = {
        str(purpose): [{"method": method, "url": url} for method, url in addresses]
        for purpose, addresses in by_purpose.items()
    }
    return CommandResult(result=result, lines=tuple(lines))


def _addresses(purpose: Purpose, settings: Settings, root: Root) -> Iterator[tuple[str, str]]:
    method = "GET" if purpose in FIXED else "POST"
    for base in gate_inputs.destinations(purpose, settings, root):
        for path in shown_paths(purpose):
            yield method, base.rstrip("/") + path


def _claim_lines(world: Context, claims: dict[str, Json]) -> Iterator[str]:
    for name, value in claims.items():
        if name in ("nbf", "exp", "iat") and isinstance(value, int):
            yield f"  {world.named('claim', name)}: {moment(value)}"
        elif isinstance(value, list):
            yield f"  {world.named('claim', name)}: {', '.join(map(str, value))}"
        elif isinstance(value, dict):
            yield f"  {world.named('claim', name)}: {', '.join(f'{key} {limit}' for key, limit in value.items())}"
        elif isinstance(value, bool):
            yield f"  {world.named('claim', name)}: {world.sentence(f'yesno.{value}')}"
        elif name != "typ":
            yield f"  {world.named('claim', name)}: {value}"


def _given(world: Context, operand: str) -> bytes:
    """Returns a key as it was typed, or what the file or stdin holds; which may be a key, too.

    Typed, the process list shows it.
    """
    typed = _LIKE_A_KEY.fullmatch(operand) and not Path(operand).exists()
    return operand.encode("ascii") if typed else documents.read(world, operand)


def _key(given: bytes) -> str | None:
    """Returns the license key, or None where it does not look like one. Raises Untrusted for a mistyped key."""
    text = given.strip().decode("latin-1")
    return license_key.parse(text) if _LIKE_A_KEY.fullmatch(text) else None
