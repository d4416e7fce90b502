"""Prints how the files of an ordinary server's agent grow over years, beside their limits, and what a pass then takes.

From the repository's root: `PYTHONPATH=tests $(tests/run --env) tests/bench/growth.py [YEARS] [SEED]` (10, seed 1).
"""

import sys

from opanel_agent.core.consent import rights, withdrawals
from opanel_agent.core.ledger import checkpoint, export
from opanel_agent.evaluate.storage import ledger_file, state
from properties import growth

LIMITS = {
    "ledger": ledger_file.MAX_BYTES,
    "state": state.MAX_BYTES,
    "withdrawals": withdrawals.MAX_BYTES,
    "checkpoint": checkpoint.MAX_BYTES,
    "rights": rights.MAX_BYTES,
    "export": export.MAX_BYTES,
}


def main() -> int:
    """Returns 1 where a limit was passed."""
    years, seed = (int(given) for given in (*sys.argv[1:3], *("10", "1")[len(sys.argv) - 1 :]))
    limits = ", ".join(f"{name} {limit} B" for name, limit in LIMITS.items())
    print(f"limits: {limits}\n")  # noqa: T201
    print(f"| {' | '.join(growth.Figures._fields)} |\n|{' --- |' * len(growth.Figures._fields)}")  # noqa: T201
    passed = 0
    for figures in growth.live(seed, years):
        row = figures._asdict()
        passed += any(row[name] > limit for name, limit in LIMITS.items())
        cells = (f"{cell:.0f}" if isinstance(cell, float) else str(cell) for cell in row.values())
        print(f"| {' | '.join(cells)} |", flush=True)  # noqa: T201
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main())
