"""Makes the observations for `doctor`: each check looks at one thing and hands what it saw to `core.diagnosis`.

It works without the daemon, without root and without a network, and says of each what it could not look at. The one thing
that leaves is what `fetch` always sends, asked of `fetch` itself: the GET of the status list, once at each mirror, which the
command shows first. Where the gate would deny it, or a server has asked for silence, nothing is asked.
"""

from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

from opanel_agent.cli import release
from opanel_agent.cli.consent.gate_view import GateReading, grounds, read_beside
from opanel_agent.cli.context import Context
from opanel_agent.cli.doctor import ownership
from opanel_agent.cli.license import documents
from opanel_agent.cli.license import status_view as answers
from opanel_agent.cli.license.status_view import AnswerView
from opanel_agent.cli.release import ReleaseCheck
from opanel_agent.core import diagnosis, route_diagnosis
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import loads
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.consent_file import ConsentReading
from opanel_agent.core.consent.purposes import FIXED_GETS
from opanel_agent.core.diagnosis import Check, Finding, SkipReason, failed, needless, unseen
from opanel_agent.core.errors import AgentError, Bug, Misconfigured, NotPermitted, Storage, Unavailable, Untrusted
from opanel_agent.core.license import effective_time, schedule
from opanel_agent.core.route_diagnosis import MirrorRoute
from opanel_agent.core.values import field, frozen
from opanel_agent.core.wire.endpoints import address, is_exempt, is_loopback
from opanel_agent.core.wire.message import fixed_get
from opanel_agent.core.wire.mirror_probe import EACH_MIRROR, PROBE, MirrorProbe, decode
from opanel_agent.network import gate_inputs
from opanel_agent.network.client import LocalNetworkClient, NetworkProbe
from opanel_agent.system.clock import Clock, LocalClock
from opanel_agent.system.storage import trust
from opanel_agent.system.storage.file_facts import FileInspector, LocalFileInspector
from opanel_agent.system.storage.paths import Paths
from opanel_agent.system.storage.settings import Settings

MAX_SMALL_BYTES: Final = 16 * 1024
_FORBIDDEN: Final = frozenset({"EACCES", "EPERM"})
_NOT_ASKED: Final = {
    Reason.OFFLINE: SkipReason.OFFLINE,
    Reason.DENIED_BY_FILE: SkipReason.TURNED_OFF,
    Reason.SETTINGS_REFUSED: SkipReason.SETTINGS_REFUSED,
}


def _quietly(paths: Paths) -> NetworkProbe:
    return LocalNetworkClient(paths, quiet=True)


@frozen
class Probes:
    """What looks, so that a test can let it look at something else."""

    inspection: FileInspector = field(default_factory=LocalFileInspector)
    clock: Clock = field(default_factory=LocalClock)
    doors: Callable[[Paths], NetworkProbe] = _quietly
    release: Callable[[Context], ReleaseCheck] = release.check


Show = Callable[[Context, tuple[str, ...]], None]


@frozen
class CheckInputs:
    """What several checks stand on: None where it is not to be had, which one of them says."""

    answer: AnswerView | None
    settings: Settings | None
    gate: GateReading


def run_checks(world: Context, means: Probes, *, show: Show) -> tuple[Finding, ...]:
    """Returns every check, in the order of `Check`. `show` is given the mirrors before any is asked.

    Raises nothing that a fault of this machine causes.
    """
    answer, of_daemon = _daemon(world)
    settings, of_settings = _settings(world)
    known = CheckInputs(answer=answer, settings=settings, gate=read_beside(world, answer))
    doors, of_doors = means.doors(world.paths), []
    for check, program in ((Check.FETCH_DOOR, "fetch"), (Check.COURIER_DOOR, "courier")):
        of_doors.append(_door(world, known, doors, check, program))
    # Without systemd's door evaluate starts fetch itself, and so does this.
    asks = of_doors[0].error is None or of_doors[0].error.detail == "door_absent"
    trials, of_mirrors = _mirrors(world, means, known, doors, show if asks else None)
    served = [trial.served_s for trial in trials if trial.served_s is not None]
    return (
        *of_daemon,
        *of_settings,
        *_consent(known.gate.consent),
        *_of_the_answer(known, int(world.now_s())),
        _root(world, known),
        _clock(world, means, known, served),
        *_files(world, means, known),
        *_disk(world, means),
        _isolation(world, known),
        *_release(world, means, known),
        *of_doors,
        *of_mirrors,
    )


