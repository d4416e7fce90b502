"""Lays out `status` and `license show`. What an administrator asks first stands first, in at most 15 lines of `status`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from opanel_agent.cli.consent import signals
from opanel_agent.cli.consent.gate_view import GateReading
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.layout import Row
from opanel_agent.cli.display.output import Style
from opanel_agent.cli.display.times import day, moment, relative
from opanel_agent.cli.license.status_view import CONTACT, PERMITS, AnswerView, LicenseView, number, undecided, unread
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.opt_outs import Signal
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.errors import Misconfigured
from opanel_agent.core.license.states import Action, State
from opanel_agent.messages import describe_error

# A container or the demo has no systemd that confines it: no fault of the license, and in a row of its own.
ABOUT_ISOLATION: Final = frozenset({Reason.OK, Reason.ISOLATION_PARTIAL, Reason.ISOLATION_NONE})
# Of what keeps a renewal from coming, the codes that are no reason of a state or of the gate.
_NOT_RENEWED: Final[Mapping[str, str]] = {
    Fault.NOT_YET: "renewal.not_yet",
    Fault.RATE_LIMITED: "renewal.rate_limited",
    Fault.KEY_UNKNOWN: "renewal.key_unknown",
}
# A license that is neither is not renewed, whatever day it names.
_RENEWED: Final = (State.ACTIVE, State.GRACE)
_STYLES: Final[Mapping[str, Style]] = {State.ACTIVE: Style.GOOD, State.GRACE: Style.WARNING}
# What is sent without a command; the rest leaves only when somebody types it.
_BY_ITSELF: Final = ("license_status", "license_renewal", "security_advisories", "usage_statistics", "crash_reports")


# How soon a row of `status` is left out where it would have more than 15 lines; 0 never.
_RANKS: Final = (
    *("empty", "sends", "does_not_send", "last_check", "reason", "offline_until", "last_left", "signals"),
    *("license_id", "renewal", "held", "includes", "isolation", "next_report"),
)


def _spare(world: Context, label: str, text: str, command: str = "") -> Row:
    """Returns a row that may be left out; `command` shows what it says."""
    return Row(world.sentence(label), text, rank=_rank(label.partition(".")[2]), command=command)


def _rank(name: str) -> int:
    return 1 + _RANKS.index(name)


def status_rows(
    world: Context, answer: AnswerView, reading: GateReading, do_not_track: tuple[Signal, ...]
) -> Iterator[Row]:
    """Yields the license, and after an empty line the agent: what it sends, how it is confined, what keeps it silent."""
    yield from brief_rows(world, answer.license, ("email", "phone"))
    yield from _unread_rows(world, answer)
    yield from _renewal_rows(world, answer.part("renewal"))
    yield Row(rank=_rank("empty"))
    yield from _settings_rows(world, reading.settings_refused)
    yield from _check_rows(world, answer)
    yield from _isolation_rows(world, answer.part("isolation"))
    if answer.advisories:
        text = world.sentence("status.advisories", count=len(answer.advisories))
        yield Row(world.sentence("label.advisories"), text, Style.WARNING, text)
    yield from _sending_rows(world, answer)
    yield from _report_rows(world, answer)
    yield _signals_row(world, reading.offline, do_not_track)


def license_rows(world: Context, answer: AnswerView) -> Iterator[Row]:
    """Yields all there is to know of the license: what `status` says of it, its dates, and who vouches for it."""
    license_, root = answer.license, answer.part("root")
    yield from brief_rows(world, license_)
    yield Row()
    for label, name in (
        ("label.issued", "issued"),
        ("label.renews_from", "renews_from"),
        ("label.offline_until", "offline_until"),
    ):
        if (at := number(license_.terms, name)) is not None:
            yield _dated(world, label, at)
    yield _dated(world, "label.since", license_.since)
    if license_.until is not None:
        yield _dated(world, "label.until", license_.until)
    if isinstance(root.get("name"), str):
        text = world.sentence("status.root", name=str(root["name"]), sha256=str(root.get("sha256", "?"))[:16])
        yield Row(world.sentence("label.root"), text)
    yield _dated(world, "label.as_of", license_.as_of)
    yield _dated(world, "label.good_until", license_.good_until)


def brief_rows(world: Context, license_: LicenseView, ways: Sequence[str] = CONTACT) -> Iterator[Row]:
    """Yields the license: state and why, when it ends, which it is, what it includes, whom to call, what to do.

    `ways` are those of reaching the reseller, as far as he names one of them.
    """
    state = world.named("state", license_.state)
    product, tier = (license_.terms.get(name) for name in ("product", "tier"))
    named = isinstance(product, str) and isinstance(tier, str)
    text = world.sentence("status.license", state=state, product=str(product), tier=str(tier)) if named else state
    yield Row(world.sentence("label.license"), text, _STYLES.get(license_.state, Style.BAD), state)
    for number_, code in enumerate(code for code in license_.reasons if code not in ABOUT_ISOLATION):
        text = world.sentence("status.reason", reason=world.named("reason", code), code=code)
        yield Row("", text, rank=_rank("reason"), command="license show") if number_ else Row("", text)
    yield from _ending_rows(world, license_)
    yield from _terms_rows(world, license_)
    if license_.features or license_.limits:
        limits = (f"{name} {value}" for name, value in license_.limits.items())
        yield _spare(world, "label.includes", ", ".join((*license_.features, *limits)), "license show")
    if license_.reseller:
        shown = [way for way in ways if way in license_.reseller] or CONTACT
        contact = (license_.reseller[way] for way in shown if way in license_.reseller)
        yield Row(world.sentence("label.reseller"), ", ".join((license_.reseller.get("name", "?"), *contact)))
    if license_.action == Action.NONE:
        yield Row(world.sentence("label.to_do"), world.sentence("status.nothing_to_do"))
    else:
        text = license_.action_texts[world.lang]
        yield Row(world.sentence("label.to_do"), text, Style.WARNING, text)


def _ending_rows(world: Context, license_: LicenseView) -> Iterator[Row]:
    """Says what will be, or is, no longer permitted, and what goes on all the same."""
    if license_.state == State.GRACE and license_.until is not None:
        at = moment(license_.until)
        text = world.sentence("status.ending", at=at, relative=relative(world, license_.until))
        yield Row(world.sentence("label.then"), text, Style.WARNING, at)
    elif not all(license_.permits.values()):
        for label, given in (("label.not_permitted", False), ("label.goes_on", True)):
            names = (world.sentence(f"permit.{name}") for name in PERMITS if license_.permits[name] is given)
            yield Row(world.sentence(label), "; ".join(names))


def _terms_rows(world: Context, license_: LicenseView) -> Iterator[Row]:
    """Yields when the license ends and which it is; nothing where there is none, or an older daemon does not tell it."""
    expires, renews = number(license_.terms, "expires"), number(license_.terms, "renews_from")
    if expires is not None:
        text = world.sentence("status.at", at=moment(expires), relative=relative(world, expires))
        if renews is not None and renews > world.now_s() and license_.state in _RENEWED:
            text = world.sentence("status.renews_from", text=text, day=day(renews))
        yield Row(world.sentence("label.valid_until" if expires > world.now_s() else "label.ended"), text)
    if isinstance(license_id := license_.terms.get("id"), str):
        yield _spare(world, "label.license_id", license_id, "license show")


def _renewal_rows(world: Context, renewal: Mapping[str, Json]) -> Iterator[Row]:
    """Yields how the last request for a newer edition ended, and when the next is due; nothing where none was made."""
    at, following, failure = number(renewal, "at"), number(renewal, "next"), renewal.get("failure")
    if at is None:
        return
    failed = isinstance(failure, str)
    if isinstance(failure, str):
        reason = world.sentence(_NOT_RENEWED[failure]) if failure in _NOT_RENEWED else world.named("reason", failure)
        text = world.sentence("status.not_renewed", at=moment(at), reason=reason)
    else:
        text = world.sentence("status.renewed", at=moment(at))
    if following is not None:
        text = world.sentence("status.next", text=text, at=moment(following))
    yield Row(world.sentence("label.renewal"), text) if failed else _spare(world, "label.renewal", text)


def _unread_rows(world: Context, answer: AnswerView) -> Iterator[Row]:
    """Yields what cannot be read while it leaves open whether this is the activated server, and when that ends."""
    open_ = undecided(answer)
    if open_ is not None:
        parts = ", ".join(world.named("part", each.part) for each in unread(answer))
        text = world.sentence("status.unread", parts=parts, until=day(open_.until))
        yield Row(world.sentence("label.unread"), text, Style.WARNING)


def _settings_rows(world: Context, refused: Misconfigured | None) -> Iterator[Row]:
    """Yields what is wrong with agent.toml, where, and the cure. What this user may not read is no fault of the file's."""
    if refused is not None and refused.values.get("errno") not in ("EACCES", "EPERM"):
        title, cure = describe_error(refused, world.lang)
        yield Row(world.sentence("label.settings"), f"{title}. {cure}", Style.BAD, title)


