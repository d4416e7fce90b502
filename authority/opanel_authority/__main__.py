"""`opanel-authority` and `python -m opanel_authority`."""

import sys

from opanel_authority.cli.main import main as _main


def main() -> int:
    """Runs the `opanel-authority` command of this process's arguments; returns its exit status."""
    return _main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
