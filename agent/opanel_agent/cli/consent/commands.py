"""`consent show | allow | deny | why | check`: the administrator's answers, and what follows from them.

`show`, `why` and `check` need neither root nor the daemon. What happened before is in `cli.consent.history`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from opanel_agent.cli.consent import gate_view, screen, signals, write
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.output import CommandResult, Shown, Warned
from opanel_agent.cli.display.times import moment
from opanel_agent.cli.parser import Options
from opanel_agent.cli.purposes import any_purpose, consent_purpose
from opanel_agent.core.codec.strict_toml import MAX_BYTES
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.consent_file import ConsentFile, ConsentReading, parse
from opanel_agent.core.consent.edit import changes
from opanel_agent.core.consent.gate import Objection
from opanel_agent.core.consent.purposes import CONSENT_BASED, POLICIES, Purpose
from opanel_agent.core.errors import Misconfigured, Storage, Usage
from opanel_agent.core.units import HOUR_S
from opanel_agent.messages import describe_error
from opanel_agent.system.storage import resources

DENIED: Final = 1


def show(_: Options, world: Context) -> CommandResult:
    """Shows each purpose in a row: what decides it, whether the gate would let it out now, and why not."""
    reading = gate_view.read(world)
    consent = reading.consent
    found = {purpose: gate_view.grounds(reading, purpose) for purpose in POLICIES}
    result = {
        "file": consent.place,
        "notice": None if consent.file is None else consent.file.notice,
        "installed_notice": reading.installed_notice,
        "purposes": {str(purpose): _purpose_json(purpose, consent, grounds) for purpose, grounds in found.items()},
    }
    lines = tuple(screen.lines(world, consent, found))
    return CommandResult(result=result, lines=lines, warnings=signals.shell_alone(world, reading.do_not_track))


def why(options: Options, world: Context) -> CommandResult:
    """Shows every reason why a purpose's request would not be let out, with its place. Exit 1 where there is one."""
    purpose = any_purpose(options.operands[0])
    reading = gate_view.read(world)
    consent = reading.consent
    grounds = gate_view.grounds(reading, purpose)
    name = world.sentence(f"purpose.{purpose}")
    warnings = signals.shell_alone(world, reading.do_not_track)
    if not grounds:
        lines = [
            world.sentence("why.permitted", purpose=name),
            *_waits(world, purpose, consent),
            *screen.ignored(world, consent),
        ]
        return CommandResult(result=_purpose_json(purpose, consent, grounds), lines=tuple(lines), warnings=warnings)
    lines = [world.sentence("why.denied", purpose=name), *gate_view.ground_lines(world, purpose, grounds)]
    lines += [f"  {line}" for fault in consent.faults() for line in describe_error(fault, world.lang)]
    lines += screen.ignored(world, consent)
    result = _purpose_json(purpose, consent, grounds)
    return CommandResult(result=result, lines=tuple(lines), warnings=warnings, exit_status=DENIED)


def allow(options: Options, world: Context) -> CommandResult:
    """Grants the purposes named, to the installed notice, and says what still denies them."""
    world.need_owner()
    purposes = _consents(options.operands)
    write.answer(world, dict.fromkeys(purposes, True))
    effect = write.notify_agent(world)
    lines = [world.sentence("consent.allowed", purposes=_names(world, purposes), file=str(world.paths.consent))]
    lines += _not_running(world, effect)
    reading = gate_view.read(world)
    denied = {purpose: gate_view.grounds(reading, purpose) for purpose in purposes}
    for purpose, grounds in denied.items():
        if grounds:
            lines.append(world.sentence("consent.still", purpose=world.sentence(f"purpose.{purpose}")))
            lines += gate_view.ground_lines(world, purpose, grounds)
        else:
            lines += _waits(world, purpose, reading.consent)
    result: dict[str, Shown] = {
        "allowed": [str(purpose) for purpose in purposes],
        "file": str(world.paths.consent),
        "denied": {str(purpose): gate_view.shown(grounds) for purpose, grounds in denied.items() if grounds},
    }
    outcome = _outcome(world, effect, result, lines)
    alone = signals.shell_alone(world, reading.do_not_track)
    return outcome._replace(warnings=(*outcome.warnings, *alone))


def deny(options: Options, world: Context) -> CommandResult:
    """Takes consent back: the file, then what is under way, then the answer. Names what had already gone."""
    world.need_owner()
    if ("--all" in options.flags) == bool(options.operands):
        raise Usage(Fault.USAGE, "purposes_or_all")
    purposes = CONSENT_BASED if "--all" in options.flags else _consents(options.operands)
    unwritten = write.deny(world, purposes)
    effect = write.notify_agent(world)
    text_id = "consent.denied" if unwritten.file is None else "consent.denied_beside"
    lines = [
        world.sentence(text_id, purposes=_names(world, purposes), file=str(world.paths.consent)),
        *_not_running(world, effect),
        *(world.sentence("consent.purged", id=name) for name in effect.purged),
        *(world.sentence(f"consent.gone.{each.stage}", id=each.id, at=moment(each.at)) for each in effect.gone),
        *([world.sentence("consent.ready", file=effect.ready)] if effect.ready else []),
    ]
    result: dict[str, Shown] = {
        "denied": [str(purpose) for purpose in purposes],
        "file": str(world.paths.consent),
    }
    outcome = _outcome(world, effect, result, lines)
    return outcome._replace(warnings=(*outcome.warnings, *write.failures(world, filter(None, unwritten))))


