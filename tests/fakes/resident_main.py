"""A whole resident as a program of its own, with another job than evaluate and other figures: the only argument is JSON.

{"agent": folder of the package, "directory": …, "job": [command…], "terms": {"limits": {…}, "patience": {…}, …}}
"""

import json
import os
import sys

told = json.loads(sys.argv[1])
sys.path.insert(0, told["agent"])

from opanel_agent.core.errors import AgentError  # noqa: E402
from opanel_agent.resident.children import Limits, clean_environment  # noqa: E402
from opanel_agent.resident.claim import Ground  # noqa: E402
from opanel_agent.resident.clients import Crowd, Share  # noqa: E402
from opanel_agent.resident.connection import Patience  # noqa: E402
from opanel_agent.resident.diary import Diary  # noqa: E402
from opanel_agent.resident.loop import Job, Resident, Terms  # noqa: E402
from opanel_agent.resident.notify import Notifier  # noqa: E402
from opanel_agent.resident.work import Pace  # noqa: E402
from opanel_agent.system.journal import Journal  # noqa: E402

parts = {"limits": Limits, "patience": Patience, "crowd": Crowd, "share": Share, "pace": Pace}
terms = {name: parts[name](**value) if name in parts else value for name, value in told["terms"].items()}
place = told["directory"]
ground = Ground(
    directory=place,
    lock=f"{place}/resident.lock",
    socket=f"{place}/agent.sock",
    answer=f"{place}/answer.json",
    owner=told["owner"],
    make=True,
)
job = Job(command=told["job"], environment=clean_environment(os.environ, system=False))
try:
    sys.exit(
        Resident(
            ground,
            job,
            notifier=Notifier(os.environ, pid=os.getpid()),
            diary=Diary(Journal(os.environ).tell, "en"),
            terms=Terms(**terms),
        ).run()
    )
except AgentError as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(error.exit_status)
