"""Defines the table of commands: what a person types, what the local socket takes for it, and what carries each out.

A row of `COMMANDS` names its words, options and operands, the function that
handles it and the routes that it asks the daemon for. A `Route` names a path of
the socket, its method, who may ask, the options it takes, the intent that
evaluate gets and the members of the result. From here come the command line's
grammar, the daemon's routing, shell completion and the command pages; sentences
are in `locale/`, handlers in `cli/` and `evaluate/`.

A handler is named by a string instead of being imported, so that a command
loads its own group alone; a test imports each of them. Only values stand here,
in types that cost little to import: every command loads this module, and so
does the daemon, which stays in memory.
"""

from collections.abc import Mapping
from enum import Enum, unique
from types import MappingProxyType
from typing import Final, NamedTuple

OPTIONS_MAX_BYTES: Final = 8 * 1024
DOCUMENT_MAX_BYTES: Final = 64 * 1024

# What every command takes, before or after its words.
HELP: Final = frozenset({"--help", "-h"})
EVERYWHERE_FLAGS: Final = HELP | {"--json"}
EVERYWHERE_VALUED: Final = frozenset({"--lang"})

# The options of a request on the socket, by name, with the one JSON type that
# each may have.
OPTION_TYPES: Final[Mapping[str, type]] = {
    "do_not_track": list,
    "to_file": bool,
    "preview": bool,
    "confirm": str,
    "key": str,
    "purpose": str,
    "action": str,
    "id": str,
    "ids": list,
    "kind": str,
    "text": str,
    "license": bool,
    "lang": str,
    "version": str,
}


@unique
class Who(Enum):
    """Names who may ask:

    `PEERS`, whoever the socket's mode lets connect; `OWNER`, uid 0 or a user
    installation's own.
    """

    PEERS = "peers"
    OWNER = "owner"


@unique
class Body(Enum):
    """Names what a request may carry, with its limit in bytes.

    Options begin with a brace, a document never does.
    """

    NONE = 64
    OPTIONS = OPTIONS_MAX_BYTES
    DOCUMENT = DOCUMENT_MAX_BYTES


class Route(NamedTuple):
    """Describes a request of the local socket.

    A GET is answered from memory: `member` is one of the answer, or "" for all
    of it. A POST starts evaluate with the intent `intent`, and its result has
    the members `result_members`. `min_interval_s` is the least time in seconds between
    two requests of peers; the owner may always ask. `ends_running_job`: what
    runs was started under a wider permission and is ended first. `switches`:
    those of the options that are a boolean here, whatever OPTION_TYPES says.
    `one_of`: what a text among them has to be one of, where it is not empty.
    """

    method: str
    path: str
    who: Who = Who.OWNER
    body: Body = Body.NONE
    options: tuple[str, ...] = ()  # of OPTION_TYPES
    min_interval_s: int = 0
    member: str | None = None
    intent: str = ""
    ends_running_job: bool = False
    result_members: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()


class Command(NamedTuple):
    """Describes a command as it is typed.

    `handler` is a module below `cli` and its function. `operands` is how many
    at least and at most; `operand` names them in usage errors and chooses what
    completion offers. `flags` take no value, `valued` take one, `asks` are the
    routes that it uses.
    """

    words: tuple[str, ...]
    handler: str
    flags: frozenset[str] = frozenset()
    valued: frozenset[str] = frozenset()
    operands: tuple[int, int] = (0, 0)
    operand: str = ""
    asks: tuple[Route, ...] = ()


# The opt-outs that a command sees in its own environment, `DO_NOT_TRACK=1`:
# every pass takes them, since they only narrow.
SIGNALS: Final = "do_not_track"


def _get(path: str, member: str) -> Route:
    """Returns a GET that any peer may make, of one member of the answer."""
    return Route("GET", path, who=Who.PEERS, member=member)


def _post(name: str, *options: str, result_members: tuple[str, ...]) -> Route:
    """Returns a POST of the owner's that takes options, its intent named as its path."""
    return Route(
        "POST",
        f"/v1/{name}",
        body=Body.OPTIONS,
        options=(*options, SIGNALS),
        intent=name,
        result_members=result_members,
    )


# A command that sends is shown first (`preview`), sent by its id (`confirm`),
# or written to a file (`to_file`).
SENDING_OPTIONS: Final = ("preview", "confirm", "to_file")
PREVIEWED: Final = ("id", "purpose", "method", "url", "head", "body", "leaves", "why")
SENT_OR_NOT: Final = (*PREVIEWED, "request", "sent", "reply_status")

