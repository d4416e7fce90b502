"""The one program: the processes by their word, everything else a command for a person.

A process is told apart before anything is imported, because the daemon stays small for ever and the courier starts anew
for every request.
"""

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what the arguments name and returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    match arguments:
        case ["daemon"]:
            from opanel_agent.daemon.loop import main as daemon

            return daemon()
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
        case _:
            return _command(arguments)


def _command(arguments: Sequence[str]) -> int:
    """For a person, who may press Ctrl-C while this is still loading and wants to read no traceback then."""
    try:
        from opanel_agent.cli.main import main as command

        return command(arguments)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
