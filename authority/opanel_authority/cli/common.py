"""What every group of commands uses: argument types, who types, the time."""

import argparse
import getpass
import os
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, BinaryIO, Protocol, TypedDict

from opanel_agent.core.codec.json_value import Json
from opanel_authority.authority import Authority, open_home
from opanel_authority.books.tables import MAX_NUMBER
from opanel_authority.documents.issue import Issued
from opanel_authority.lifecycle.changed_by import ChangedBy
from opanel_authority.messages import sentence

Result = Mapping[str, Json]
Command = Callable[[argparse.Namespace], Result]


class AddCommand(Protocol):
    """Adds a command to the command line; its parser takes the arguments.

    One that `changes` something takes a reason, and leaves a row in the change log (tests hold it).
    """

    def __call__(
        self, name: str, command: Command, summary: str, *, changes: bool = False
    ) -> argparse.ArgumentParser: ...


def opened(arguments: argparse.Namespace) -> Authority:
    """Opens the authority of `--dir`. Raises Misconfigured where `init` did not make it."""
    return open_home(arguments.dir)


def now_s() -> int:
    """Returns the wall clock in whole seconds since the epoch."""
    return int(time.time())


def actor() -> str:
    """Tells who types this command, for the change log."""
    try:
        return f"command:{os.environ.get('SUDO_USER') or getpass.getuser()}"
    except (KeyError, OSError):
        return f"command:{os.getuid()}"


def who(arguments: argparse.Namespace) -> ChangedBy:
    """Names who types this command as the author of a change, with the `--reason` given."""
    return ChangedBy(actor=actor(), reason=arguments.reason)


class Logged(TypedDict):
    """Who and why, for functions that take both by name."""

    actor: str
    reason: str | None


def logged(arguments: argparse.Namespace) -> Logged:
    """Returns who types this command, and the reason given."""
    return Logged(actor=actor(), reason=arguments.reason)


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Returns the options that were given; the terms know the defaults of the others."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def warned(details: Iterable[str]) -> dict[str, Json]:
    """Returns the member of a result that warns; none where nothing does."""
    sentences: list[Json] = [sentence(each, {}) for each in details]
    return {"warnings": sentences} if sentences else {}


def words(text: str) -> tuple[str, ...]:
    """Reads A,B as a tuple."""
    return tuple(word for word in text.split(",") if word)


def limit(text: str) -> tuple[str, int]:
    """Reads NAME=NUMBER as a pair."""
    name, equals, number = text.partition("=")
    if not (name and equals and number.isascii() and number.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not name=number")
    return name, int(number)


def moment(text: str) -> int:
    """Returns a date, or a time with its zone (RFC 3339), in seconds; a date begins at 00:00 UTC."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not YYYY-MM-DD") from error
    return int((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp())


def number(text: str) -> int:
    """Returns a whole number from 0 on that a column of the books can hold."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MAX_NUMBER):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 0 to {MAX_NUMBER}")
    return int(text)


def shown_time(at: int) -> str:
    """Formats seconds since the epoch as RFC 3339 in UTC: 2026-01-31T12:00:00Z."""
    return datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def write_bundle(file: BinaryIO, made: Issued) -> None:
    """Put a license on the disk before it counts: one that could not be handed out is not issued."""
    file.write(made.text.encode("ascii"))
    file.flush()
    os.fsync(file.fileno())


def handle_argument(parser: argparse.ArgumentParser) -> None:
    """Add ID: which license it is about."""
    parser.add_argument("id", metavar="ID", help="an id, a license key, its eight hex digits, or an order id")
