"""`setup`: the installer's questions. First the notice, then one question a consent, each with no for an answer.

Nothing is preselected and nothing is bundled: Enter is no, "later" is no, whatever is not understood is asked again and then
is no. Where nobody can be asked (no terminal, an unattended installation, a do-not-track signal) nothing is asked and
nothing is written: what nobody answered is denied. A file may answer instead (`--preseed`), if it names who granted.

An answer that stands is not asked for again by itself: where the answers are to the installed notice, whether to answer anew
is a question of its own; where they are to an older one, only what it allowed, or did not know, is asked.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from opanel_agent.cli.consent import gate_view, write
from opanel_agent.cli.consent.notice import page
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.markup import rendered
from opanel_agent.cli.display.output import CommandResult, Shown, Warned
from opanel_agent.cli.display.prompter import Prompter
from opanel_agent.cli.parser import Options
from opanel_agent.core.codec.strict_toml import MAX_BYTES
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent import consent_file
from opanel_agent.core.consent.consent_file import ConsentFile, ConsentReading
from opanel_agent.core.consent.opt_outs import Signal
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.errors import AgentError, Misconfigured, Storage
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.core.text_safety import escape
from opanel_agent.core.units import Language
from opanel_agent.messages import describe_error
from opanel_agent.system.storage import resources
from opanel_agent.system.terminal import Terminal


def setup(options: Options, world: Context) -> CommandResult:
    """Raises Misconfigured where consent.toml is refused: what it was meant to say is not written over."""
    world.need_owner()
    reading = gate_view.read(world)
    consent = reading.consent
    if consent.refused is not None:
        raise consent.refused
    if "--preseed" in options.values:
        return _preseeded(world, options.values["--preseed"])
    why_not = _silence(world, reading.do_not_track)
    teletype = None if why_not else world.teletype()
    if teletype is None:
        return _unasked(world, consent, why_not or "no_terminal")
    return _asked(Prompter(world=_speaking(world, options, teletype), teletype=teletype), consent.file)


def _silence(world: Context, obeyed: tuple[Signal, ...]) -> str | None:
    """Tells why nobody is to be asked, although a terminal may be there."""
    environ = world.environ
    if world.client.signals or obeyed:
        return "do_not_track"
    if environ.get("CI", "").lower() not in ("", "0", "false"):
        return "ci"
    return "noninteractive" if environ.get("DEBIAN_FRONTEND") == "noninteractive" else None


def _unasked(world: Context, consent: ConsentReading, why: str) -> CommandResult:
    """Shows one line that says why, and how to change it. What was answered before stands."""
    text_id = "setup.unasked" if consent.file is None else "setup.unasked_kept"
    line = world.sentence(text_id, why=world.sentence(f"silence.{why}"))
    return CommandResult(result={"asked": False, "why": why, "file": consent.place}, lines=(line,))


def _speaking(world: Context, options: Options, teletype: Terminal) -> Context:
    """Returns the world in the language that the person reads: from the flag or the settings, else asked for."""
    try:
        chosen = "--lang" in options.values or world.settings().language is not None
    except Misconfigured:
        chosen = False
    if chosen:
        return world
    typed = teletype.ask("Türkçe: t · English: e >").lower()
    languages: Mapping[str, Language] = {"t": "tr", "e": "en"}
    return world._replace(lang=languages.get(typed[:1], world.lang))


def _asked(prompter: Prompter, before: ConsentFile | None) -> CommandResult:
    world, installed = prompter.world, resources.installed_notice()
    noticed = _show_notice(prompter, installed)
    if before is not None and before.notice == installed:
        prompter.show("\n" + world.sentence("setup.answered_before", file=str(world.paths.consent)))
        if not prompter.agrees(world.sentence("setup.again")):
            return _outcome(world, before, noticed, kept=True)
        before = None
    answers = dict(_answers(prompter, before))
    write.answer(world, answers)
    effect = write.notify_agent(world)
    outcome = _outcome(world, gate_view.consents(world).file, noticed, kept=False)
    return outcome._replace(
        warnings=(*outcome.warnings, *write.warnings(world, effect)),
        exit_status=write.exit_status(effect),
    )


def _show_notice(prompter: Prompter, installed: str) -> tuple[Warned, ...]:
    """Shows the whole of it, a screenful at a time; that it was shown is recorded where the agent runs."""
    step = max(prompter.teletype.rows - 2, 5)
    lines = page(prompter.world, prompter.world.lang)
    for start in range(0, len(lines), step):
        for line in lines[start : start + step]:
            prompter.teletype.show(rendered(escape(line), styles=False))
        if start + step < len(lines):
            prompter.teletype.ask(prompter.world.sentence("setup.read_on"))
    try:
        prompter.world.client.post("/v1/noticed", {"version": installed, "lang": prompter.world.lang})
    except AgentError as error:
        if error.code is Fault.NOT_RUNNING:
            return ()
        title, _ = describe_error(error, prompter.world.lang)
        return (Warned(code=str(error.code), title=prompter.world.sentence("setup.not_recorded", problem=title)),)
    return ()


def _answers(prompter: Prompter, before: ConsentFile | None) -> Iterator[tuple[Purpose, bool]]:
    """Asks one question a consent. A "no" to an older notice stands: it is not asked again."""
    catalog = resources.load_catalog()
    for number, purpose in enumerate(CONSENT_BASED, start=1):
        choice = None if before is None else before.purposes.get(purpose)
        if choice is not None and not choice.allow:
            continue
        prompter.show(f"\n{number}/{len(CONSENT_BASED)}  {_question(prompter.world, purpose, catalog)}")
        yield purpose, prompter.agrees(prompter.world.sentence("setup.prompt"))


def _question(world: Context, purpose: Purpose, catalog: Catalog) -> str:
    """Returns what leaves, why, how long it is kept, and what happens if not."""
    fields = catalog.fields(purpose)
    names = ", ".join(field.label[world.lang] for field in fields.values() if field.until is None)
    return world.sentence(
        f"question.{purpose}",
        fields=names,
        here=max(field.retention_days_here for field in fields.values()),
        there=max(field.retention_days_there for field in fields.values()),
    )


def _preseeded(world: Context, name: str) -> CommandResult:
    """Takes the answers of a file, byte for byte, unless answers to the same notice stand already."""
    found = world.files.read(Path(name), max_bytes=MAX_BYTES, follow=True)
    if found is None:
        raise Storage(Fault.IO_FAILED, "file_absent", file=name)
    file, installed = _granting(found, name), resources.installed_notice()
    stands = write.replace_file(world, file, found, keeps=lambda known: known.notice == installed)
    kept = stands is not file
    effect = write.notify_agent(world)
    outcome = _outcome(world, stands, write.warnings(world, effect), kept=kept, asked=False)
    return outcome._replace(exit_status=write.exit_status(effect))


def _granting(found: bytes, name: str) -> ConsentFile:
    """Returns the file, parsed. A grant in it must name who gave it, and be to the installed notice.

    Raises Misconfigured.
    """
    try:
        file = consent_file.parse(found)
    except Misconfigured as refused:
        raise refused.but(file=name) from refused
    installed = resources.installed_notice()
    if any(choice.allow for choice in file.purposes.values()):
        if file.granted is None:
            raise Misconfigured(Reason.CONSENT_REFUSED, "preseed_nobody", file=name)
        if file.notice != installed:
            raise Misconfigured(Reason.NOTICE_CHANGED, "preseed_notice", file=name, installed=installed)
    return file


def _outcome(
    world: Context, file: ConsentFile | None, warnings: tuple[Warned, ...], *, kept: bool, asked: bool = True
) -> CommandResult:
    """Shows what stands now, and how to change it."""
    answers = {} if file is None else {purpose: choice.allow for purpose, choice in file.purposes.items()}
    lines = [
        world.sentence(
            "setup.answer",
            purpose=world.sentence(f"purpose.{purpose}"),
            answer=world.sentence(f"yesno.{answers.get(purpose, False)}"),
        )
        for purpose in CONSENT_BASED
    ]
    head = world.sentence("setup.kept" if kept else "setup.written", file=str(world.paths.consent))
    result: dict[str, Shown] = {
        "asked": asked,
        "kept": kept,
        "file": str(world.paths.consent),
        "answers": {str(purpose): answers.get(purpose, False) for purpose in CONSENT_BASED},
    }
    return CommandResult(result=result, lines=(head, *lines, world.sentence("setup.change")), warnings=warnings)