# ---- the agent


def _daemon(world: Context) -> tuple[AnswerView | None, list[Finding]]:
    try:
        answer = answers.latest(world)
    except NotPermitted:
        return None, [unseen(Check.DAEMON, SkipReason.NEED_ROOT)]
    except AgentError as error:
        return None, [failed(Check.DAEMON, error)]
    if not answer.live:
        return answer, [failed(Check.DAEMON, Unavailable(Fault.NOT_RUNNING, "not_running"))]
    if answer.trouble is not None:
        return answer, [failed(Check.DAEMON, answer.trouble)]
    return answer, [Finding(check=Check.DAEMON)]


def _settings(world: Context) -> tuple[Settings | None, list[Finding]]:
    try:
        return world.settings(), [Finding(check=Check.SETTINGS)]
    except Misconfigured as refused:
        return None, [_refused(Check.SETTINGS, refused, "config/agent.toml")]


def _consent(reading: ConsentReading) -> Iterator[Finding]:
    for fault in reading.faults():
        own = str(fault.values.get("file")) == reading.place
        yield _refused(Check.CONSENT, fault, "config/consent.toml" if own else "config/consent.d/*")
    if not reading.faults():
        yield Finding(check=Check.CONSENT)


def _refused(check: Check, error: AgentError, label: str) -> Finding:
    """Returns the finding on what this user may not read, which is no fault of the file's.

    The agent's own user may be able to.
    """
    if error.values.get("errno") in _FORBIDDEN:
        return unseen(check, SkipReason.NEED_ROOT, label=label)
    return failed(check, error, label=label)


def _of_the_answer(known: CheckInputs, now_s: int) -> Iterator[Finding]:
    """Yields the license, and the last check of the list that it stands on."""
    answer = known.answer
    if answer is None:
        yield unseen(Check.LICENSE, SkipReason.NO_ANSWER)
        yield unseen(Check.MACHINE, SkipReason.NO_ANSWER)
        yield unseen(Check.STATUS_LIST, SkipReason.NO_ANSWER)
        return
    yield diagnosis.license_state(answer.license.state, answer.license.reasons)
    yield from _machine(answer)
    failure, following = answer.part("last_check").get("failure"), answer.part("next_run").get("at")
    yield diagnosis.status_list(
        failure if isinstance(failure, str) else None,
        following if isinstance(following, int) and answer.live else None,
        answer.license.as_of,
        now_s,
    )


def _machine(answer: AnswerView) -> Iterator[Finding]:
    members, undecided = answer.part("machine"), answers.undecided(answer)
    if "key" not in members:
        yield unseen(Check.MACHINE, SkipReason.NO_ANSWER)
        return
    yield from diagnosis.machine(answers.unread(answer), undecided, key_lost=members.get("key") == "lost")


def _root(world: Context, known: CheckInputs) -> Finding:
    if known.settings is None:
        return unseen(Check.ROOT, SkipReason.SETTINGS_REFUSED)
    try:
        return diagnosis.root_age(documents.trusted_root(world).exp, int(world.now_s()))
    except (Misconfigured, Untrusted, Storage) as error:
        return _refused(Check.ROOT, error, "trust_root")


# ---- this machine