# What health checks ask for where they were given no path (monit; haproxy by OPTIONS).
INDEX: Final = Route("GET", "/", who=Who.PEERS)
# The panel's question: what may this installation do? Answered to any peer.
LICENSE: Final = _get("/v1/license", "license")
CONSENT: Final = _get("/v1/consent", "consent")
# Everything at once, for `status` and `doctor`.
ANSWER: Final = _get("/v1/answer", "")
# A POST that a peer may make: a panel's button "check now". Its interval
# keeps a peer from using the agent to flood a mirror.
REFRESH: Final = _post("refresh", result_members=("asked", "advisories"))._replace(who=Who.PEERS, min_interval_s=60)
# Installs a document that is posted, or exchanges a license key for one: the only
# path that takes more than options.
BUNDLE: Final = Route(
    "POST",
    "/v1/bundle",
    body=Body.DOCUMENT,
    options=("key", *SENDING_OPTIONS, SIGNALS),
    intent="bundle",  # with a key: EXCHANGE
    result_members=("typ", *SENT_OR_NOT),
)
EXCHANGE: Final = "exchange"
ACTIVATE: Final = _post("activate", *SENDING_OPTIONS, result_members=SENT_OR_NOT)
RELEASE: Final = _post("release", *SENDING_OPTIONS, result_members=SENT_OR_NOT)
# Forgets the license on this server. Nothing is sent; a seat is freed by RELEASE.
REMOVE: Final = _post("remove", result_members=("removed",))
# What a report of this moment would say. It is neither held nor sent.
PREVIEW: Final = _post("preview", "purpose", result_members=(*PREVIEWED, "kept", "edited"))
# Reports that wait: lists, shows, drops or sends one, by `action`.
HELD: Final = _post("held", "action", "id", result_members=("held", "dropped", "edited", *SENT_OR_NOT))
# What left or may have, by the ledger; of one the bytes as far as they are kept,
# compared with the ledger's digest, and its receipt.
SENT: Final = _post(
    "sent",
    "id",
    result_members=(
        *("sent", "of", "id", "purpose", "kind", "url", "at", "stage", "status", "reason", "copy", "sha256"),
        *("head", "body", "reply_status", "reply_body", "reply_copy", "receipt"),
    ),
)
# Uses a right of a data subject (`consent.rights`).
RIGHTS: Final = _post(
    "rights", "kind", "ids", "text", "license", *SENDING_OPTIONS, result_members=("due", "answer", *SENT_OR_NOT)
)
# Forgets what makes this installation this one, before a disk becomes a template.
RESET: Final = _post(
    "reset",
    "preview",
    result_members=(
        *("forgotten", "license", "activated", "held", "sent", "unerased"),
        *("receipts", "entries", "stays", "erase"),
    ),
)
# Records that somebody has looked at a broken ledger.
REVIEW: Final = _post("review", result_members=("reviewed",))
# Removes the payloads that are kept here. The ledger keeps their digests.
PURGE: Final = _post("purge", result_members=("purged", "ready"))
# The file for an auditor (`ledger.export`), page by page: it may be larger than a
# job's output.
EXPORT: Final = _post("export", "id", result_members=("export", "more", "size"))
# Entries of the ledger, from a number on.
HISTORY: Final = _post("history", "id", result_members=("entries", "of"))
RECEIPTS: Final = _post("receipts", "id", result_members=("receipts", "of", "owed"))
# Records that a person was shown a notice, and in which language.
NOTICED: Final = _post("noticed", "version", "lang", result_members=("noticed",))
# What may leave has become less: whatever runs was started under the wider
# word.
NARROWED: Final = _post("narrowed", result_members=())._replace(ends_running_job=True)
# The panel's group may narrow as the owner may: one purpose, or do-not-track.
# Only a command of the owner's widens again. A closed list of purposes, since
# whatever narrows is admitted to a full queue.
WITHDRAW: Final = Route(
    "POST",
    "/v1/withdraw",
    who=Who.PEERS,
    body=Body.OPTIONS,
    options=("purpose", "do_not_track"),
    switches=("do_not_track",),
    one_of=("usage_statistics", "crash_reports"),
    intent="withdraw",
    ends_running_job=True,
    result_members=("withdrawn", "at"),
)
# Asked for by programs alone: health checks, and the panel, while `status`
# reads the whole answer.
FOR_PROGRAMS: Final = (INDEX, LICENSE, CONSENT, WITHDRAW)

_NONE: Final[frozenset[str]] = frozenset()
_WAIT: Final = frozenset({"--wait"})
_OUTPUT: Final = frozenset({"--wait", "-o"})
_COUNT: Final = frozenset({"-n"})
_ALL: Final = frozenset({"--all"})
_DRY_RUN: Final = frozenset({"--dry-run"})
_REMOVES: Final = _DRY_RUN | {"--yes"}
_VERBOSE: Final = frozenset({"--verbose"})
_MAX_PURPOSES: Final = 16
_MAX_REPORTS: Final = 64
_SOME: Final = (0, _MAX_PURPOSES)
_ONE: Final = (1, 1)

