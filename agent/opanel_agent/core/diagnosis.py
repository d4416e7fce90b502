"""Concludes what is wrong from what was observed: the rules of `doctor`.

Observations in, findings out; each check is a function of its own and sees only
what it needs. A finding is `ok`, a `warning` or `failed`; or *not looked at* or
*not needed*, and then says why: a check that could not be made is not a good
one. What is not in order carries an error, so that it has a code, a sentence
and a cure like every other. `label` names what a finding is about in words of
this code's own and holds nothing of the machine's: it is all that the report
for support may show.

Pure. Left out: looking (`cli.doctor.probes`), wording, and whether a request
may leave, which the gate alone decides.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum, unique
from typing import Final

from opanel_agent.core.codes import Code, Fault, Reason
from opanel_agent.core.errors import AgentError, Misconfigured, Storage, Unavailable, Untrusted
from opanel_agent.core.license.binding import TYPES
from opanel_agent.core.license.effective_time import FAR_S
from opanel_agent.core.license.states import State, Undecided, UnreadPart
from opanel_agent.core.units import HOUR_S
from opanel_agent.core.values import frozen

STATE_BYTES: Final = 32 * 1024 * 1024
"""Room for a bundle, a status list, their temporary files and months of a ledger."""
RUNTIME_BYTES: Final = 1024 * 1024
"""Room for the answer; /run is a small part of the memory."""
LEAST_FILES: Final = 64
MANY: Final = 12
SERVER_APART_S: Final = 300
_OVERDUE_S: Final = 2 * HOUR_S  # as late as a missed check may be made up


@unique
class Check(StrEnum):
    """Names the checks, in the order in which they are shown; the last eight are the steps to a mirror."""

    DAEMON = "daemon"
    SETTINGS = "settings"
    CONSENT = "consent"
    LICENSE = "license"
    MACHINE = "machine"
    STATUS_LIST = "status_list"
    ROOT = "root"
    CLOCK = "clock"
    FILES = "files"
    DISK = "disk"
    ISOLATION = "isolation"
    RELEASE = "release"
    FETCH_DOOR = "fetch_door"
    COURIER_DOOR = "courier_door"
    DNS = "dns"
    TCP = "tcp"
    PROXY = "proxy"
    TLS = "tls"
    CERTIFICATE = "certificate"
    HTTP = "http"
    TYPE = "type"
    CONTENT = "content"


@unique
class CheckStatus(StrEnum):
    """Names what a check came to."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_LOOKED_AT = "not_looked_at"
    NOT_NEEDED = "not_needed"


@unique
class SkipReason(StrEnum):
    """Names why a check was not made; the last seven, why there is nothing to check."""

    NEED_ROOT = "need_root"
    NO_ANSWER = "no_answer"
    OFFLINE = "offline"
    OPT_OUT = "opt_out"
    TURNED_OFF = "turned_off"
    SETTINGS_REFUSED = "settings_refused"
    NO_ROOT = "no_root"
    HELD_OFF = "held_off"
    DOOR = "door"
    NOT_REACHED = "not_reached"
    NO_TIME = "no_time"
    ANOTHER_ADDRESS = "another_address"
    BY_PROXY = "by_proxy"
    NO_PROXY = "no_proxy"
    NO_NAME = "no_name"
    NO_TLS = "no_tls"
    NO_ROUTE = "no_route"
    OWN_USER = "own_user"
    NO_RELEASE = "no_release"


@frozen
class Finding:
    """`subject` is what it is about for a person at this machine: a mirror or a path.

    `error` says what is not ok.

    `address` is one address of the subject, where the finding is about that
    alone.
    """

    check: Check
    status: CheckStatus = CheckStatus.OK
    error: AgentError | None = None
    why: SkipReason | None = None
    subject: str | None = None
    label: str | None = None
    address: str | None = None


def failed(check: Check, error: AgentError, *, subject: str | None = None, label: str | None = None) -> Finding:
    """Returns a finding that something is broken."""
    return Finding(check=check, status=CheckStatus.FAILED, error=error, subject=subject, label=label)


def warned(check: Check, error: AgentError, *, subject: str | None = None, label: str | None = None) -> Finding:
    """Returns a finding that something is worth a look, while everything still works."""
    return Finding(check=check, status=CheckStatus.WARNING, error=error, subject=subject, label=label)


