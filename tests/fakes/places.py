"""Where a system installation's files lie, for a test that needs no whole agent."""

from pathlib import Path
from typing import Final

from opanel_agent.system.paths import Paths

PATHS: Final = Paths(
    system=True,
    owner=0,
    config_dir=Path("/etc/opanel-agent"),
    state_dir=Path("/var/lib/opanel-agent"),
    runtime_dir=Path("/run/opanel-agent"),
)
