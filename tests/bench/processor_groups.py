"""Control groups that share the processor as systemd's services do: the load in one, a server in another, its client too.

On a server the panel's workers, the daemon and whoever else asks are services of their own, and the kernel gives each a
part of the processor by its weight, however many processes it has. In one group two hundred workers take 200 parts of 202,
and what a client waits there is the scheduler's time, not the daemon's. Needs root and the cpu controller of cgroup v2 or v1
(cgroups(7), cpu.weight and cpu.shares; cpu.idle, Linux 5.15).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mounts")
USUAL: Final = 100  # CPUWeight= of a service that sets none
MOST: Final = 10_000  # before the machine's other processes
_FILES: Final = {"cpu.weight": 1.0, "cpu.shares": 10.24}  # what a weight of 1 is in each version's file


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Groups in one that comes before the machine's other work; `home` is where this process was."""

    home: Path
    folder: Path
    weight: str

    def put(self, name: str, pid: int) -> None:
        """Moves a process, whose children are then begun there."""
        (self.folder / name / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def yields(self, name: str, *, idle: bool) -> None:
        """Whether a group runs only while no other wants the processor, and then for no moment longer."""
        (self.folder / name / "cpu.idle").write_text(str(int(idle)), encoding="ascii")

    def make(self, weights: Mapping[str, int]) -> None:
        self.folder.mkdir()
        self._weigh(self.folder, MOST)
        if self.weight == "cpu.weight":
            (self.folder / "cgroup.subtree_control").write_text("+cpu", encoding="ascii")
        for name, weight in weights.items():
            (self.folder / name).mkdir()
            self._weigh(self.folder / name, weight)

    def _weigh(self, group: Path, weight: int) -> None:
        (group / self.weight).write_text(str(int(weight * _FILES[self.weight])), encoding="ascii")

    def remove(self) -> None:
        """Gives every process back to where this one was."""
        for group in (*self.folder.glob("*/"), self.folder):
            for pid in (group / "cgroup.procs").read_text(encoding="ascii").split():
                (self.home / "cgroup.procs").write_text(pid, encoding="ascii")
            group.rmdir()


@contextmanager
def processor_groups(weights: Mapping[str, int]) -> Iterator[Groups | None]:
    """Makes groups of these weights by name, and removes them; gives None where the kernel or a container permits none."""
    groups = _found()
    if groups is None:
        yield None
        return
    try:
        groups.make(weights)
    except OSError:
        if groups.folder.exists():
            groups.remove()
        yield None
        return
    try:
        yield groups
    finally:
        groups.remove()


def _found() -> Groups | None:
    """Where this process stands in the hierarchy that has the cpu controller."""
    own = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()]
    for line in MOUNTS.read_text(encoding="utf-8").splitlines():
        _, mount, kind, options = line.split(" ")[:4]
        for _, controllers, path in own:
            home = Path(mount, path.removeprefix("/"))
            folder = Path(mount, f"opanel-bench-{os.getpid()}")
            if kind == "cgroup" and "cpu" in controllers.split(",") and "cpu" in options.split(","):
                return Groups(home=home, folder=folder, weight="cpu.shares")
            if kind == "cgroup2" and not controllers and _offers(Path(mount)):
                return Groups(home=home, folder=folder, weight="cpu.weight")
    return None


def _offers(mount: Path) -> bool:
    """Whether new groups below the mount point have the cpu controller of version 2."""
    enabled = mount / "cgroup.subtree_control"
    return enabled.exists() and "cpu" in enabled.read_text(encoding="ascii").split()