def unseen(check: Check, why: SkipReason, *, subject: str | None = None, label: str | None = None) -> Finding:
    """Returns a finding that a check was not made, and why.

    It is neither good nor bad.
    """
    return Finding(check=check, status=CheckStatus.NOT_LOOKED_AT, why=why, subject=subject, label=label)


def needless(check: Check, why: SkipReason, *, subject: str | None = None, label: str | None = None) -> Finding:
    """Returns a finding that there is nothing to check here, and why."""
    return Finding(check=check, status=CheckStatus.NOT_NEEDED, why=why, subject=subject, label=label)


def sound(findings: Iterable[Finding]) -> bool:
    """Tells whether no finding has an error.

    What was not looked at is no fault.
    """
    return all(each.error is None for each in findings)


# ---- the license and what it stands on

_ASIDE: Final = r".+\.broken(-[2-9])?"
_LEDGER_ASIDE: Final = r"ledger\.[0-9]+\.broken"
# Told by checks of their own.
_ELSEWHERE: Final = frozenset(
    {Reason.OK, Reason.ISOLATION_NONE, Reason.ISOLATION_PARTIAL, Reason.SETTINGS_REFUSED, Reason.ROOT_OLD}
    | {Reason.UNREACHABLE_DNS, Reason.UNREACHABLE_TCP, Reason.TLS_UNTRUSTED, Reason.PROXY_ERROR, Reason.SERVER_ERROR}
    | {Reason.CAPTIVE_PORTAL, Reason.NOT_PERMITTED}
)


def license_state(state: str, reasons: Iterable[str]) -> Finding:
    """Returns the finding on the license: ok while active without a reason to look.

    A grace period, or such a reason, is a warning; every other state has
    failed. Reasons that other checks are about are left to them.
    """
    codes = [known_code(reason) for reason in reasons]
    active = state == State.ACTIVE
    relevant = [code for code in codes if code not in _ELSEWHERE] if active else codes
    if active and not relevant:
        return Finding(check=Check.LICENSE)
    code = relevant[0] if relevant else Reason.INTERNAL
    error = Misconfigured(code, "license_state", reason=str(code))
    return (warned if state in (State.ACTIVE, State.GRACE) else failed)(Check.LICENSE, error)


def machine(unread: Iterable[UnreadPart], undecided: Undecided | None, *, key_lost: bool) -> Iterator[Finding]:
    """Yields a finding for each part of the activated machine that could not be read, and for a lost key; else one for all.

    Nothing of it is failed: the state of the license tells once it counts.
    """
    sound_ = True
    for each in unread:
        sound_ = False
        label = f"machine/{each.part if each.part in TYPES else '*'}"
        yield warned(Check.MACHINE, _unread(each, undecided), subject=each.file, label=label)
    if key_lost:
        yield warned(Check.MACHINE, Misconfigured(Fault.FILE_REFUSED, "key_lost"), label="machine/agent_key")
    elif sound_:
        yield Finding(check=Check.MACHINE)


def _unread(each: UnreadPart, undecided: Undecided | None) -> AgentError:
    errno = each.errno or "?"
    if each.part == "agent_key":
        return Storage(Fault.IO_FAILED, "key_unread", errno=errno)
    if undecided is None:
        return Storage(Fault.IO_FAILED, "part_unread", part=each.part, errno=errno)
    return Storage(
        Fault.IO_FAILED,
        "part_undecided",
        part=each.part,
        errno=errno,
        since=_day(undecided.since),
        grace=_day(undecided.grace),
        until=_day(undecided.until),
    )


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def root_age(exp: int, now_s: int) -> Finding:
    """Returns the finding on the root of trust, a warning once it has expired: then nothing new is accepted.

    Seconds.
    """
    if now_s < exp:
        return Finding(check=Check.ROOT)
    return warned(Check.ROOT, Untrusted(Reason.ROOT_OLD, "root_ended"))


def status_list(failure: str | None, next_run_at: int | None, as_of: int, now_s: int) -> Finding:
    """Returns the finding on the last check of the status list: why it failed, or that the next one is overdue.

    Overdue is what is two hours past its time: as late as a missed check may be
    made up (`core.license.schedule`).
    """
    if failure is not None:
        error = Unavailable(known_code(failure), "last_check_failed", reason=failure)
        return warned(Check.STATUS_LIST, error)
    if next_run_at is not None and max(next_run_at, as_of) + _OVERDUE_S < now_s:
        return warned(Check.STATUS_LIST, Unavailable(Fault.JOB_FAILED, "check_overdue"))
    return Finding(check=Check.STATUS_LIST)