def _check_rows(world: Context, answer: AnswerView) -> Iterator[Row]:
    """Yields when a status list last came, when the next is fetched if it may be, and how long the license holds without."""
    check, until = answer.part("last_check"), number(answer.license.terms, "offline_until")
    at, failure, following = number(check, "at"), check.get("failure"), number(answer.part("next_run"), "at")
    text = world.sentence("status.never")
    if at is not None:
        text = world.sentence("status.at", at=moment(at), relative=relative(world, at))
    if isinstance(failure, str):
        text = world.sentence("status.check_failed", text=text, reason=world.named("reason", failure))
    if following is not None and answer.permitted.get(Purpose.LICENSE_STATUS, True):
        text = world.sentence("status.next", text=text, at=relative(world, following))
    yield _spare(world, "label.last_check", text, "doctor")
    if until is not None:
        text = world.sentence("status.at", at=moment(until), relative=relative(world, until))
        yield _spare(world, "label.offline_until", text, "license show")


def _isolation_rows(world: Context, isolation: Mapping[str, Json]) -> Iterator[Row]:
    """Yields how well systemd confines the processes, and what of it does not hold. Of `none` the level says it all."""
    level, missing = isolation.get("level"), isolation.get("missing")
    if not isinstance(level, str):
        return
    text = world.named("isolation", level)
    if level == "partial" and isinstance(missing, list):
        names = ", ".join(world.named("missing", str(code)) for code in missing)
        text = world.sentence("status.isolation_missing", isolation=text, missing=names)
    yield _spare(world, "label.isolation", text, "doctor")


