"""Starts the program: the first argument selects a process, anything else is a command for a person.

The argument is read before anything is imported, because the daemon stays small for ever and every other process starts
anew for each request.
"""

import atexit
import gc
import sys
from collections.abc import Sequence
from typing import Final

# All but the daemon live for one request. Imports allocate what stays: at Python's own threshold of 700 the collector walks
# it 30 times and frees next to nothing, for an eighth of the start (3.5 of 28 ms of user CPU, Python 3.11, 2026-11-29).
SHORT_LIVED_THRESHOLD: Final = 50_000


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what the arguments name and returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    match arguments:
        case ["daemon"]:
            from opanel_agent.daemon.loop import main as daemon

            return daemon()
        case _:
            gc.set_threshold(SHORT_LIVED_THRESHOLD)
            # Else the interpreter, as it ends, searches all that was imported for garbage: 12 of the 65 ms of a pass, 5 of
            # the 40 ms of `status` (Python 3.11, 2026-11-29). Nothing here is left to a finalizer.
            atexit.register(gc.freeze)
            return _short_lived(arguments)


def _short_lived(arguments: Sequence[str]) -> int:
    match arguments:
        case ["evaluate"]:
            from opanel_agent.evaluate.main import main as evaluate

            return evaluate()
        case ["fetch"]:
            from opanel_agent.network.fetch import main as fetch

            return fetch()
        case ["courier"]:
            from opanel_agent.network.courier import main as courier

            return courier()
        case ["export"]:
            from opanel_agent.evaluate.export import main as export

            return export()
        case ["records", *words]:
            from opanel_agent.evaluate.storage.records_at_rest import main as records_at_rest

            return records_at_rest(words)
        case _:
            return _command(arguments)


def _command(arguments: Sequence[str]) -> int:
    """Runs a command of a person's, who may press Ctrl-C while it is still loading and is to read no traceback then."""
    try:
        from opanel_agent.cli.main import main as command

        return command(arguments)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
