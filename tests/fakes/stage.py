"""Servers to install on: this machine's own system under an overlay, in namespaces of their own, without a network.

A `Stage` is the namespaces; each `Server` in it is an overlay whose upper folder holds exactly what was changed, whole file
system over. systemd is the outside and is played: by small programs of the same names, first on the PATH, that write down
how they were called and do what the installer needs of them. Everything else (Python, pip, users, files) is real. Needs
root, and a /usr/bin/python3 as the installer wants it. What a booted systemd makes of it is shown by tests/boot/run.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
CLONE: Final = (
    "install.sh",
    "pyproject.toml",
    "setup.cfg",
    "README.md",
    "LICENSE",
    "config",
    "systemd",
    "packaging",
    "agent",
)
READY: Final = """
cd "$1" && mount -t tmpfs -o mode=755 tmpfs "$1" && cd "$1" && mkdir upper work merged &&
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" merged && umount merged &&
echo ready && exec cat
"""
SEEN_BY_TESTS: Final = ("played", "tmp")  # and what any program leaves
PLAYED: Final = {
    "systemctl": r"""
echo "$*" >>/played/calls
case "$1 $*" in *--version*) echo "systemd $(cat /played/version 2>/dev/null || echo 252) (played)"; exit ;; esac
[ "$1" != -q ] || shift
word=$1
shift
[ "$(cat /played/dies 2>/dev/null)" != "$word" ] || { rm /played/dies; kill -KILL $PPID; exit 1; }
for unit in "$@"; do
    case $unit in -*) continue ;; esac
    case $word in
    enable)
        mkdir -p /etc/systemd/system/played.wants
        ln -sf "/etc/systemd/system/$unit" "/etc/systemd/system/played.wants/$unit"
        ;;
    disable)
        rm -f "/etc/systemd/system/played.wants/$unit"
        rmdir /etc/systemd/system/played.wants 2>/dev/null
        ;;
    is-active) [ -e "/played/active/$unit" ] || exit 3 ;;
    start | restart)
        [ ! -e /played/broken ] || [ "$(readlink /opt/opanel-agent/env)" != "$(cat /played/broken)" ] || exit 1
        touch "/played/active/$unit"
        ;;
    try-restart)
        [ ! -e "/played/active/$unit" ] || [ ! -e /played/broken ] || { rm "/played/active/$unit"; exit 1; }
        answer=/run/opanel-agent/answer.json
        [ "$unit" = opanel-agent.service ] && [ -e "/played/active/$unit" ] && [ -e $answer ] || continue
        # Active, it answers or dies of its first work.
        if [ "$(readlink /opt/opanel-agent/env)" = "$(cat /played/dying 2>/dev/null)" ]; then
            rm "/played/active/$unit"
        else
            cp $answer $answer.new && mv $answer.new $answer
        fi
        ;;
    stop) rm -f "/played/active/$unit" ;;
    esac
done
exit 0
""",
    "systemd-sysusers": r"""
echo "sysusers" >>/played/calls
[ "$(cat /played/dies 2>/dev/null)" != sysusers ] || { rm /played/dies; kill -KILL $PPID; exit 1; }
while read -r kind name rest; do
    case $kind in
    u) getent passwd "$name" >/dev/null || useradd --system --user-group --no-create-home "$name" ;;
    g) getent group "$name" >/dev/null || groupadd --system "$name" ;;
    esac
done <"$1"
""",
    "systemd-tmpfiles": r"""
echo "tmpfiles" >>/played/calls
while read -r kind path mode user group age; do
    [ "$kind" = d ] || continue
    mkdir -p "$path"
    chown "$user:$group" "$path"
    chmod "$mode" "$path"
