"""Asks for what the ledger records: the daemon, and while it is stopped a process of the agent's user that only reads."""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

from opanel_agent.cli.context import Context
from opanel_agent.cli.display.output import Warned
from opanel_agent.cli.parser import Options
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Unavailable

SHOWN: Final = 20  # rows of a list, where -n says nothing else
MOST_SHOWN: Final = 1000  # what the agent gives at once
T = TypeVar("T")


class Records(NamedTuple):
    """What was found, and a warning where a stopped agent's files had to say it."""

    result: Members
    warnings: tuple[Warned, ...] = ()

    @property
    def plain(self) -> dict[str, Json]:
        """Returns the whole result as it came."""
        return {name: self.result.value(name) for name in self.result.names()}


def read(world: Context, path: str, request_id: str | None = None, *, wait_s: int = 30) -> Records:
    """Returns the result of /v1/history or /v1/sent. Raises the agent's own error, NotPermitted for who may not read."""
    try:
        asked: dict[str, Json] = {} if request_id is None else {"id": request_id}
        return Records(world.client.post(path, asked, wait_s=wait_s).result)
    except Unavailable as error:
        if error.code is not Fault.NOT_RUNNING:
            raise
    words = (path.rpartition("/")[2], *(() if request_id is None else (request_id,)))
    stopped = Warned(code=Fault.NOT_RUNNING, title=world.sentence("records.at_rest"))
    return Records(world.records_at_rest(words), (stopped,))


def limit(options: Options) -> int | None:
    """Returns how many rows `-n` wants: 20 where it is absent, None for all (0). Raises Usage."""
    return options.number("-n", SHOWN, high=MOST_SHOWN) or None


def in_json(options: Options, newest_first: Sequence[T]) -> Sequence[T]:
    """Returns the rows for a program, which is given all of them unless `-n` says otherwise."""
    return newest_first[: limit(options)] if "-n" in options.values else newest_first


def left_out(world: Context, *, shown: int, of: int) -> tuple[str, ...]:
    """Returns a line that says how many rows there are beside those shown; none where there are no more."""
    return ("", world.sentence("records.left_out", shown=shown, of=of)) if shown < of else ()
