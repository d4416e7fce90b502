"""`advisories`: the vendor's signed words to everyone, as the last answer tells them. Needs neither root nor the network."""

from collections.abc import Iterator

from opanel_agent.cli.client import decode_reply
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.layout import paragraph
from opanel_agent.cli.display.output import CommandResult
from opanel_agent.cli.license import status_view as answers
from opanel_agent.cli.license.status import beside
from opanel_agent.cli.license.status_view import AnswerView
from opanel_agent.cli.parser import Options
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.documents.advisory import MAX_BODY


def show(_: Options, world: Context) -> CommandResult:
    answer = answers.latest(world)
    advisories = answer.advisories
    lines: list[str] = []
    with decode_reply():
        for each in advisories:
            lines += [*_advisory_lines(world, Members(each, "advisory")), ""]
    lines = lines[:-1] or [world.sentence("advisories.none")]
    lines += _denied_lines(world, answer)
    return CommandResult(result={"advisories": list(advisories)}, lines=tuple(lines), warnings=beside(world, answer))


def _advisory_lines(world: Context, advisory: Members) -> Iterator[str]:
    severity = world.named("severity", advisory.text("severity"))
    title = advisory.members("title").text(world.lang)
    yield from paragraph(
        world.sentence("advisories.title", severity=severity, title=title, id=advisory.text("id")), hang=2
    )
    yield from paragraph(advisory.members("body").text(world.lang, max_length=MAX_BODY), indent=2)
    if advisory.value("fixed_in") is None:
        yield from paragraph(world.sentence("advisories.not_fixed"), indent=2)
    else:
        yield from paragraph(world.sentence("advisories.fixed", version=advisory.text("fixed_in")), indent=2)


def _denied_lines(world: Context, answer: AnswerView) -> Iterator[str]:
    """Says that none may be told because none is fetched."""
    for reason in answer.denied(Purpose.SECURITY_ADVISORIES):
        yield from paragraph(world.sentence("advisories.denied", reason=world.named("reason", reason)), hang=2)
