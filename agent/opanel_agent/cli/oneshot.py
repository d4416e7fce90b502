"""Runs one pass of evaluate while no daemon runs, as the agent's own user, for an administrator's command.

The state belongs to that user, so no process of root opens a path in it: root starts this one, gives up its rights before
the first instruction of the agent, and reads one line from it. It takes the state's lock as any pass does.
"""

import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Bug, Misconfigured, Unavailable, Untrusted
from opanel_agent.system import environment, process
from opanel_agent.system.process import Credentials, KernelLimits
from opanel_agent.system.storage.paths import Paths

PROGRAM: Final = (sys.executable, "-I", "-m", "opanel_agent", "evaluate")
USER: Final = "opanel-agent"
DEADLINE_S: Final = 120
_MAX_FRAME_BYTES: Final = 1024 * 1024
_DEPTH: Final = 16


def run(
    paths: Paths,
    intent: Mapping[str, Json],
    *,
    program: Sequence[str] = PROGRAM,
    user: str = USER,
    deadline_s: float = DEADLINE_S,
) -> Members:
    """Returns the result. Raises the job's own error, Misconfigured where the agent's user is missing."""
    try:
        finished = process.run(
            program,
            dumps({"schema": 1, **intent}) + b"\n",
            environment=environment.select(os.environ, user_folders=not paths.system),
            max_bytes=_MAX_FRAME_BYTES,
            deadline_s=deadline_s,
            identity=_identity(user) if paths.system else None,
            limits=KernelLimits(),
            stderr="discard",
        )
    except TimeoutError as late:
        raise Unavailable(Fault.JOB_TIMEOUT, "job_timeout", seconds=int(deadline_s)) from late
    return result(finished.output)


def _identity(user: str) -> Credentials:
    try:
        found = pwd.getpwnam(user)
    except KeyError as nobody:
        raise Misconfigured(Fault.IO_FAILED, "agent_user_absent", user=user) from nobody
    return Credentials(uid=found.pw_uid, gid=found.pw_gid)


def result(frame: bytes) -> Members:
    """Returns the result that a frame holds. Raises the job's own error, Bug for what is no frame."""
    try:
        members = Members(loads(frame, max_bytes=_MAX_FRAME_BYTES, max_depth=_DEPTH), "frame")
        if members.boolean("ok"):
            return members.members("result")
        error = members.value("error")
    except Untrusted as garbled:
        raise Bug(Fault.PROTOCOL, "job_frame") from garbled
    raise AgentError.from_json(error if isinstance(error, dict) else {})