COMMANDS: Final[tuple[Command, ...]] = (
    Command(("status",), "license.status:status", frozenset({"--check", "--metrics"}), asks=(ANSWER,)),
    Command(("license", "install"), "license.commands:install", _NONE, _OUTPUT, (1, 64), "KEY|FILE", (BUNDLE,)),
    Command(("license", "show"), "license.commands:show", frozenset({"--urls"}), asks=(ANSWER,)),
    Command(("license", "verify"), "license.commands:verify", operands=_ONE, operand="FILE"),
    Command(("license", "refresh"), "license.commands:refresh", valued=_WAIT, asks=(REFRESH,)),
    Command(("license", "activate"), "license.commands:activate", valued=_OUTPUT, asks=(ACTIVATE,)),
    Command(("license", "release"), "license.commands:release", valued=_OUTPUT, asks=(RELEASE,)),
    Command(("license", "remove"), "license.commands:remove", _REMOVES, _WAIT, asks=(REMOVE, ANSWER)),
    Command(("consent", "show"), "consent.commands:show", asks=(ANSWER,)),
    Command(
        ("consent", "allow"), "consent.commands:allow", _NONE, _NONE, (1, _MAX_PURPOSES), "PURPOSE", (NARROWED, ANSWER)
    ),
    Command(("consent", "deny"), "consent.commands:deny", _ALL, _NONE, _SOME, "PURPOSE", (NARROWED,)),
    Command(("consent", "withdraw"), "consent.commands:deny", _ALL, _NONE, _SOME, "PURPOSE", (NARROWED,)),
    Command(("consent", "why"), "consent.commands:why", operands=_ONE, operand="PURPOSE", asks=(ANSWER,)),
    Command(("consent", "check"), "consent.commands:check", operands=(0, 1), operand="FILE"),
    Command(("consent", "history"), "consent.history:history", _VERBOSE, _COUNT, (0, 1), "PURPOSE", (HISTORY,)),
    Command(("consent", "receipt"), "consent.history:receipt", operands=(0, 1), operand="ID", asks=(RECEIPTS, HISTORY)),
    Command(("consent", "review"), "consent.history:review", asks=(REVIEW,)),
    Command(("dnt", "on"), "consent.do_not_track:on", asks=(NARROWED,)),
    Command(("dnt", "off"), "consent.do_not_track:off", asks=(NARROWED,)),
    Command(("dnt", "explain"), "consent.do_not_track:explain"),
    Command(("offline", "on"), "consent.offline:on", asks=(NARROWED,)),
    Command(("offline", "off"), "consent.offline:off", asks=(NARROWED,)),
    Command(("notice",), "consent.notice:show", asks=(ANSWER,)),
    Command(("advisories",), "advisories:show", asks=(ANSWER,)),
    Command(("data", "catalog"), "data.catalog:show", _VERBOSE, _NONE, (0, 1), "PURPOSE"),
    Command(("data", "preview"), "data.commands:preview", _NONE, _WAIT, _ONE, "PURPOSE", (PREVIEW,)),
    Command(("data", "held", "show"), "data.commands:held_show", _NONE, _WAIT, _ONE, "ID", (HELD,)),
    Command(("data", "held", "drop"), "data.commands:held_drop", _DRY_RUN, _WAIT, _ONE, "ID", (HELD,)),
    Command(("data", "held", "send"), "data.commands:held_send", _NONE, _WAIT, _ONE, "ID", (HELD,)),
    Command(("data", "held"), "data.commands:held", valued=_WAIT, asks=(HELD,)),
    Command(("data", "sent"), "data.sent:sent", _VERBOSE, _WAIT | _COUNT, (0, 1), "ID|PURPOSE", (SENT,)),
    Command(("data", "export"), "data.commands:export", valued=_OUTPUT | {"--html"}, asks=(EXPORT,)),
    Command(
        ("data", "request"),
        "data.commands:request",
        frozenset({"--license"}),
        _OUTPUT | {"--text"},
        (1, 1 + _MAX_REPORTS),
        "KIND",
        (RIGHTS,),
    ),
    Command(("data", "purge"), "data.commands:purge", _REMOVES, _WAIT, asks=(PURGE, HELD, SENT)),
    Command(("verify",), "data.export:verify", operands=_ONE, operand="FILE"),
    Command(("verify-install",), "release:verify_install"),
    Command(("doctor",), "doctor.command:doctor", frozenset({"--report", "--verbose"}), asks=(ANSWER,)),
    Command(("prove-silence",), "silence:prove", valued=frozenset({"--days"})),
    Command(("setup",), "consent.setup:setup", valued=frozenset({"--preseed"}), asks=(NOTICED, NARROWED)),
    Command(("reset",), "data.reset:reset", _DRY_RUN | {"--image"}, frozenset({"-o"}), asks=(RESET,)),
)

# Every route by path and method: what the socket takes.
ROUTES: Final[Mapping[str, Mapping[str, Route]]] = MappingProxyType(
    {
        route.path: MappingProxyType({route.method: route})
        for route in (*FOR_PROGRAMS, *(route for command in COMMANDS for route in command.asks))
    }
)