def _clock(world: Context, means: Probes, known: CheckInputs, served: list[int]) -> Finding:
    wall_s = means.clock.read_wall()
    effective_s = _effective(world, means)
    if effective_s is None and known.answer is not None and known.answer.license.as_of > wall_s:
        effective_s = known.answer.license.as_of  # all that a user who may not read the state can hold against it
    return diagnosis.clock(
        wall_s, effective_s, served, unknown=SkipReason.NO_ANSWER if _owner(world) else SkipReason.NEED_ROOT
    )


def _effective(world: Context, means: Probes) -> int | None:
    """Returns effective time now, as evaluate would find it; None where its mark is not to be read, or is none."""
    members = _own(world, world.paths.clock.name)
    try:
        mark = None if members is None else effective_time.from_json(members)
        return None if mark is None else effective_time.now(effective_time.advance(mark, means.clock.read()))
    except (Untrusted, Storage):
        return None


def _held_off_s(world: Context, means: Probes) -> int:
    """Returns for how long a server has asked for silence, which holds for this command, too."""
    members = _own(world, world.paths.schedule.name)
    try:
        now_s = _effective(world, means) or means.clock.read_wall()
        return 0 if members is None else schedule.held_off_s(schedule.from_json(members), now_s)
    except Untrusted:
        return 0


def _own(world: Context, name: str) -> Members | None:
    """Returns a small file of the state's own.

    None for one that this user may not read, or that makes no sense any more.
    """
    try:
        data = world.files.read(world.paths.state_dir / name, max_bytes=MAX_SMALL_BYTES)
        return None if data is None else Members(loads(data, max_bytes=MAX_SMALL_BYTES), name)
    except (Storage, Misconfigured, Untrusted):
        return None


def _files(world: Context, means: Probes, known: CheckInputs) -> Iterator[Finding]:
    try:
        toured = ownership.check_ownership(world.paths, known.settings, means.inspection)
    except Storage as error:
        yield failed(Check.FILES, error)
        return
    yield from diagnosis.files(toured.seen, denied=toured.denied)


def _disk(world: Context, means: Probes) -> Iterator[Finding]:
    places = (
        (world.paths.state_dir, "state", diagnosis.STATE_BYTES),
        (world.paths.runtime_dir, "runtime", diagnosis.RUNTIME_BYTES),
    )
    for path, label, least_bytes in places:
        try:
            space = means.inspection.space(path)
        except Storage as error:
            yield _refused(Check.DISK, error, label)
            continue
        if space is not None:
            yield diagnosis.disk(str(path), label, space, least_bytes=least_bytes)


def _isolation(world: Context, known: CheckInputs) -> Finding:
    members = {} if known.answer is None else known.answer.part("isolation")
    level, missing = members.get("level"), members.get("missing")
    if not isinstance(level, str):
        return unseen(Check.ISOLATION, SkipReason.NO_ANSWER)
    walls = [str(wall) for wall in missing] if isinstance(missing, list) else []
    return diagnosis.isolation(level, walls, system=world.paths.system)


def _release(world: Context, means: Probes, known: CheckInputs) -> Iterator[Finding]:
    """Finds whether the code is what was published. A checkout, or a vendor who signs no releases, needs no check."""
    if known.settings is None:
        yield unseen(Check.RELEASE, SkipReason.SETTINGS_REFUSED)
        return
    try:
        found = means.release(world)
    except (Misconfigured, Untrusted, Storage) as error:
        none = error.code is Fault.NO_RELEASE
        yield needless(Check.RELEASE, SkipReason.NO_RELEASE) if none else failed(Check.RELEASE, error)
        return
    yield from diagnosis.release(difference.error for difference in found.differences)


# ---- the two processes that reach the network, and what they reach


def _owner(world: Context) -> bool:
    return world.euid in (0, world.paths.owner)