done <"$2"
""",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    status: int
    out: str
    err: str


class Server:
    """`upper` is what was changed below `merged` since the servers that it is like, all as seen inside of the stage."""

    def __init__(self, stage: "Stage", number: int, below: str) -> None:
        self.stage = stage
        place = f"{stage.place}/{number}"
        self.upper = f"{place}/upper"
        self.merged = f"{place}/merged"
        self.layers = f"{self.upper}:{below}"
        options = f"lowerdir={below},upperdir={self.upper},workdir={place}/work"
        stage.inside("mkdir", "-p", f"{place}/work", self.upper, self.merged)
        stage.inside("mount", "-t", "overlay", "overlay", "-o", options, self.merged)
        stage.inside("mount", "--rbind", "/dev", f"{self.merged}/dev")
        stage.inside("mount", "-t", "proc", "proc", f"{self.merged}/proc")

    def type(self, *command: str, **environment: str) -> Ran:
        """A command on the server, as root, with no terminal."""
        told = {"PATH": "/played/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root", **environment}
        ran = subprocess.run(
            [*self.stage.enter, "chroot", self.merged, *command],
            env=told,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            timeout=300,
        )
        return Ran(status=ran.returncode, out=ran.stdout, err=ran.stderr)

    def install(self, *options: str, source: str = "/source", **environment: str) -> Ran:
        return self.type(f"{source}/install.sh", *options, **environment)

    def sh(self, script: str) -> str:
        """What a script that must succeed prints."""
        ran = self.type("sh", "-ec", script)
        assert ran.status == 0, ran.err
        return ran.out

    def write(self, path: str, text: str) -> None:
        self.stage.inside(
            "sh", "-c", f'mkdir -p "$(dirname "{self.merged}{path}")"; cat >"{self.merged}{path}"', stdin=text
        )

    def changed(self) -> list[str]:
        """Everything below `upper`, with its times, but for what only tests see and what any program leaves in /tmp."""
        told = ["-mindepth", "1", "-printf", "/%P %y %m %U:%G %s %T@ %l\\n"]
        left = [word for name in SEEN_BY_TESTS for word in ("-path", f"{self.upper}/{name}", "-prune", "-o")]
        return sorted(self.stage.inside("find", self.upper, *left, *told).splitlines())

    def beyond(self) -> list[str]:
        """What is other than before anything was installed: new, gone, or changed in kind, mode, owner or content."""
        script = """
import os, stat, sys
merged, layers, *leave = sys.argv[1:]
paths = set()
for layer in layers.split(":")[:-1]:
    for folder, folders, files in os.walk(layer):
        if folder == layer:
            folders[:] = [name for name in folders if name not in leave]
        paths.update(os.path.relpath(os.path.join(folder, name), layer) for name in [*folders, *files])
for path in sorted(paths):
    new, old = os.path.join(merged, path), os.path.join("/", path)
    a, b = (os.lstat(each) if os.path.lexists(each) else None for each in (new, old))
    same = (a and (a.st_mode, a.st_uid, a.st_gid)) == (b and (b.st_mode, b.st_uid, b.st_gid))
    if not same or (a and stat.S_ISREG(a.st_mode) and open(new, "rb").read() != open(old, "rb").read()):
        print("/" + path)
"""  # what the stage itself laid is left out, and so is the manager's folder
        leave = (*SEEN_BY_TESTS, "source", "wheels", "newer")
        told = self.stage.inside("/usr/bin/python3", "-I", "-c", script, self.merged, self.layers, *leave)
        return sorted(path for path in told.splitlines() if not path.startswith("/run/systemd"))

    def calls(self) -> list[str]:
        return self.sh("cat /played/calls 2>/dev/null || true; rm -f /played/calls").splitlines()


class Stage:
    def __init__(self, process: "subprocess.Popen[str]", place: str) -> None:
        self.place = place
        self.enter = ("nsenter", "-t", str(process.pid), "-m", "-n", "--")
        self._count = 0

    def inside(self, *command: str, stdin: str = "") -> str:
        ran = subprocess.run([*self.enter, *command], input=stdin, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{command}: {ran.stderr}"
        return ran.stdout

    def server(self, like: Server | None = None) -> Server:
        """A new one, or one in the state that another is in now (which is not to be changed after that)."""
        self._count += 1
        made = Server(self, self._count, like.layers if like else "/")
        if like is None:
            self._furnish(made)
        return made

    def _furnish(self, server: Server) -> None:
        for name, text in PLAYED.items():
            server.write(f"/played/bin/{name}", f"#!/bin/sh\n{text}")
        server.sh("chmod 755 /played/bin/*; mkdir -p /played/active /run/systemd/system /source")
        for name in CLONE:
            self.inside("cp", "-R", str(ROOT / name), f"{server.merged}/source/")


@contextmanager
def staged() -> Iterator[Stage]:
    _need()
    with tempfile.TemporaryDirectory(prefix="opanel-stage.") as place:
        process = subprocess.Popen(
            ["/usr/bin/unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", READY, "sh", place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                pytest.skip("no namespaces, no mounts or no overlay over / here")
            yield Stage(process, place)
        finally:
            process.communicate()


def _need() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for tool in ("unshare", "nsenter", "useradd"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not here")
    told = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
    if subprocess.run(["/usr/bin/python3", "-I", "-c", told], capture_output=True, check=False).returncode != 0:
        pytest.skip("no /usr/bin/python3 >= 3.11 with venv (apt install python3-venv)")