def known_code(text: str) -> Code:
    """Returns the code that a text is; of a text of another version, the one of a fault of ours."""
    return next((known for known in (*Reason, *Fault) if known == text), Reason.INTERNAL)


# ---- the clock


def clock(wall_s: int, effective_s: int | None, served: Iterable[int], *, unknown: SkipReason) -> Finding:
    """Returns the finding on the wall clock, against effective time and against the servers' dates.

    Seconds since 1970.

    `effective_s` None: not known here, for the reason `unknown`. A server's
    date is no proof, but a clock that disagrees with one is worth a look. Of
    several servers the one that agrees best counts: one with a wrong clock of
    its own must not accuse this one.
    """
    if effective_s is not None and abs(wall_s - effective_s) > FAR_S:
        error = Misconfigured(Fault.CLOCK_WRONG, "clock_apart", hours=abs(wall_s - effective_s) // HOUR_S)
        return failed(Check.CLOCK, error)
    # The server that agrees best: one with a wrong clock of its own must not
    # accuse this one.
    apart_s = min((abs(wall_s - server_s) for server_s in served), default=None)
    if apart_s is not None and apart_s > SERVER_APART_S:
        return warned(Check.CLOCK, Misconfigured(Fault.CLOCK_WRONG, "clock_from_server", minutes=apart_s // 60))
    known = effective_s is not None or apart_s is not None
    return Finding(check=Check.CLOCK) if known else unseen(Check.CLOCK, unknown)


# ---- files


@frozen
class PathFacts:
    """Holds what lies at a path.

    `mode` is its permission bits, with setuid, setgid and sticky.
    """

    kind: str
    uid: int
    gid: int
    mode: int


@frozen
class Rule:
    """Holds what a path has to be.

    - `kind`: a file, a folder or a socket; `uids`: who may own it, `owner` in
      words, for the sentence.
    - `modes`: the bits that it may have; any other is too open.
    - `readers`: uid and gids of who must be able to read it, by name.

    Nothing has to be there: what is missing is reported by whoever reads it.
    """

    path: str
    label: str
    kind: str
    uids: frozenset[int]
    owner: str
    modes: int
    readers: Mapping[str, tuple[int, frozenset[int]]]


def place(rule: Rule, seen: PathFacts) -> AgentError | None:
    """Returns the first thing that is wrong with a path, None where nothing is."""
    file = rule.path
    if seen.kind != rule.kind:
        return Misconfigured(Fault.FILE_REFUSED, "place_type", file=file)
    if seen.uid not in rule.uids:
        return Misconfigured(Fault.FILE_REFUSED, "place_owner", file=file, owner=rule.owner)
    if seen.mode & ~rule.modes:
        mode, wanted = f"{seen.mode:04o}", f"{seen.mode & rule.modes:04o}"
        return Misconfigured(Fault.FILE_REFUSED, "place_mode", file=file, mode=mode, wanted=wanted)
    shut_out = [name for name, who in rule.readers.items() if not _reads(who, seen)]
    if shut_out:
        return Misconfigured(Fault.FILE_REFUSED, "place_unreadable", file=file, user=shut_out[0])
    return None


def aside(rule: Rule) -> AgentError | None:
    """Returns that a path is what the agent set aside, as it names such; None for any other. A ledger is another check's."""
    name = rule.path.rpartition("/")[2]
    if re.fullmatch(_ASIDE, name) is None or re.fullmatch(_LEDGER_ASIDE, name) is not None:
        return None
    return Misconfigured(Fault.FILE_REFUSED, "place_aside", file=rule.path)


def _reads(who: tuple[int, frozenset[int]], seen: PathFacts) -> bool:
    """Tells whether it can be read, as the kernel judges (path_resolution(7)): the first class that fits decides.

    A folder must be entered, too.
    """
    uid, gids = who
    shift = 6 if uid == seen.uid else 3 if seen.gid in gids else 0
    wanted = 0o5 if seen.kind == "folder" else 0o4
    return uid == 0 or (seen.mode >> shift) & wanted == wanted


def files(seen: Iterable[tuple[Rule, PathFacts]], *, denied: bool) -> Iterator[Finding]:
    """Yields a finding for each path that is wrong, MANY at most; one for all where none is.

    What the agent set aside is a warning, as many at most: all goes on, and
    something was lost. `denied`: there was more that this user may not see.
    """
    known = [*seen]
    lost = [(rule, error) for rule, _ in known if (error := aside(rule)) is not None]
    for rule, error in lost[:MANY]:
        yield warned(Check.FILES, error, subject=rule.path, label=rule.label)
    wrong = [(rule, error) for rule, found in known if (error := place(rule, found)) is not None]
    for rule, error in wrong[:MANY]:
        yield failed(Check.FILES, error, subject=rule.path, label=rule.label)
    if len(wrong) > MANY:
        yield failed(Check.FILES, Misconfigured(Fault.FILE_REFUSED, "places_more", count=len(wrong) - MANY))
    if denied:
        yield unseen(Check.FILES, SkipReason.NEED_ROOT)
    elif not wrong and not lost:
        yield Finding(check=Check.FILES)


# ---- room


@frozen
class DiskSpace:
    """Holds what a file system has left for others than root.

    `files_free` None: it does not count its inodes.
    """

    bytes_free: int
    files_free: int | None
    read_only: bool


def disk(path: str, label: str, space: DiskSpace, *, least_bytes: int) -> Finding:
    """Returns the finding on one file system: writable, with `least_bytes` and LEAST_FILES inodes left."""
    error: AgentError | None = None
    if space.read_only:
        error = Storage(Fault.IO_FAILED, "disk_read_only", file=path)
    elif space.bytes_free < least_bytes:
        error = Storage(Fault.DISK_FULL, "disk_low", file=path, free=space.bytes_free // 1024)
    elif space.files_free is not None and space.files_free < LEAST_FILES:
        error = Storage(Fault.DISK_FULL, "inodes_low", file=path)
    if error is not None:
        return failed(Check.DISK, error, subject=path, label=label)
    return Finding(check=Check.DISK, subject=path, label=label)


# ---- isolation


def isolation(level: str, missing: Iterable[str], *, system: bool) -> Finding:
    """Returns the finding on the confinement of the processes.

    Nobody is asked to confine a user installation; a part of the service's
    sandbox that does not hold is a finding.
    """
    if level == "kernel":
        return Finding(check=Check.ISOLATION)
    if not system:
        return needless(Check.ISOLATION, SkipReason.OWN_USER)
    if level == "partial":
        error = Misconfigured(Reason.ISOLATION_PARTIAL, "isolation_partly", walls=", ".join(missing))
        return warned(Check.ISOLATION, error)
    return failed(Check.ISOLATION, Misconfigured(Reason.ISOLATION_NONE, "isolation_missing"))


# ---- the code


def release(errors: Iterable[AgentError]) -> Iterator[Finding]:
    """Yields a finding for each way in which the code is not what was published, MANY at most; one for all where it is.

    Each error names its file as the value `file`.
    """
    wrong = tuple(errors)
    for error in wrong[:MANY]:
        yield failed(Check.RELEASE, error, subject=str(error.values["file"]), label="code/*")
    if len(wrong) > MANY:
        yield failed(Check.RELEASE, Misconfigured(Fault.CODE_DIFFERS, "code_more", count=len(wrong) - MANY))
    if not wrong:
        yield Finding(check=Check.RELEASE)


# ---- the two processes that reach the network


def door(check: Check, program: str, code: str | None, detail: str | None) -> Finding:
    """Returns the finding on a socket, from the reply to an empty question.

    That the question was read and refused is all that is wanted. The settings
    were found good before: a program that refuses them runs as a user who
    cannot read them.
    """
    if code == Reason.FORMAT_INVALID:
        return Finding(check=check)
    if code == Reason.SETTINGS_REFUSED:
        return failed(check, Misconfigured(Reason.SETTINGS_REFUSED, "door_settings", program=program))
    return failed(check, Misconfigured(known_code(str(code)), detail or "reply_failed"))


def door_absent(check: Check, program: str, path: str) -> Finding:
    """Returns the finding that a socket of the service is not there."""
    return failed(check, Misconfigured(Reason.ISOLATION_NONE, "door_absent", program=program, file=path))
