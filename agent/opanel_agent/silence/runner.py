"""Around the chambers: copies this server, has each scenario run in namespaces of its own, and says what it came to.

`prove` needs `unshare` of util-linux and a kernel that lets this user make namespaces; where one is missing the answer is
"not proven" with the name of what is missing, never a pass. Scenarios are independent, so they run beside each other.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.values import frozen
from opanel_agent.silence import server_copy, strace
from opanel_agent.silence.judge import Scenario
from opanel_agent.system import process
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths

UNSHARE: Final = "unshare"
NAMESPACES: Final = ("-rnm", "--")
PROGRAM: Final = (sys.executable, "-I", "-m", "opanel_agent.silence.supervisor")
RAW: Final = "raw"
MISSING: Final = ("unshare_absent", "unshare_refused", "chamber_refused", "root_absent")
RUN_FAILED: Final = "run_failed"
# Evaluate's test of its own cage opens sockets, to see that it cannot (system.cage), so it is never run here.
CAGE: Final = "cage"
PROVEN, NOT_PROVEN, IMPOSSIBLE = 0, 1, 69
# Each scenario is lived twice, because a program can find out whether strace looks on: the month without, this with it.
TRACED_DAYS: Final = 1
_PROBE_S: Final = 20
_BASE_S: Final = 120
_TYPED_S: Final = 300  # and for a life in which everything is typed
_DAY_S: Final = 30  # a generous share of a noisy machine's time for each day of the month, strace included
_ERROR_MAX_CHARACTERS: Final = 200
_OUTPUT_MAX_BYTES: Final = 16 * 1024 * 1024


# What no run of this proves: published, and each has a sentence.
NOT_COVERED: Final = (
    "timing",
    "random_bytes",
    "recognition",
    "waits",
    "files",
    "path_sockets",
    "installer",
    "families",
    "replies",
    "kernel",
)
WEEKDAYS: Final = "weekdays"  # where not every day of the week was lived
_WEEK_DAYS: Final = 7


Runs = dict[Scenario, "Future[dict[str, Any]]"]


class MissingPrerequisite(Exception):
    """What kept it from being run. `code` is published: one of `MISSING`, or RUN_FAILED where a chamber gave no result."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


@frozen
class ProofTools:
    """Holds the tools of the proof: `program` starts `inside`; a test replaces the rest.

    `ended` is given how many runs have ended, of how many, each time one has.
    """

    program: Sequence[str] = PROGRAM
    unshare: str = UNSHARE
    use_strace: bool = True
    scenarios: Sequence[Scenario] = tuple(Scenario)
    ended: Callable[[int, int], None] = lambda _done, _of: None


@frozen
class Proof:
    """`result` as it is published (docs/json.md)."""

    result: dict[str, Json]
    exit_status: int


def prove(files: Files, paths: Paths, days: int, means: ProofTools) -> Proof:
    """Proves silence, and never raises for a prerequisite: what is missing is in the result."""
    not_run: list[Json] = [{"code": CAGE}]
    try:
        _judge_unshare(means)
        server = _server(files, paths)
        not_run += [{"code": code} for code in server.left_out]
        unseen = strace.available() if means.use_strace else "strace_absent"
        not_run += [{"code": unseen}] if unseen else []
        controls, scenarios = _run(server, days, means, traced=unseen is None)
    except MissingPrerequisite as missing:
        not_run.append({"code": missing.code, "told": missing.detail})
        status = IMPOSSIBLE if missing.code in MISSING else NOT_PROVEN
        return Proof(result=_result(days, (), {"controls": []}, not_run), exit_status=status)
    not_run += [] if controls["has_v6"] else [{"code": "ipv6_absent"}]
    result = _result(days, scenarios, controls, not_run)
    return Proof(result=result, exit_status=PROVEN if result["verdict"] == "proven" else NOT_PROVEN)


def _result(
    days: int, scenarios: Sequence[dict[str, Any]], controls: dict[str, Any], not_run: list[Json]
) -> dict[str, Json]:
    """Returns the result, proven where every scenario holds and every control saw what it had to."""
    parts = [*scenarios, *controls["controls"]]
    proven = bool(scenarios) and bool(controls["controls"]) and all(part["ok"] for part in parts)
    return {
        "verdict": "proven" if proven else "not_proven",
        "days": days,
        "scenarios": [*scenarios],
        "controls": controls["controls"],
        "not_run": not_run,
        "not_covered": [*NOT_COVERED, *([WEEKDAYS] if days < _WEEK_DAYS else [])],
    }


