"""`prove-silence`: what this server's own settings and consent let out, shown by the kernel. Anyone can run it.

All of the work is the `silence` package's; this prints what it came to, on one screen: the verdict, a line for each
scenario, under it what speaks against it, the controls, and plainly what could not be run. Below that is what no run covers.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from opanel_agent.cli import release
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.layout import paragraph
from opanel_agent.cli.display.output import CommandResult
from opanel_agent.cli.parser import Options
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Usage
from opanel_agent.core.values import replace
from opanel_agent.messages import describe_error
from opanel_agent.silence import runner
from opanel_agent.silence.judge import Scenario, Sends, ViolationKind
from opanel_agent.silence.life import typed_lines
from opanel_agent.silence.runner import ProofTools
from opanel_agent.system.storage.installed_code import InstalledCode

DAYS: Final = 30
MOST_DAYS: Final = 366
PATH_SOCKET: Final = "path_socket"  # the one control that is strace's alone
Part = Mapping[str, Json]

# Whole ids, so that a reader of the source finds each sentence's place.
SCENARIOS: Final[Mapping[str, str]] = {
    Scenario.AS_IT_STANDS: "prove.as_it_stands",
    Scenario.OFFLINE: "prove.offline",
    Scenario.DENIED: "prove.denied",
    Scenario.DO_NOT_TRACK: "prove.do_not_track",
    Scenario.COMMANDS: "prove.commands",
    Scenario.ALLOWED: "prove.allowed",
}
FINDINGS: Final[Mapping[str, str]] = {
    ViolationKind.MONTH_FAILED: "prove.why_month_failed",
    ViolationKind.PASSES_FAILED: "prove.why_passes_failed",
    ViolationKind.UNFINISHED: "prove.why_unfinished",
    ViolationKind.PACKETS: "prove.why_packets",
    ViolationKind.CONNECTIONS: "prove.why_connections",
    ViolationKind.DATAGRAMS: "prove.why_datagrams",
    ViolationKind.OTHER_PACKETS: "prove.why_other_packets",
    ViolationKind.REQUEST_UNEXPECTED: "prove.why_request_unexpected",
    ViolationKind.REQUEST_MISSING: "prove.why_request_missing",
    ViolationKind.REPORT_MISSING: "prove.why_report_missing",
    ViolationKind.COURIER_STARTED: "prove.why_courier_started",
    ViolationKind.INTERNET_SOCKET: "prove.why_internet_socket",
    ViolationKind.PATH_SOCKET: "prove.why_path_socket",
    ViolationKind.PROGRAM_STARTED: "prove.why_program_started",
    ViolationKind.GREETING_UNEXPECTED: "prove.why_greeting_unexpected",
    ViolationKind.GREETING_UNCHANGED: "prove.why_greeting_unchanged",
    ViolationKind.PROCESS_LEFT: "prove.why_process_left",
    ViolationKind.THREAD_KEPT: "prove.why_thread_kept",
    ViolationKind.COMMAND_SENT: "prove.why_command_sent",
    ViolationKind.COMMAND_FAILED: "prove.why_command_failed",
}
LEFT_OUT: Final[Mapping[str, str]] = {
    "unshare_absent": "prove.no_unshare",
    "unshare_refused": "prove.no_namespaces",
    "chamber_refused": "prove.no_chamber",
    "root_absent": "prove.no_root",
    "run_failed": "prove.no_result",
    "strace_absent": "prove.no_strace",
    "strace_refused": "prove.strace_refused",
    "ipv6_absent": "prove.no_ipv6",
    "settings_refused": "prove.settings_refused",
    "license": "prove.no_license",
    "proxy": "prove.no_proxy",
    "cage": "prove.no_cage",
    "answers": "prove.no_answers",
    "activation": "prove.no_activation",
}
NOT_COVERED: Final[Mapping[str, str]] = {
    "timing": "prove.blind_to_timing",
    "random_bytes": "prove.blind_to_random_bytes",
    "recognition": "prove.blind_to_recognition",
    "waits": "prove.blind_to_waits",
    "files": "prove.blind_to_files",
    "path_sockets": "prove.blind_to_path_sockets",
    "installer": "prove.blind_to_installer",
    "families": "prove.blind_to_families",
    "replies": "prove.blind_to_replies",
    "kernel": "prove.blind_to_kernel",
    "weekdays": "prove.blind_to_weekdays",
}
NOT_TYPED: Final[Mapping[str, str]] = {
    typed_lines.ITSELF: "prove.not_typed_itself",
    typed_lines.NOTHING_HELD: "prove.not_typed_nothing_held",
    typed_lines.COMPLETION_ABSENT: "prove.not_typed_completion_absent",
    typed_lines.OTHER_SHELL: "prove.not_typed_other_shell",
    typed_lines.OTHER_USER: "prove.not_typed_other_user",
    typed_lines.ENTRY_ABSENT: "prove.not_typed_entry_absent",
}


def prove(options: Options, world: Context, means: ProofTools | None = None) -> CommandResult:
    """Runs the proof. `means` are the programs and scenarios; a test has its own. Raises Usage for a number of no days."""
    days = options.number("--days", DAYS, high=MOST_DAYS)
    if days == 0:
        raise Usage(Fault.USAGE, "option_number", option="--days", low=1, high=MOST_DAYS)
    world.note("prove.running", days=days)
    tools = replace(means or ProofTools(), ended=lambda done, of: _progress(world, done, of))
    _progress(world, 0, 0)
    proof = runner.prove(world.files, world.paths, days, tools)
    world.console.progress("")
    lines = tuple(part for line in _lines(world, proof.result) for part in line)
    same, reason, sentence = _published(world)
    result = {**proof.result, "published": {"same": same, "code": reason}}
    return CommandResult(result=result, lines=(*lines, *paragraph(sentence)), exit_status=proof.exit_status)


def _published(world: Context, code: InstalledCode | None = None) -> tuple[bool | None, str | None, str]:
    """Tells whether the code that was proven is the code that was published, the code of why not, and a sentence of it."""
    try:
        found = release.check(world, code)
    except AgentError as error:
        why, _ = describe_error(error, world.lang)
        return None, str(error.code), world.sentence("prove.unknown_code", why=why)
    if found.differences:
        return False, str(found.differences[0].error.code), world.sentence("prove.other_code")
    return True, None, world.sentence("prove.published_code", version=found.manifest.version)


def _progress(world: Context, done: int, of: int) -> None:
    world.console.progress(world.sentence("prove.progress", done=done, of=of or "…"))


Lines = Iterator[tuple[str, ...]]


def _lines(world: Context, result: Part) -> Lines:
    proven = result["verdict"] == "proven"
    yield paragraph(world.sentence("prove.proven" if proven else "prove.not_proven"))
    scenarios = [*_each(result["scenarios"])]
    if scenarios:
        yield paragraph(world.sentence("prove.how", days=str(result["days"])))
    for scenario in scenarios:
        yield from _scenario(world, scenario)
    controls = [*_each(result["controls"])]
    if controls:
        counted = ", ".join(f"{each['name']} {each['packets']}" for each in controls if each["name"] != PATH_SOCKET)
        yield paragraph(world.sentence("prove.controls", seen=counted), hang=2)
        blind = ", ".join(str(each["name"]) for each in controls if not each["ok"])
        yield paragraph(world.sentence("prove.blind", names=blind), indent=2, hang=2) if blind else ()
    if any(each["strace"] for each in scenarios):
        yield paragraph(world.sentence("prove.strace"), hang=2)
    for each in _each(result["not_run"]):
        text = world.sentence(LEFT_OUT[str(each["code"])])
        detail = each.get("told")
        yield paragraph(f"- {text}" + (f" ({detail})" if detail else ""), hang=2)
    blind_to = result.get("not_covered")
    if isinstance(blind_to, list) and scenarios:
        yield paragraph(world.sentence("prove.not_covered"))
        yield from (paragraph(f"- {world.sentence(NOT_COVERED[str(code)])}", hang=2) for code in blind_to)
        for each in (line for scenario in scenarios for line in _each(scenario.get("not_typed"))):
            text = world.sentence("prove.not_typed", line=str(each["line"]))
            yield paragraph(f"- {text}: {world.sentence(NOT_TYPED[str(each['code'])])}", hang=2)


def _scenario(world: Context, scenario: Part) -> Lines:
    name = world.sentence(SCENARIOS[str(scenario["name"])])
    judged = world.sentence("prove.holds" if scenario["ok"] else "prove.fails")
    counts = world.sentence(
        "prove.counts",
        packets=str(scenario["packets"]),
        connections=str(scenario["connections"]),
        datagrams=str(scenario["udp"]),
    )
    yield paragraph(f"{judged}  {name}: {counts}", hang=4)
    if scenario["name"] in (Scenario.AS_IT_STANDS, Scenario.COMMANDS):
        for request in _each(scenario["requests"]):
            yield (f"    {request['count']} × {request['line']} ({request['host']})",)
    if scenario["name"] == Scenario.COMMANDS:
        lines = [*_each(scenario.get("commands"))]
        quiet = sum(each["sends"] == Sends.NOTHING and not each["packets"] for each in lines)
        yield paragraph(world.sentence("prove.typed", count=len(lines), quiet=quiet), indent=4, hang=2)
    for finding in _each(scenario["why"]):
        yield paragraph(_finding(world, finding), indent=4, hang=2)


def _finding(world: Context, finding: Part) -> str:
    sentence = world.sentence(FINDINGS[str(finding["code"])], count=str(finding["count"]))
    where = [str(finding[name]) for name in ("process", "what") if finding[name]]
    return f"- {sentence}" + (f" ({': '.join(where)})" if where else "")


def _each(value: Json) -> Iterator[Part]:
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())
