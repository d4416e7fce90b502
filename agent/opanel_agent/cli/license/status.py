"""`status`: one screen for a person, the envelope for a program, one line for Nagios, gauges for Prometheus.

None of them needs root or the network: they read the last answer, from the daemon or from the file that it leaves.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Final

from opanel_agent.cli.consent import signals
from opanel_agent.cli.context import Context
from opanel_agent.cli.layout import paragraph
from opanel_agent.cli.license import status_view as answers
from opanel_agent.cli.license.metrics import metrics
from opanel_agent.cli.license.status_view import CONTACT, PERMITS, AnswerView, LicenseView, number
from opanel_agent.cli.output import CommandResult, Warned
from opanel_agent.cli.parser import Options, one_of
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.opt_outs import Signal
from opanel_agent.core.errors import AgentError
from opanel_agent.core.license.states import Action, State
from opanel_agent.core.units import DAY_S, HOUR_S
from opanel_agent.messages import describe_error

CHECK_OK, CHECK_WARNING, CHECK_CRITICAL, CHECK_UNKNOWN = range(4)
# Told like any reason, but no fault of the license: a container or the demo simply has no systemd to confine it.
NO_WARNING: Final = frozenset({Reason.OK, Reason.ISOLATION_PARTIAL, Reason.ISOLATION_NONE})
# Of what keeps a renewal from coming, the codes that are no reason of a state or of the gate.
NOT_RENEWED: Final[Mapping[str, str]] = {
    Fault.NOT_YET: "renewal.not_yet",
    Fault.RATE_LIMITED: "renewal.rate_limited",
    Fault.KEY_UNKNOWN: "renewal.key_unknown",
}


def status(options: Options, world: Context) -> CommandResult:
    match one_of(options, "--check", "--metrics", "--json"):
        case "--check":
            return check(world)
        case "--metrics":
            return metrics(world)
        case _:
            return screen(world)


def screen(world: Context) -> CommandResult:
    """License, isolation and what is next, in a screenful."""
    answer = answers.latest(world)
    lines = (*license_lines(world, answer.license), *_house_lines(world, answer))
    alone = signals.shell_alone(world, _do_not_track(world, answer))
    return CommandResult(result=answer.told, lines=tuple(lines), warnings=(*beside(world, answer), *alone))


def _do_not_track(world: Context, answer: AnswerView) -> tuple[Signal, ...]:
    """Returns every do-not-track that the daemon obeys."""
    return (*world.optouts.read().do_not_track, *signals.in_answer(answer))


def check(world: Context) -> CommandResult:
    """One line and the exit status of the Nagios convention; 3 where nothing is known, whatever the cause."""
    try:
        answer = answers.latest(world)
    except AgentError as error:
        title, _ = describe_error(error, world.lang)
        line = world.say("check.unknown", problem=title)
        return CommandResult(
            result={"exit": CHECK_UNKNOWN, "code": str(error.code)}, lines=(line,), exit_status=CHECK_UNKNOWN
        )
    license_ = answer.license
    level = _level(answer, int(world.now_s()))
    word = ("OK", "WARNING", "CRITICAL", "UNKNOWN")[level]
    reasons = ", ".join(world.named("reason", code) for code in license_.reasons)
    line = f"OPANEL {word} - {world.named('state', license_.state)}: {reasons}"
    line = "; ".join([line, *(warned.title for warned in beside(world, answer))])
    result: dict[str, Json] = {"exit": level, "state": license_.state, "reasons": list(license_.reasons)}
    return CommandResult(result=result, lines=(line,), exit_status=level)


def _level(answer: AnswerView, now_s: int) -> int:
    license_ = answer.license
    if not answer.live and now_s > license_.good_until:
        return CHECK_UNKNOWN
    if license_.state not in (State.ACTIVE, State.GRACE):
        return CHECK_CRITICAL
    well = license_.state == State.ACTIVE and NO_WARNING.issuperset(license_.reasons) and not license_.warned
    return CHECK_OK if well and answer.live and answer.trouble is None else CHECK_WARNING


def _until(world: Context, until: int, left_s: int) -> str:
    """Rounded up, and in hours once days would say too little."""
    if left_s < 2 * DAY_S:
        return world.say("status.until_hours", until=moment(until), hours=-(-left_s // HOUR_S))
    return world.say("status.until", until=moment(until), days=-(-left_s // DAY_S))


def license_lines(world: Context, license_: LicenseView) -> Iterator[str]:
    """The license as people ask about it: what holds and why, since and until when, what is allowed, whom to call."""
    yield world.say("status.license", state=world.named("state", license_.state))
    for code in license_.reasons:
        yield world.say("status.reason", reason=world.named("reason", code), code=code)
    yield from _terms_lines(world, license_)
    yield world.say("status.since", since=moment(license_.since))
    if license_.until is not None:
        yield _until(world, license_.until, max(0, license_.until - license_.as_of))
    for name in PERMITS:
        yield world.say(
            "status.permit", permit=world.say(f"permit.{name}"), given=world.say(f"yesno.{license_.permits[name]}")
        )
    if license_.features:
        yield world.say("status.features", features=", ".join(license_.features))
    if license_.limits:
        limits = ", ".join(f"{name} {value}" for name, value in license_.limits.items())
        yield world.say("status.limits", limits=limits)
    if license_.reseller:
        name = license_.reseller.get("name", "?")
        contact = ", ".join(license_.reseller[way] for way in CONTACT if way in license_.reseller)
        known = world.say("status.reseller", name=name, contact=contact)
        yield known if contact else world.say("status.reseller_name", name=name)
    if license_.action != Action.NONE:
        yield world.say("status.action", action=license_.action_texts[world.lang])


def _terms_lines(world: Context, license_: LicenseView) -> Iterator[str]:
    """Which license it is, and when it ends: what an administrator asks first."""
    expires = number(license_.terms, "expires")
    names = [license_.terms.get(name) for name in ("product", "tier", "id")]
    if expires is None or not all(isinstance(name, str) for name in names):
        return
    product, tier, license_id = map(str, names)
    left_s = expires - license_.as_of
    until = "status.valid_until" if left_s > 0 else "status.expired_at"
    yield world.say(until, until=moment(expires), days=abs(left_s) // DAY_S)
    yield world.say("status.terms", product=product, tier=tier, id=license_id)


def _house_lines(world: Context, answer: AnswerView) -> Iterator[str]:
    """What the agent says of itself: what may leave, how it is confined, whom it trusts, when it looks next."""
    check = answer.part("last_check")
    yield from _purpose_lines(world, answer)
    yield from _report_lines(world, answer)
    if answer.advisories:
        yield world.say("status.advisories", count=len(answer.advisories))
    yield from _isolation_line(world, answer.part("isolation"))
    root = answer.part("root")
    if isinstance(root.get("name"), str):
        yield world.say("status.root", name=str(root["name"]), sha256=str(root.get("sha256", "?"))[:16])
    yield _last_check(world, check.get("at"), check.get("failure"))
    at = answer.part("next_run").get("at")
    if isinstance(at, int):
        yield world.say("status.next_run", at=moment(at))
    yield from _renewal_lines(world, answer.part("renewal"))
    yield world.say("status.as_of", as_of=moment(answer.license.as_of), good_until=moment(answer.license.good_until))
    if world.optouts.read().offline:
        yield world.say("offline.in_force")
    if _do_not_track(world, answer):
        yield world.say("dnt.in_force")


def _renewal_lines(world: Context, told: Mapping[str, Json]) -> Iterator[str]:
    """How the last request for a newer edition ended, and when the next is due; nothing where none is made."""
    at, following, failure = number(told, "at"), number(told, "next"), told.get("failure")
    if at is not None and isinstance(failure, str):
        reason = world.say(NOT_RENEWED[failure]) if failure in NOT_RENEWED else world.named("reason", failure)
        yield world.say("status.not_renewed", at=moment(at), reason=reason)
    elif at is not None:
        yield world.say("status.renewed", at=moment(at))
    if following is not None:
        yield world.say("status.next_renewal", at=moment(following))


def _isolation_line(world: Context, told: Mapping[str, Json]) -> Iterator[str]:
    """How well systemd confines the processes, and what of it does not hold. Of `none` the level says it all."""
    level, missing = told.get("level"), told.get("missing")
    if not isinstance(level, str):
        return
    isolation = world.named("isolation", level)
    if level == "partial" and isinstance(missing, list):
        names = ", ".join(world.named("missing", str(code)) for code in missing)
        yield world.say("status.isolation_missing", isolation=isolation, missing=names)
    else:
        yield world.say("status.isolation", isolation=isolation)


def _purpose_lines(world: Context, answer: AnswerView) -> Iterator[str]:
    """What may leave, each on a line; of what may not, the first reason (`consent why` has them all)."""
    for purpose, permitted in answer.permitted.items():
        word = world.say("status.may_leave" if permitted else "status.may_not_leave")
        reasons = (f", {world.named('reason', code)}" for code in answer.denied(purpose)[:1])
        said = world.say("status.purpose", purpose=world.named("purpose", purpose), word=word)
        yield from paragraph(said + "".join(reasons), hang=2)


def _report_lines(world: Context, answer: AnswerView) -> Iterator[str]:
    """What left last of what says something about this server, what waits to, and when the next is due."""
    left, reports = answer.part("last_left"), answer.part("reports")
    if (at := number(left, "at")) is not None:
        purpose = world.named("purpose", str(left.get("purpose", "?")))
        said, url = str(left.get("id", "?")), str(left.get("url", "?"))
        yield from paragraph(world.say("status.last_left", at=moment(at), purpose=purpose, url=url, id=said), hang=2)
    elif "last_left" in answer.told:
        yield world.say("status.nothing_left")
    held, following = number(reports, "held"), number(reports, "next")
    if held and following is not None:
        yield world.say("status.reports", count=held, at=moment(following))
    elif held:
        yield world.say("status.held", count=held)
    elif following is not None:
        yield world.say("status.next_report", at=moment(following))


def _last_check(world: Context, at: Json, failure: Json) -> str:
    when = moment(at) if isinstance(at, int) else world.say("status.never")
    if isinstance(failure, str):
        return world.say("status.check_failed", at=when, reason=world.named("reason", failure))
    return world.say("status.checked", at=when)


def beside(world: Context, answer: AnswerView) -> tuple[Warned, ...]:
    """What to know of an answer that is not the daemon's latest word."""
    told: list[Warned] = []
    if not answer.live:
        title = world.say("status.not_live", as_of=moment(answer.license.as_of))
        told.append(Warned(code=Fault.NOT_RUNNING, title=title))
    if answer.trouble is not None:
        title, _ = describe_error(answer.trouble, world.lang)
        told.append(Warned(code=str(answer.trouble.code), title=world.say("status.trouble", problem=title)))
    return tuple(told)


def moment(seconds: int) -> str:
    """A time as a person reads it, in this server's zone and saying which. Far ones mean never and have no date."""
    try:
        return time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return str(seconds)