def _judge_unshare(means: ProofTools) -> None:
    if shutil.which(means.unshare) is None:
        raise MissingPrerequisite("unshare_absent")
    try:
        ran = process.run(
            [means.unshare, *NAMESPACES, "true"],
            environment=os.environ,
            max_bytes=_OUTPUT_MAX_BYTES,
            deadline_s=_PROBE_S,
            stderr="capture",
        )
    except OSError as exc:  # TimeoutError is one
        raise MissingPrerequisite("unshare_refused", str(exc)) from exc
    if ran.status != 0:
        raise MissingPrerequisite(
            "unshare_refused", ran.errors.decode("utf-8", "replace").strip()[:_ERROR_MAX_CHARACTERS]
        )


def _server(files: Files, paths: Paths) -> server_copy.Server:
    try:
        return server_copy.look(files, paths)
    except server_copy.NoRoot as exc:
        raise MissingPrerequisite("root_absent", str(exc.__cause__ or "")[:_ERROR_MAX_CHARACTERS]) from exc


def _run(
    server: server_copy.Server, days: int, means: ProofTools, *, traced: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns the controls' result and each scenario's. The folder is gone afterwards, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="opanel-silence-", dir=_outside_of_run()) as name:
        folder = Path(name)

        def one(name: str, *, traced: bool) -> dict[str, Any]:
            here = folder / (f"{name}.traced" if traced else name)
            here.mkdir(mode=0o700)
            server_copy.lay_out(server, Scenario.AS_IT_STANDS if name == RAW else Scenario(name), here)
            lived = min(days, TRACED_DAYS) if traced else days
            return _in_chamber(here, name, lived, means, traced=traced)

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            control = pool.submit(one, RAW, traced=traced)
            lives: Runs = {}
            watched: Runs = {}
            for each in sorted(means.scenarios, key=lambda each: each is not Scenario.COMMANDS):  # the longest first
                lives[each] = pool.submit(one, each, traced=False)
                watched |= {each: pool.submit(one, each, traced=True)} if traced else {}
            runs = [control, *lives.values(), *watched.values()]
            for done, _ in enumerate(as_completed(runs), start=1):
                means.ended(done, len(runs))
            scenarios = [
                merged(lives[each].result(), watched[each].result()) if traced else lives[each].result()
                for each in means.scenarios
            ]
            return control.result(), scenarios


def merged(life: dict[str, Any], traced: dict[str, Any]) -> dict[str, Any]:
    """Returns one scenario's result, with what strace's shorter life speaks against it.

    Its figures are the longer one's.
    """
    return {
        **life,
        "ok": life["ok"] and traced["ok"],
        "strace": traced["strace"],
        "why": [*life["why"], *(each for each in traced["why"] if each not in life["why"])],
    }


def _outside_of_run() -> str | None:
    """Returns a folder outside of /run, which the chamber hides; None where the usual one is."""
    return "/var/tmp" if Path(tempfile.gettempdir()).resolve().is_relative_to("/run") else None  # noqa: S108


def _in_chamber(folder: Path, scenario: str, days: int, means: ProofTools, *, traced: bool) -> dict[str, Any]:
    deadline_s = _BASE_S + _DAY_S * days + (_TYPED_S if scenario == Scenario.COMMANDS else 0)
    task = {
        "role": "warden",
        "folder": str(folder),
        "scenario": scenario,
        "days": days,
        "strace": traced,
        "deadline_s": deadline_s,
        "program": [*means.program],
    }
    command = [means.unshare, *NAMESPACES, *means.program, json.dumps(task)]
    try:
        ran = process.run(
            command,
            environment=os.environ,  # what its month inherits, the supervisor selects
            max_bytes=_OUTPUT_MAX_BYTES,
            deadline_s=deadline_s + _PROBE_S,
            stderr="capture",
        )
    except OSError as exc:  # TimeoutError is one
        raise MissingPrerequisite(RUN_FAILED, f"{scenario}: {type(exc).__name__}") from exc
    if ran.status != 0:
        last_line = ran.errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise MissingPrerequisite(RUN_FAILED, f"{scenario}: {last_line}"[:_ERROR_MAX_CHARACTERS])
    result: dict[str, Any] = json.loads(ran.output)
    if "refused" in result:
        raise MissingPrerequisite("chamber_refused", f"{result['refused']}: {result['told']}"[:_ERROR_MAX_CHARACTERS])
    return result
