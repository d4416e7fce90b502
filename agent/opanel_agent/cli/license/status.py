"""`status`: one screen for a person, the envelope for a program, one line for Nagios, gauges for Prometheus.

None of them needs root or the network: they read the last answer, from the daemon or from the file that it leaves.
"""

from collections.abc import Iterator
from typing import Final

from opanel_agent.cli.consent import gate_view, signals
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.layout import fitted
from opanel_agent.cli.display.output import CommandResult, Warned
from opanel_agent.cli.display.times import day, moment, relative
from opanel_agent.cli.license import status_view as answers
from opanel_agent.cli.license.metrics import metrics
from opanel_agent.cli.license.screen import ABOUT_ISOLATION, more_row, status_rows
from opanel_agent.cli.license.status_view import AnswerView, number
from opanel_agent.cli.parser import Options, one_of
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError
from opanel_agent.core.license.states import State
from opanel_agent.core.units import DAY_S
from opanel_agent.messages import describe_error

MAX_LINES: Final = 15
CHECK_OK, CHECK_WARNING, CHECK_CRITICAL, CHECK_UNKNOWN = range(4)


def status(options: Options, world: Context) -> CommandResult:
    match one_of(options, "--check", "--metrics", "--json"):
        case "--check":
            return check(world)
        case "--metrics":
            return metrics(world)
        case _:
            return screen(world)


def screen(world: Context) -> CommandResult:
    """Shows the license, what is sent, isolation and opt-outs, in at most 15 lines; what may leave is computed now.

    What other commands show, too, makes room for what is wrong.
    """
    answer = answers.latest(world)
    reading = gate_view.read_beside(world, answer)
    answer = gate_view.present(answer, reading)
    readable = reading.do_not_track if reading.readable else reading.opt_outs.do_not_track
    obeyed = tuple(dict.fromkeys((*readable, *signals.in_answer(answer))))
    rows = status_rows(world, answer, reading, obeyed)
    lines = fitted(rows, MAX_LINES, world.console.columns, lambda names: more_row(world, names))
    warnings = (*beside(world, answer), *signals.shell_alone(world, obeyed))
    return CommandResult(result=answer.members, lines=lines, warnings=warnings)


def check(world: Context) -> CommandResult:
    """Returns one line, with the exit status of the Nagios convention; 3 where nothing is known, whatever the cause."""
    try:
        answer = answers.latest(world)
    except AgentError as error:
        title, _ = describe_error(error, world.lang)
        line = world.sentence("check.unknown", problem=title)
        return CommandResult(
            result={"exit": CHECK_UNKNOWN, "code": str(error.code)}, lines=(line,), exit_status=CHECK_UNKNOWN
        )
    license_ = answer.license
    level = _level(answer, int(world.now_s()))
    word = ("OK", "WARNING", "CRITICAL", "UNKNOWN")[level]
    text = "; ".join(_check_parts(world, answer))
    figures = " ".join(_perfdata(answer, int(world.now_s())))
    line = f"OPANEL {word} - {text} | {figures}" if figures else f"OPANEL {word} - {text}"
    result: dict[str, Json] = {"exit": level, "state": license_.state, "reasons": list(license_.reasons)}
    return CommandResult(result=result, lines=(line,), exit_status=level)


def _check_parts(world: Context, answer: AnswerView) -> Iterator[str]:
    """Yields the state with its causes (the confinement by systemd is none), when the license ends, what is amiss."""
    license_ = answer.license
    state, tier, expires = world.named("state", license_.state), license_.tier, number(license_.terms, "expires")
    reasons = ", ".join(world.named("reason", code) for code in license_.reasons if code not in ABOUT_ISOLATION)
    yield f"{state}: {reasons}" if reasons else state
    if tier is not None and expires is not None:
        yield world.sentence("check.valid", tier=tier, day=day(expires), relative=relative(world, expires))
    for warned in beside(world, answer):
        yield warned.title.replace("|", "/")  # which would begin the figures


def _perfdata(answer: AnswerView, now_s: int) -> Iterator[str]:
    """Yields figures for graphs (Monitoring Plugins guidelines, 2.6), without thresholds: the state has decided.

    Days are counted as `relative` counts them.
    """
    license_ = answer.license
    for name, at in (
        ("days_left", number(license_.terms, "expires")),
        ("offline_days_left", number(license_.terms, "offline_until")),
    ):
        if at is not None:
            yield f"{name}={max(0, -((now_s - at) // DAY_S))};;;0"
    succeeded = number(answer.part("license"), "last_success")
    if succeeded is not None:
        yield f"check_age={max(0, now_s - succeeded)}s;;;0"


def _level(answer: AnswerView, now_s: int) -> int:
    license_ = answer.license
    if not answer.live and now_s > license_.good_until:
        return CHECK_UNKNOWN
    if license_.state not in (State.ACTIVE, State.GRACE):
        return CHECK_CRITICAL
    well = license_.state == State.ACTIVE and ABOUT_ISOLATION.issuperset(license_.reasons) and not license_.warned
    return CHECK_OK if well and answer.live and answer.trouble is None else CHECK_WARNING


def beside(world: Context, answer: AnswerView) -> tuple[Warned, ...]:
    """Returns what to know of an answer that is not the daemon's latest word."""
    warnings: list[Warned] = []
    if not answer.live:
        title = world.sentence("status.not_live", as_of=moment(answer.license.as_of))
        warnings.append(Warned(code=Fault.NOT_RUNNING, title=title))
    if answer.trouble is not None:
        title, _ = describe_error(answer.trouble, world.lang)
        warnings.append(Warned(code=str(answer.trouble.code), title=world.sentence("status.trouble", problem=title)))
    return tuple(warnings)
