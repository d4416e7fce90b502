"""What runs in the chamber: the warden, and the two programs that it starts and counts.

One JSON argument says which, and where. The *warden* makes its namespaces the chamber, listens, runs the *month* as a
process of its own (under strace where there is one), and writes what came of it: the scenario's part of the result. For
the raw control it runs *probes* instead (`controls`).
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.consent.purposes import CONSENT_BASED, FIXED_GETS
from opanel_agent.silence import controls, judge, listener, namespace, server_copy, simulate, strace
from opanel_agent.silence.expected import ScenarioFiles
from opanel_agent.silence.judge import Month, Observed, ProcessCount, Scenario
from opanel_agent.silence.listener import CannedReply, Listener
from opanel_agent.silence.runner import RAW
from opanel_agent.silence.simulate import Parts
from opanel_agent.system import environment, process

_FAULT_CHARACTERS: Final = 400
_MONTH_MAX_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
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


def main(arguments: Sequence[str], parts: Parts | None = None) -> int:
    """`parts` are a test's, to plant a leak."""
    task = ScenarioTask(**json.loads(arguments[0]))
    match task.role:
        case "warden":
            told = _warden(task)
        case "month":
            lived = simulate.live(Path(task.folder), Scenario(task.scenario), task.days, parts or Parts(), os.environ)
            told = asdict(lived)
        case _:
            controls.attempt(task.probe)
            told = {}
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


def _warden(task: ScenarioTask) -> dict[str, Json]:
    folder = Path(task.folder)
    ground = ScenarioFiles(folder)
    try:
        has_v6 = namespace.prepare(folder, ground.addresses)
    except namespace.NamespaceRefused as refused:
        return {"refused": refused.step, "told": refused.told}
    if task.scenario == RAW:
        seen = controls.run(
            folder, lambda name: replace(task, role="probe", probe=name).command(), has_v6=has_v6, traced=task.strace
        )
        return {"controls": [*seen], "has_v6": has_v6}
    context = listener.server_context(ground.hosts, folder, folder / server_copy.CA_FILE)
    heard = Listener(ground.ports, context, _replies(folder / server_copy.ANSWERS), has_v6=has_v6)
    return _watched(task, ground, heard)


def _watched(task: ScenarioTask, ground: ScenarioFiles, heard: Listener) -> dict[str, Json]:
    folder, scenario = Path(task.folder), Scenario(task.scenario)
    environ = _environment(scenario)
    expected = ground.expected(scenario, environ)
    before = namespace.traffic()
    lived, fault = _run_month(task, environ)
    received = heard.received()
    traffic = namespace.settled().since(before)
    heard.close()
    observed = Observed(
        traffic=traffic,
        received=received,
        reports=tuple(ground.reports()),
        month=lived,
        fault=fault,
        calls=strace.calls(folder, {} if lived is None else lived.pids) if task.strace else None,
    )
    return judge.violations_json(scenario, expected, observed)


def _environment(scenario: Scenario) -> dict[str, str]:
    """A job's. What this shell says against being tracked counts as things stand, and nowhere else."""
    kept = environment.select(os.environ, user_folders=True)
    if scenario is Scenario.AS_IT_STANDS:
        return kept
    return {name: value for name, value in kept.items() if name not in environment.OPT_OUT_VARIABLES}


def _run_month(task: ScenarioTask, environ: Mapping[str, str]) -> tuple[Month | None, str]:
    """What it told, else how it ended."""
    month = replace(task, role="month").command()
    command = strace.command(Path(task.folder), month) if task.strace else month
    try:
        finished = process.run(
            command, environment=environ, max_bytes=_MONTH_MAX_BYTES, deadline_s=task.deadline_s, stderr="capture"
        )
    except TimeoutError:
        return None, "timeout"
    if finished.status != 0:
        return None, finished.errors.decode("utf-8", "replace").strip()[-_FAULT_CHARACTERS:]
    return _month(json.loads(finished.output)), ""


def _month(told: dict[str, Any]) -> Month:
    """What `main` wrote: JSON has no other names than texts, and no values of ours."""
    shares = {name: ProcessCount(**share) for name, share in told.pop("shares").items()}
    pids = {int(pid): name for pid, name in told.pop("pids").items()}
    return Month(shares=shares, pids=pids, **told)


def _replies(folder: Path) -> dict[str, CannedReply]:
    """This server's own kept documents; the authority that could sign others is not here. A report is accepted."""
    answers = {
        get.path: CannedReply(status="200 OK", content_type=get.content_type, body=file.read_bytes())
        for get in FIXED_GETS.values()
        if (file := folder / get.path.rpartition("/")[2]).is_file()
    }
    accepted = CannedReply(status="202 Accepted", content_type="application/jose", body=b"none")
    return answers | {f"/v1/reports/{purpose}": accepted for purpose in CONSENT_BASED}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
