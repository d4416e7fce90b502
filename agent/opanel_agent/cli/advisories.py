"""`advisories`: the vendor's signed words to everyone, as the last answer tells them. Needs neither root nor the network."""

from collections.abc import Iterator
from typing import Final

from opanel_agent.cli import answer as answers
from opanel_agent.cli.answer import Answer
from opanel_agent.cli.client import understood
from opanel_agent.cli.grammar import Command, Options
from opanel_agent.cli.layout import paragraph
from opanel_agent.cli.output import Outcome
from opanel_agent.cli.status import beside
from opanel_agent.cli.world import World
from opanel_agent.core.documents.advisory import MAX_BODY
from opanel_agent.core.purposes import Purpose
from opanel_agent.core.strict_json import Members


def show(_: Options, world: World) -> Outcome:
    answer = answers.latest(world)
    told = answer.advisories
    lines: list[str] = []
    with understood():
        for each in told:
            lines += [*_advisory_lines(world, Members(each, "advisory")), ""]
    lines = lines[:-1] or [world.say("advisories.none")]
    lines += _denied_lines(world, answer)
    return Outcome(result={"advisories": list(told)}, lines=tuple(lines), warnings=beside(world, answer))


def _advisory_lines(world: World, told: Members) -> Iterator[str]:
    severity = world.named("severity", told.text("severity"))
    title = told.members("title").text(world.lang)
    yield from paragraph(world.say("advisories.title", severity=severity, title=title, id=told.text("id")), hang=2)
    yield from paragraph(told.members("body").text(world.lang, max_length=MAX_BODY), indent=2)
    if told.value("fixed_in") is None:
        yield from paragraph(world.say("advisories.not_fixed"), indent=2)
    else:
        yield from paragraph(world.say("advisories.fixed", version=told.text("fixed_in")), indent=2)


def _denied_lines(world: World, answer: Answer) -> Iterator[str]:
    """That none may be told because none is fetched."""
    for reason in answer.denied(Purpose.SECURITY_ADVISORIES):
        yield from paragraph(world.say("advisories.denied", reason=world.named("reason", reason)), hang=2)


COMMANDS: Final = (Command(words=("advisories",), run=show),)