def _sending_rows(world: Context, answer: AnswerView) -> Iterator[Row]:
    """Yields what may leave by itself, and what may not with the first reason (`consent why` has them all)."""
    permitted = answer.permitted
    listed = [purpose for purpose in _BY_ITSELF if purpose in permitted]
    if not listed:
        return
    sent = ", ".join(world.named("brief", purpose) for purpose in listed if permitted[purpose])
    yield _spare(world, "label.sends", sent or world.sentence("status.nothing"), "consent show")
    kept: dict[str, list[str]] = {}
    for purpose in listed:
        if not permitted[purpose]:
            kept.setdefault(next(iter(answer.denied(purpose)), ""), []).append(world.named("brief", purpose))
    if kept:
        yield _spare(world, "label.does_not_send", "; ".join(_because(world, kept)), "consent show")


def _because(world: Context, kept: Mapping[str, Iterable[str]]) -> Iterator[str]:
    for code, purposes in kept.items():
        names = ", ".join(purposes)
        yield world.sentence("status.because", names=names, reason=world.named("reason", code)) if code else names


def _report_rows(world: Context, answer: AnswerView) -> Iterator[Row]:
    """Yields what left last of what says something about this server, what may have since, what waits, and what is due."""
    left, may, reports = answer.part("last_left"), answer.part("may_have_left"), answer.part("reports")
    if text := _request_text(world, left):
        yield _spare(world, "label.last_left", text, "data sent")
    if text := _request_text(world, may):
        yield Row(world.sentence("label.may_have_left"), text)
    if "last_left" in answer.members and not left and not may:
        yield _spare(world, "label.last_left", world.sentence("status.nothing_left"), "data sent")
    held, following = number(reports, "held"), number(reports, "next")
    if held:
        text = world.sentence("status.held", count=held)
        text = text if following is None else world.sentence("status.next", text=text, at=moment(following))
        yield _spare(world, "label.held", text, "data held")
    elif following is not None:
        yield _spare(world, "label.next_report", moment(following), "data held")


def _request_text(world: Context, request: Mapping[str, Json]) -> str:
    """Returns a request that left, or may have: which, when, and how far it came. An older daemon told no stage."""
    if (at := number(request, "at")) is None:
        return ""
    what = request_name(world, str(request.get("kind", "?")), str(request.get("purpose", "?")))
    stage = world.named("stage", str(request.get("stage", "attempted")))
    return world.sentence("status.last_left", what=what, relative=relative(world, at), stage=stage)


def request_name(world: Context, kind: str, purpose: str) -> str:
    """Returns what a request is, by its own name: a release and an exchange have the purpose of an activation."""
    name = world.named("request", kind)
    return name if name != kind else world.named("purpose", purpose)


def _signals_row(world: Context, offline: tuple[Signal, ...], do_not_track: tuple[Signal, ...]) -> Row:
    found = [
        world.sentence(
            "status.signal",
            level=world.sentence(level),
            signals=", ".join(line.strip() for line in signals.lines(world, given)),
        )
        for level, given in (("level.offline", offline), ("level.do_not_track", tuple(dict.fromkeys(do_not_track))))
        if given
    ]
    if not found:
        return _spare(world, "label.signals", world.sentence("status.no_signals"))
    text = "; ".join(found)
    return Row(world.sentence("label.signals"), text, Style.BAD if offline else Style.WARNING, text)


def more_row(world: Context, commands: str) -> Row:
    """Returns the row that names the commands which show what `status` left out."""
    return Row(world.sentence("label.more"), commands)


def _dated(world: Context, label: str, at: int) -> Row:
    return Row(world.sentence(label), world.sentence("status.at", at=moment(at), relative=relative(world, at)))