def _door(world: Context, known: CheckInputs, doors: NetworkProbe, check: Check, program: str) -> Finding:
    """Finds whether the process is there at all: it is asked nothing, and refuses that without a look at the network."""
    if not _owner(world):
        return unseen(check, SkipReason.NEED_ROOT)
    path = world.paths.fetch_socket if program == "fetch" else world.paths.courier_socket
    if world.paths.system and not doors.isolated:
        return diagnosis.door_absent(check, program, str(path))
    if known.settings is None:
        return unseen(check, SkipReason.SETTINGS_REFUSED)
    signals = known.gate.opt_outs
    opted_out = bool(signals.do_not_track) and program == "courier"
    try:
        reply = doors.ping(program, signalled=bool(signals.offline) or opted_out)
    except NotPermitted:
        return unseen(check, SkipReason.OFFLINE if signals.offline else SkipReason.OPT_OUT)
    except Bug as silent:
        return failed(check, silent)
    return diagnosis.door(check, program, reply.code, reply.detail)


def _mirrors(
    world: Context, means: Probes, known: CheckInputs, doors: NetworkProbe, show: Show | None
) -> tuple[tuple[MirrorProbe, ...], list[Finding]]:
    """Returns what became of the GET at each mirror; or why none was asked. `show` is None where fetch cannot be asked."""
    settings = known.settings
    why, place = _why_not(world, means, known, open_=show is not None)
    if why is not None or settings is None or show is None:
        return (), [
            unseen(layer, why or SkipReason.SETTINGS_REFUSED, subject=place) for layer in route_diagnosis.LAYERS
        ]
    try:
        root = trust.shared_root(world.files, world.paths, settings)
    except AgentError:  # which the check of the root tells
        return (), [unseen(layer, SkipReason.NO_ROOT) for layer in route_diagnosis.LAYERS]
    try:
        bases = gate_inputs.destinations(FIXED_GETS[PROBE].purpose, settings, root)
        if not bases:
            raise Unavailable(Reason.DESTINATION, "no_mirror")
        show(world, bases)
        reply = doors.fetch(EACH_MIRROR, signalled=False)
        if not reply.ok:
            raise Unavailable(_reason(reply.code), reply.detail or "reply_failed")
        trials = decode(reply.body)
    except AgentError as error:
        slow = isinstance(error, Bug) and error.detail == "outlet_timeout"
        return (), [route_diagnosis.fetch_silent() if slow else failed(Check.HTTP, error)]
    return trials, [finding for n, base in enumerate(bases, 1) for finding in _way(n, base, trials, settings)]


def _why_not(world: Context, means: Probes, known: CheckInputs, *, open_: bool) -> tuple[SkipReason | None, str | None]:
    """Tells why nothing is asked, and where it says so; the gate's word first."""
    if known.settings is None:
        return SkipReason.SETTINGS_REFUSED, None
    for ground in grounds(known.gate, FIXED_GETS[PROBE].purpose):
        return _NOT_ASKED.get(ground.reason, SkipReason.TURNED_OFF), ground.place
    if not _owner(world):
        return SkipReason.NEED_ROOT, None
    if not open_:
        return SkipReason.DOOR, None
    return (SkipReason.HELD_OFF if _held_off_s(world, means) else None), None


def _way(number: int, base: str, trials: tuple[MirrorProbe, ...], settings: Settings) -> Iterator[Finding]:
    """Yields the findings by this process's own order of the mirrors.

    What fetch tells of another one is not ours to show.
    """
    url, label = fixed_get(PROBE, base).url, f"mirror-{number}"
    trial = next((trial for trial in trials if trial.url == url), None)
    if trial is None:
        yield from route_diagnosis.untried(url, label)
        return
    host = urlsplit(url).hostname or ""
    route = MirrorRoute(
        label=label,
        named=address(host) is None,
        tls=url.startswith("https:"),
        proxied=settings.proxy is not None and not is_loopback(host) and not is_exempt(host, settings.no_proxy),
    )
    another = any(each.code is None for each in trials if each is not trial)
    yield from route_diagnosis.mirror(trial, route, another_good=another)


def _reason(code: str | None) -> Reason:
    return next((known for known in Reason if known == code), Reason.INTERNAL)
