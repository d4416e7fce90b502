"""Tells apart the opt-outs that the daemon obeys from those that only this shell has.

The daemon decides by files, which anyone can read afresh, and by the variables that its unit, its manager or its defaults
file gave it, which only its last answer tells. The variables of the shell hold for the commands typed in it: they go with
every request (`cli.client`) and can only narrow.
"""

from collections.abc import Iterator

from opanel_agent.cli.consent.locations import place_name, where
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.output import Shown, Warned
from opanel_agent.cli.license.status_view import AnswerView
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.opt_outs import COMMAND_ENVIRONMENT, PROCESS_ENVIRONMENT, Signal, SignalKind


def of_shell(world: Context) -> tuple[Signal, ...]:
    """Returns the opt-outs of this command's own environment."""
    return tuple(
        Signal(kind=SignalKind.ENVIRONMENT, what=assignment, place=COMMAND_ENVIRONMENT)
        for assignment in world.client.signals
    )


def in_answer(answer: AnswerView) -> tuple[Signal, ...]:
    """Returns the opt-outs that an answer says its process's environment has."""
    signals = answer.part("consent").get("do_not_track")
    return tuple(
        Signal(kind=SignalKind.ENVIRONMENT, what=each["what"], place=PROCESS_ENVIRONMENT)
        for each in (signals if isinstance(signals, list) else ())
        if isinstance(each, dict) and each.get("place") == PROCESS_ENVIRONMENT and isinstance(each["what"], str)
    )


def shell_alone(world: Context, obeyed: tuple[Signal, ...]) -> tuple[Warned, ...]:
    """Returns a warning where this shell has an opt-out and the daemon obeys none, with the cure."""
    if obeyed or not world.client.signals:
        return ()
    title = world.sentence("dnt.shell_alone", what=", ".join(world.client.signals))
    return (Warned(code=str(Reason.OPT_OUT), title=title),)


def lines(world: Context, signals: tuple[Signal, ...]) -> Iterator[str]:
    """Yields each signal with the place that it stands in."""
    for signal in signals:
        place = place_name(world, signal.place)
        if signal.kind is SignalKind.WITHDRAWAL:
            yield f"  {where(world, signal)}"
        elif signal.line is None:
            yield world.sentence("signal.place", what=signal.what, place=place)
        else:
            yield world.sentence("signal.line", what=signal.what, place=place, line=signal.line)


def shown(signals: tuple[Signal, ...]) -> Shown:
    """Returns the signals as members of a result; `holds` is where each is obeyed: all over, or in this shell alone."""
    holds = {PROCESS_ENVIRONMENT: "daemon", COMMAND_ENVIRONMENT: "shell"}
    return [
        {"what": each.what, "place": each.place, "line": each.line, "holds": holds.get(each.place, "file")}
        for each in signals
    ]
