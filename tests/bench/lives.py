"""Prints the table of simulated lives: kind, lives, worst state of an honest server, gain of a cheating one.

From the repository's root: `PYTHONPATH=tests $(tests/run --env) tests/bench/lives.py [LIVES]` (20 of each kind).
"""

import sys

from properties import lives


def main() -> int:
    """Returns 1 where a life did not stay within the bound of its kind."""
    broken = 0
    print("| kind | lives | never worse than | worst seen | gains at most | gained | holds |")  # noqa: T201
    print("| --- | --- | --- | --- | --- | --- | --- |")  # noqa: T201
    for row in lives.table(int(sys.argv[1]) if len(sys.argv) > 1 else 20):
        bound, name = row.kind, row.kind.live.__name__.replace("_", " ")
        honest = (bound.worst or "", row.worst or "")
        cheat = ("", "") if bound.gain_days is None else (f"{bound.gain_days} d", f"{row.gain_days} d")
        cells = (name, row.lives, *honest, *cheat, "yes" if row.holds else "NO")
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)  # noqa: T201
        broken += not row.holds
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
