"""`status --metrics`: the last answer as OpenMetrics 1.0 text, for node_exporter's textfile collector.

Gauges only: that collector knows no state sets and no infos. A moment is told in seconds since the epoch, and of those
that people alert on also how far away it is, counted when this was printed. What the answer does not say has no sample.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from opanel_agent.cli.consent import gate_view
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.output import CommandResult
from opanel_agent.cli.license import status_view as answers
from opanel_agent.cli.license.status_view import PERMITS, AnswerView, number
from opanel_agent.core.errors import AgentError
from opanel_agent.core.license.states import State

METRIC: Final = "opanel_agent"
LEVELS: Final = ("kernel", "partial", "none")
STAGES: Final = ("sealed", "attempted", "sent", "answered")  # of core.ledger.requests, which is too much to load here

Family = Iterator[str]


def metrics(world: Context) -> CommandResult:
    try:
        answer = answers.latest(world)
    except AgentError as error:
        lines = (*_gauge("up", "the daemon answers", {"": 0}), "# EOF")
        return CommandResult(result={"up": False, "code": str(error.code)}, lines=lines)
    answer = gate_view.present(answer, gate_view.read_beside(world, answer))
    now_s = int(world.now_s())
    families = (*_license(answer, now_s), *_terms(answer, now_s), *_agent(answer, now_s), *_promise(answer))
    lines = tuple(line for family in families for line in family)
    return CommandResult(result=answer.license.members, lines=(*lines, "# EOF"))


def _license(answer: AnswerView, now_s: int) -> Iterator[Family]:
    license_ = answer.license
    known = dict.fromkeys((str(state) for state in State), 0) | {license_.state: 1}
    permits = {name: int(license_.permits[name]) for name in PERMITS}
    yield _gauge("license_state", "1 for the current state", _labelled("state", known))
    yield _gauge(
        "license_reason", "1 for each reason that holds", _labelled("reason", dict.fromkeys(license_.reasons, 1))
    )
    yield _gauge("license_permits", "1 for what the panel may do", _labelled("permit", permits))
    yield _gauge("license_since_seconds", "when the state began, seconds since the epoch", {"": license_.since})
    yield _gauge("license_until_seconds", "when time alone changes the state", _maybe(license_.until))
    yield _gauge("license_left_seconds", "how long until then", _left(license_.until, now_s))


def _terms(answer: AnswerView, now_s: int) -> Iterator[Family]:
    """Yields when the license ends, is renewed, and needs the next status list; no sample where it says none."""
    terms, renewal = answer.license.terms, answer.part("renewal")
    expires, offline_until = number(terms, "expires"), number(terms, "offline_until")
    refused = None if number(renewal, "at") is None else int(renewal.get("failure") is not None)
    yield _gauge("license_expires_seconds", "when the license ends, seconds since the epoch", _maybe(expires))
    yield _gauge("license_expires_left_seconds", "how long until then", _left(expires, now_s))
    yield _gauge("license_renews_from_seconds", "from when it may be renewed", _maybe(number(terms, "renews_from")))
    yield _gauge("license_offline_until_seconds", "until when it is valid without a check", _maybe(offline_until))
    yield _gauge("license_offline_left_seconds", "how long until then", _left(offline_until, now_s))
    yield _gauge("renewal_seconds", "when a renewal was requested last", _maybe(number(renewal, "at")))
    yield _gauge("renewal_next_seconds", "when one is requested next", _maybe(number(renewal, "next")))
    yield _gauge("renewal_failed", "1 when the last request was not granted", _maybe(refused))


def _agent(answer: AnswerView, now_s: int) -> Iterator[Family]:
    """Yields whether it runs, looks, gets through, and is confined."""
    license_, isolation = answer.license, answer.part("isolation")
    level, missing = isolation.get("level"), isolation.get("missing")
    levels = dict.fromkeys(LEVELS, 0) | {level: 1} if isinstance(level, str) else {}
    succeeded = number(answer.part("license"), "last_success")
    age_s = None if succeeded is None else max(0, now_s - succeeded)
    failed = answer.part("last_check").get("failure") is not None
    yield _gauge("up", "the daemon answers", {"": int(answer.live)})
    yield _gauge("trouble", "1 when the last evaluation failed", {"": int(answer.trouble is not None)})
    yield _gauge("answer_seconds", "when the last evaluation answered, seconds since the epoch", {"": license_.as_of})
    yield _gauge("answer_good_until_seconds", "how long the panel may rely on it", {"": license_.good_until})
    yield _gauge("last_success_seconds", "when a check last brought a status list", _maybe(succeeded))
    yield _gauge("last_success_age_seconds", "how long ago that was", _maybe(age_s))
    yield _gauge("check_failed", "1 when the last check failed", {"": int(failed)})
    yield _gauge("next_run_seconds", "when the next check is due", _maybe(number(answer.part("next_run"), "at")))
    yield _gauge("root_until_seconds", "when the root of trust expires", _maybe(number(answer.part("root"), "exp")))
    yield _gauge("isolation", "1 for the current level", _labelled("level", levels))
    walls = len(missing) if isinstance(missing, list) else None
    yield _gauge("isolation_missing", "sandbox restrictions that are not active", _maybe(walls))
    yield _gauge("advisories", "security advisories in force", {"": len(answer.advisories)})


def _promise(answer: AnswerView) -> Iterator[Family]:
    """Yields what may leave, what did and what waits to, as gauges; no sample of what an older daemon does not tell."""
    permitted = {purpose: int(may) for purpose, may in answer.permitted.items()}
    reports, left = answer.part("reports"), answer.part("last_left")
    stages = {stage: at for stage in STAGES if (at := number(answer.part("requests"), stage)) is not None}
    yield _gauge("purpose_permitted", "1 for each purpose that may send now", _labelled("purpose", permitted))
    yield _gauge("held_reports", "reports being held", _maybe(number(reports, "held")))
    yield _gauge("next_report_seconds", "when the next report is made or released", _maybe(number(reports, "next")))
    yield _gauge("last_left_seconds", "when data about this server was last sent", _maybe(number(left, "at")))
    yield _gauge("request_seconds", "when the newest request at this stage was made", _labelled("stage", stages))


def _gauge(name: str, what: str, samples: Mapping[str, int]) -> Family:
    yield f"# TYPE {METRIC}_{name} gauge"
    yield f"# HELP {METRIC}_{name} {what}"
    for labels, value in samples.items():
        yield f"{METRIC}_{name}{labels} {value}"


def _labelled(label: str, values: Mapping[str, int]) -> dict[str, int]:
    return {f'{{{label}="{_escaped(name)}"}}': value for name, value in values.items()}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _left(at: int | None, now_s: int) -> dict[str, int]:
    return _maybe(None if at is None else max(0, at - now_s))


def _maybe(value: int | None) -> dict[str, int]:
    return {} if value is None else {"": value}