def check(options: Options, world: Context) -> CommandResult:
    """Judges a file, and says what it would change. Exit 78 with line and cure (for Ansible's `validate`).

    Without one, those in force: consent.toml and what counts beside it.
    """
    name = options.operands[0] if options.operands else str(world.paths.consent)
    after = _judged(world, name, in_force=not options.operands)
    reading = gate_view.consents(world)
    before = reading.file
    if not options.operands:
        _judge_beside(reading)
    would = changes(before, after)
    lines = [world.sentence("check.good", file=name)]
    if options.operands:
        lines.append(world.sentence("check.changes" if would else "check.no_change"))
        for each in would:
            old, new = (value or world.sentence("check.absent") for value in (each.before, each.after))
            lines.append(world.sentence("check.change", key=each.key, before=old, after=new))
    result: dict[str, Shown] = {
        "file": name,
        "changes": [{"key": each.key, "before": each.before, "after": each.after} for each in would],
    }
    return CommandResult(result=result, lines=tuple(lines), warnings=tuple(_stale(world, after)))


def _judge_beside(reading: ConsentReading) -> None:
    """Raises what is wrong with the policies and the record of withdrawals, which count together with the file in force."""
    for fault in reading.faults():
        raise fault


def _judged(world: Context, name: str, *, in_force: bool) -> ConsentFile:
    """Returns the file, parsed. The one in force must also be the owner's alone.

    One that is checked first may lie anywhere.
    """
    try:
        found = write.current(world) if in_force else _given(world, name)
        if found is not None:
            return parse(found)
    except Misconfigured as refused:
        raise refused.but(file=name) from refused
    raise Storage(Fault.IO_FAILED, "file_absent", file=name)


def _given(world: Context, name: str) -> bytes | None:
    if name == "-":
        found = world.read_stdin(MAX_BYTES + 1)
        if len(found) > MAX_BYTES:
            raise Misconfigured(Reason.CONSENT_REFUSED, "file_size", max_bytes=MAX_BYTES)
        return found
    return world.files.read(Path(name), max_bytes=MAX_BYTES, follow=True)


def _stale(world: Context, file: ConsentFile) -> Iterator[Warned]:
    """Grants to another notice than the installed one grant nothing."""
    installed = resources.installed_notice()
    if file.notice != installed and any(choice.allow for choice in file.purposes.values()):
        title = world.sentence("check.stale", notice=file.notice, installed=installed)
        yield Warned(code=str(Reason.NOTICE_CHANGED), title=title)


def _outcome(world: Context, effect: write.Effect, result: dict[str, Shown], lines: list[str]) -> CommandResult:
    return CommandResult(
        result={**result, **effect.to_json()},
        lines=tuple(lines),
        warnings=write.warnings(world, effect),
        exit_status=write.exit_status(effect),
    )


def _waits(world: Context, purpose: Purpose, consent: ConsentReading) -> Iterator[str]:
    """Yields what a finished report still waits for."""
    if purpose in CONSENT_BASED:
        if consent.review(purpose):
            yield world.sentence("why.review")
        elif hold_s := consent.hold_s(purpose):
            yield world.sentence("why.hold", hours=hold_s // HOUR_S)
        else:
            yield world.sentence("why.no_hold")


def _purpose_json(purpose: Purpose, consent: ConsentReading, grounds: tuple[Objection, ...]) -> dict[str, Shown]:
    choice = None if consent.file is None else consent.file.purposes.get(purpose)
    purpose_json: dict[str, Shown] = {
        "purpose": str(purpose),
        "permitted": not grounds,
        "reasons": gate_view.shown(grounds),
    }
    if purpose in CONSENT_BASED:
        purpose_json |= {
            "allow": None if choice is None else choice.allow,
            "line": consent.locate("allow", f"purposes.{purpose}.allow").line,
            "hold_s": consent.hold_s(purpose),
            "review": consent.review(purpose),
        }
    return purpose_json


def _not_running(world: Context, effect: write.Effect) -> tuple[str, ...]:
    return () if effect.running else (world.sentence("consent.not_running"),)


def _names(world: Context, purposes: tuple[Purpose, ...]) -> str:
    return ", ".join(world.sentence(f"purpose.{purpose}") for purpose in purposes)


def _consents(names: tuple[str, ...]) -> tuple[Purpose, ...]:
    """Returns the purposes that consent is asked for, each once. Raises Usage."""
    return tuple(dict.fromkeys(map(consent_purpose, names)))
