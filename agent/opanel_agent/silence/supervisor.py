"""What runs in the namespaces: the warden, and the probes that it starts and counts.

One JSON argument says which, and where. The *warden* makes its namespaces the chamber, listens, lets the installed programs
live there (under strace where that is asked), and writes what came of it: the scenario's part of the result. For the raw
control it runs *probes* instead (`controls`).
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.consent.purposes import CONSENT_BASED, EVERY_GET
from opanel_agent.core.values import frozen, replace
from opanel_agent.silence import controls, judge, listener, namespace, server_copy, strace
from opanel_agent.silence.expected import ScenarioFiles
from opanel_agent.silence.judge import Observed, Scenario
from opanel_agent.silence.life import simulate
from opanel_agent.silence.life.typist import Program
from opanel_agent.silence.listener import CannedReply, Listener
from opanel_agent.silence.namespace import Layout
from opanel_agent.silence.runner import RAW
from opanel_agent.system import environment


@frozen
class ScenarioTask:
    """`scenario` is one of `Scenario`, or RAW; `program` starts this module again, with another role."""

    role: str
    folder: str
    scenario: str
    days: int
    strace: bool
    deadline_s: int
    program: Sequence[str]
    probe: str = ""

    def command(self) -> list[str]:
        return [*self.program, json.dumps(asdict(self))]


def main(arguments: Sequence[str]) -> int:
    """Runs one role and writes its result as a line of JSON. Returns the exit status."""
    task = ScenarioTask(**json.loads(arguments[0]))
    result: dict[str, Json] = {}
    if task.role == "warden":
        result = _warden(task)
    else:
        controls.attempt(task.probe)
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


def _warden(task: ScenarioTask) -> dict[str, Json]:
    folder = Path(task.folder)
    ground = ScenarioFiles(folder)
    try:
        has_v6 = namespace.prepare(folder, _layout(task, ground))
    except namespace.NamespaceRefused as refused:
        return {"refused": refused.step, "told": refused.detail}
    simulate.keep(folder)
    if task.scenario == RAW:
        seen = controls.run(
            folder, lambda name: replace(task, role="probe", probe=name).command(), has_v6=has_v6, traced=task.strace
        )
        return {"controls": [*seen], "has_v6": has_v6}
    context = listener.server_context(ground.hosts, folder, folder / server_copy.CA_FILE)
    heard = Listener(ground.ports, context, _replies(folder / server_copy.ANSWERS), has_v6=has_v6)
    return _watched(task, ground, heard)


def _layout(task: ScenarioTask, ground: ScenarioFiles) -> Layout:
    """Returns the layout; the raw control is about the network alone."""
    if task.scenario == RAW:
        return Layout(hosts=ground.addresses)
    return simulate.layout(Path(task.folder), ground.addresses)


def _watched(task: ScenarioTask, ground: ScenarioFiles, heard: Listener) -> dict[str, Json]:
    folder, scenario = Path(task.folder), Scenario(task.scenario)
    environ = _environment(scenario, folder)
    expected = ground.expected(scenario, environ, simulate.installed_paths(folder))
    program = Program(folder=folder, environ=environ, traced=task.strace)
    before = namespace.traffic()
    lived = simulate.live(program, task.days, task.deadline_s, scenario, heard.heard)
    received = heard.received()
    traffic = namespace.settled().since(before)
    heard.close()
    observed = Observed(
        traffic=traffic,
        received=received,
        greetings=heard.greetings(),
        reports=tuple(ground.reports()),
        month=lived,
        calls=strace.calls(folder, simulate.starts(folder)) if task.strace else None,
    )
    return judge.violations_json(scenario, expected, observed)


def _environment(scenario: Scenario, folder: Path) -> dict[str, str]:
    """Returns the daemon's environment.

    What this shell says against being tracked counts as things stand, and nowhere else.
    """
    kept = environment.select(os.environ, user_folders=True) | simulate.user_folders(simulate.installed_paths(folder))
    if scenario is Scenario.AS_IT_STANDS:
        return kept
    return {name: value for name, value in kept.items() if name not in environment.opt_out_names(kept)}


def _replies(folder: Path) -> dict[str, CannedReply]:
    """Returns this server's own kept documents; the authority that could sign others is not here. A report is accepted."""
    answers = {
        get.path: CannedReply(status="200 OK", content_type=get.content_type, body=file.read_bytes())
        for get in EVERY_GET.values()
        if (file := folder / get.path.rpartition("/")[2]).is_file()
    }
    accepted = CannedReply(status="202 Accepted", content_type="application/jose", body=b"none")
    return answers | {f"/v1/reports/{purpose}": accepted for purpose in CONSENT_BASED}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
