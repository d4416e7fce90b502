"""What install.sh hands over: installing, removing, the demo. `trial SECONDS` is opanel-agent-trial.service."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # run as a folder; no other module is looked for beside it

from installer import checks, demo, install, options, remove, trial  # noqa: E402 - found by that folder
from installer.environment import Kit  # noqa: E402
from installer.texts import CannotError, Voice  # noqa: E402

KIT = Path(__file__).resolve().parents[2]


def run(words: Sequence[str], voice: Voice) -> int:
    """Returns the exit status. Raises CannotError."""
    asked = options.parse(words)
    voice.lang = asked.lang
    options.check(asked)
    if asked.demo:
        keep = ("--keep",) if asked.keep else ()
        return demo.demo(KIT, voice, *keep, *(("--lang", asked.lang) if asked.lang_asked else ()))
    if asked.uninstall:
        checks.root(only_looking=asked.dry_run)
        return remove.remove(options.of_removal(asked), voice)
    wishes = options.of_install(asked)
    checks.root(only_looking=asked.dry_run)
    if not asked.dry_run:
        checks.systemd_runs()
    checks.clock(asked.released)
    status = install.install(Kit(KIT, Path(asked.runtime) if asked.runtime else None), wishes, voice)
    checks.systemd_runs()  # who only looks may do so on any machine, and reads last what this one lacks
    return status


def main(words: Sequence[str]) -> int:
    os.umask(0o022)
    voice = Voice("en")
    try:
        if words[:1] == ["trial"]:
            trial.watch(float(words[1]), voice)
            return 0
        return run(words, voice)
    except CannotError as error:
        voice.refuse(error)
        return error.status
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
