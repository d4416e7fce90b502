"""Tells the records of an agent that is stopped: `history`, `sent` and `sent ID`, in the frame that evaluate answers with.

A process of the agent's own user, which only reads: it takes no lock, repairs nothing and asks nobody. Left out is what a
pass would do besides.
"""

import sys
from collections.abc import Sequence

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Usage
from opanel_agent.evaluate.consent import records
from opanel_agent.evaluate.intent import Result
from opanel_agent.evaluate.requests.outbox import Outbox
from opanel_agent.evaluate.storage.ledger_file import LedgerFile
from opanel_agent.system.storage import paths as installation
from opanel_agent.system.storage.files import Files, LocalFiles
from opanel_agent.system.storage.paths import Paths


def main(words: Sequence[str]) -> int:
    """Prints the frame; its error is in it, so the exit status is 0 all the same."""
    try:
        frame: dict[str, Json] = {"ok": True, "result": read(LocalFiles(), installation.find(), words)}
    except AgentError as error:
        frame = {"ok": False, "error": error.to_json()}
    sys.stdout.buffer.write(dumps({"schema": 1, **frame}) + b"\n")
    sys.stdout.buffer.flush()
    return 0


def read(files: Files, paths: Paths, words: Sequence[str]) -> Result:
    """Returns the result of the intent that the words name. Raises Storage for a ledger that cannot be read."""
    ledger = LedgerFile(files, paths)
    ledger.look()
    match words:
        case ["history"]:
            return records.history(ledger)
        case ["sent", *ids] if len(ids) <= 1:
            asked: dict[str, Json] = {"id": ids[0]} if ids else {}
            return records.sent(Outbox(files=files, paths=paths, ledger=ledger), Members(asked, "intent"))
        case _:
            raise Usage(Fault.USAGE, "operand_unexpected", operand=" ".join(words))
