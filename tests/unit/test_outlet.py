"""Where evaluate starts the courier itself: ending evaluate ends what it started, so a "no" also cuts what is under way."""

import json
import sys
from pathlib import Path

from fakes.resident import gone, until
from opanel_agent.core.errors import NotPermitted
from opanel_agent.core.reasons import Reason
from opanel_agent.resident.children import Child, Limits, clean_environment

# As evaluate does: one word to fetch, and waits for the reply.
ASKS = """
from opanel_agent.jobs.outlet import LocalOutlet
from opanel_agent.system.paths import find
LocalOutlet(find()).fetch("status", signalled=False)
"""
# In the interpreter's place: a request that takes its time.
UNDER_WAY = """#!/bin/sh
echo $$ > "$HOME/started"
exec sleep 60
"""


def test_what_evaluate_started_ends_with_it(tmp_path: Path) -> None:
    slow, started = tmp_path / "slow", tmp_path / "started"
    slow.write_text(UNDER_WAY)
    slow.chmod(0o700)
    searched = json.dumps([path for path in sys.path if path])
    program = f"import sys; sys.path[:0] = {searched}; sys.executable = {str(slow)!r}\n{ASKS}"
    environment = clean_environment({"HOME": str(tmp_path)}, system=False)
    child = Child([sys.executable, "-c", program], environment, b"", Limits(), now_s=0)
    until(lambda: started.exists() and started.read_text().endswith("\n"))
    courier = int(started.read_text())
    child.end(NotPermitted(Reason.NOT_PERMITTED, "job_narrowed"))
    until(lambda: child.reap() is not None)
    until(lambda: gone(courier))  # else it would go on sending
