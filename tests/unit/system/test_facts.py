"""A fact is collected only when it is asked for: seen by the interpreter's own audit of every file that is opened.

The laid-out machine tells something everywhere, so that reading too much would be seen.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.simulated.fake_machine import FACTS, FakeMachine
from fixtures.unreadable import FAULTS, spoil
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.system.machine import Kernel, LocalMachine
from opanel_agent.system.storage.resources import load_catalog

AGENT = Path(__file__).resolve().parents[3] / "agent"
UNAME = os.uname_result(("Linux", "web1.customer.example", "6.1.0-25-amd64", "#1 SMP", "x86_64"))
PANEL = Path("/usr/share/opanel/VERSION")

MACHINE = {
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/hostname": "web1.customer.example\n",
    "etc/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian of a customer"\n',
    "usr/share/opanel/VERSION": "4.2.1-build.77\n",
    "sys/class/dmi/id/product_uuid": "8E3C1F7A-2B4D-4C6E-9A1B-5D7F9E0C2A4B\n",
    "sys/class/dmi/id/product_serial": "SERIAL\n",
    "sys/class/dmi/id/sys_vendor": "QEMU\n",
    "sys/class/dmi/id/product_name": "Standard PC\n",
    "proc/self/cgroup": "0::/system.slice/opanel-agent.service\n",
    "proc/cpuinfo": "flags\t\t: fpu hypervisor\n",
    "var/lib/cloud/data/instance-id": "i-0abc\n",
}
HINTS = {
    "proc/self/cgroup",
    "proc/cpuinfo",
    "sys/class/dmi/id/sys_vendor",
    "sys/class/dmi/id/product_name",
    "sys/hypervisor/type",
}

# What each fact may look at: files under the root, and calls to the kernel. Nothing else, ever.
LOOKS: dict[str, set[str]] = {
    "agent_version": set(),
    "panel_version": {"usr/share/opanel/VERSION"},
    "os_id": {"etc/os-release"},
    "os_version": {"etc/os-release"},
    "kernel": {"uname"},
    "architecture": {"uname"},
    "virtualization": HINTS,
    "cpu_class": {"processors"},
    "memory_class": {"memory_bytes"},
    "install_channel": set(),
}

_opened: list[str] | None = None


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened.append(str(arguments[0]))


sys.addaudithook(_audit)  # for the life of the interpreter; it only listens while `looks` is in use


@pytest.fixture
def looks() -> Iterator[list[str]]:
    global _opened  # noqa: PLW0603 - an audit hook cannot be taken away again
    _opened = []
    yield _opened
    _opened = None


def machine(root: Path, looks: list[str], *, code: str = "/opt/opanel-agent/lib/x.py") -> LocalMachine:
    for path, content in MACHINE.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    looks.clear()

    def processors() -> int | None:
        looks.append("processors")
        return 4

    def memory_bytes() -> int | None:
        looks.append("memory_bytes")
        return 8 * 2**30

    def uname() -> os.uname_result:
        looks.append("uname")
        return UNAME

    kernel = Kernel(uname=uname, processors=processors, memory_bytes=memory_bytes)
    return LocalMachine({}, root, kernel=kernel, code=Path(code))


WHOLE = {**FACTS, "panel_version": "4.2"}


def test_a_whole_machine(tmp_path: Path, looks: list[str]) -> None:
    assert machine(tmp_path, looks).facts(WHOLE, panel_version_file=PANEL) == WHOLE


def test_what_a_machine_tells_and_evaluate_adds_is_a_whole_report(tmp_path: Path, looks: list[str]) -> None:
    catalog = load_catalog()
    wanted = catalog.collected("usage_statistics")
    facts = machine(tmp_path, looks).facts(wanted, panel_version_file=PANEL)
    assert wanted - set(facts) == {"license_state", "erasure"}
    body = catalog.build("usage_statistics", {**facts, "license_state": "active", "erasure": "0" * 64})
    assert catalog.check("usage_statistics", body) == ()
    for planted in ("customer", "0123456789abcdef", "8E3C", "SERIAL", "build", "i-0abc", "Standard"):
        assert planted.encode() not in body


@pytest.mark.parametrize("name", sorted(LOOKS))
def test_only_what_is_asked_for_is_looked_at(tmp_path: Path, looks: list[str], name: str) -> None:
    found = machine(tmp_path, looks).facts({name}, panel_version_file=PANEL)
    assert found == {name: WHOLE[name]}
    assert {look.removeprefix(f"{tmp_path}/") for look in looks} == LOOKS[name]


def test_nothing_asked_is_nothing_looked_at(tmp_path: Path, looks: list[str]) -> None:
    local = machine(tmp_path, looks)
    assert local.facts((), panel_version_file=PANEL) == {}
    assert local.facts({"hostname", "license_state", "erasure"}, panel_version_file=PANEL) == {}
    assert looks == []


def test_the_audit_sees_what_is_opened(tmp_path: Path, looks: list[str]) -> None:
    (tmp_path / "seen").write_text("")
    assert str(tmp_path / "seen") in looks


# ---- what a machine does not tell


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    kernel = Kernel(
        processors=lambda: None, memory_bytes=lambda: None, uname=lambda: os.uname_result(("", "", "", "", ""))
    )
    local = LocalMachine({}, tmp_path, kernel=kernel, code=Path("/home/x.py"))
    facts = dict(local.facts(FACTS, panel_version_file=None))
    assert (facts.pop("agent_version"), facts.pop("install_channel")) == ("0.1", "user")
    assert (facts.pop("architecture"), facts.pop("os_id")) == ("other", "other")
    assert set(facts.values()) == {"unknown"}
    fields = load_catalog().fields("usage_statistics")
    assert [name for name, value in facts.items() if not fields[name].admits(value)] == []


@pytest.mark.parametrize(
    "error", [IndexError, KeyError, ValueError, OSError, PermissionError, RuntimeError, MemoryError]
)
def test_whatever_a_collector_raises_its_value_is_unknown_and_a_line_says_so(
    tmp_path: Path, error: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    """Psutil raises IndexError for the /proc/meminfo of some container hosts; other kernels, other errors."""

    def fails() -> int | None:
        raise error

    def fails_to_name() -> os.uname_result:
        raise error

    kernel = Kernel(processors=fails, memory_bytes=fails, uname=fails_to_name)
    local = LocalMachine({}, tmp_path, kernel=kernel, code=Path("/home/x.py"))
    facts = local.facts(FACTS, panel_version_file=None)
    wrong = {"kernel", "architecture", "cpu_class", "memory_class"}
    assert {name: facts[name] for name in wrong} == {**dict.fromkeys(wrong, "unknown"), "architecture": "other"}
    assert facts["agent_version"] == "0.1"
    fields = load_catalog().fields("usage_statistics")
    assert [name for name, value in facts.items() if not fields[name].admits(value)] == []
    lines = capsys.readouterr().err.splitlines()
    assert {line.partition("collector=")[2].split(" ")[0] for line in lines} == wrong
    assert all(f"kind={error.__name__}" in line for line in lines)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", [*MACHINE, "sys/hypervisor/type", "usr/lib/os-release"])
def test_no_file_that_fails_raises_or_makes_a_value_that_is_not_admitted(
    tmp_path: Path, looks: list[str], path: str, fault: str
) -> None:
    local = machine(tmp_path, looks)
    spoil(tmp_path / path, fault)
    facts = local.facts(FACTS, panel_version_file=PANEL)
    fields = load_catalog().fields("usage_statistics")
    assert set(facts) == set(FACTS)
    assert [name for name, value in facts.items() if not fields[name].admits(value)] == []
    assert (facts["kernel"], facts["cpu_class"]) == ("6.1", "3-4")


def test_folders_that_may_not_be_entered_or_lead_in_a_circle_are_unknown(tmp_path: Path) -> None:
    circle = tmp_path / "proc"
    circle.symlink_to("proc")
    (tmp_path / "etc").symlink_to("etc")
    (tmp_path / "sys").symlink_to("sys")
    local = LocalMachine({}, tmp_path, code=Path("/home/x.py"))
    facts = local.facts({"virtualization", "os_id", "panel_version"}, panel_version_file=Path("/etc/panel"))
    assert facts == {"virtualization": "unknown", "os_id": "other", "panel_version": "unknown"}
    assert local.components().found == {}


MEMINFO = """
import sys
from pathlib import Path
from opanel_agent.system.machine import LocalMachine
print(dict(LocalMachine({}).facts({"memory_class", "kernel"}, panel_version_file=None))["memory_class"])
"""


@pytest.mark.root
@pytest.mark.parametrize("content", ["MemTotal: 1024 kB\n" + "\0" * 600, "MemTotal:\n", "x\n", ""])
def test_an_odd_meminfo_is_an_unknown_memory_class(tmp_path: Path, content: str) -> None:
    """As some container hosts serve it: bound over the real one, in a mount namespace."""
    unshare, odd = shutil.which("unshare"), tmp_path / "meminfo"
    if unshare is None:
        pytest.skip("unshare is not installed")
    odd.write_text(content)
    finished = subprocess.run(
        [
            *(unshare, "-m", "sh", "-c", 'mount --bind "$1" /proc/meminfo && exec "$2" -c "$3"', "sh"),
            *(str(odd), sys.executable, MEMINFO),
        ],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (finished.stdout, finished.returncode) == ("unknown\n", 0), finished.stderr
    assert "collector=memory_class" in finished.stderr


@pytest.mark.parametrize("mark", ["run/systemd/container", ".dockerenv", "run/.containerenv", "proc/vz"])
def test_a_container_is_told_by_its_mark(tmp_path: Path, looks: list[str], mark: str) -> None:
    local = machine(tmp_path, looks)
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).touch()
    assert local.facts({"virtualization"}, panel_version_file=None) == {"virtualization": "container"}


def test_a_host_of_openvz_is_no_container(tmp_path: Path, looks: list[str]) -> None:
    local = machine(tmp_path, looks)
    (tmp_path / "proc/vz").touch()
    (tmp_path / "proc/bc").touch()
    assert local.facts({"virtualization"}, panel_version_file=None) == {"virtualization": "kvm"}


def test_os_release_may_lie_under_usr(tmp_path: Path, looks: list[str]) -> None:
    local = machine(tmp_path, looks)
    (tmp_path / "usr/lib").mkdir()
    (tmp_path / "etc/os-release").rename(tmp_path / "usr/lib/os-release")
    assert local.facts({"os_id"}, panel_version_file=None) == {"os_id": "debian"}


def test_a_fifo_for_the_panels_version_does_not_make_us_wait(tmp_path: Path, looks: list[str]) -> None:
    local = machine(tmp_path, looks)
    os.mkfifo(tmp_path / "fifo")
    assert local.facts({"panel_version"}, panel_version_file=Path("/fifo")) == {"panel_version": "unknown"}


@pytest.mark.parametrize(
    ("code", "channel"),
    [
        ("/opt/opanel-agent/lib/python3/opanel_agent/x.py", "installer"),
        ("/usr/lib/python3/dist-packages/opanel_agent/x.py", "package"),
        ("/home/ali/opanel_agent/x.py", "user"),
        ("/opt/opanel-agent-of-mine/x.py", "user"),
    ],
)
def test_the_install_channel_follows_from_where_the_code_lies(
    tmp_path: Path, looks: list[str], code: str, channel: str
) -> None:
    local = machine(tmp_path, looks, code=code)
    assert local.facts({"install_channel"}, panel_version_file=None) == {"install_channel": channel}


def test_a_package_with_a_python_of_its_own_lies_where_the_installer_does_and_says_so(
    tmp_path: Path, looks: list[str]
) -> None:
    local = machine(tmp_path, looks, code="/opt/opanel-agent/env/lib/python3.13/site-packages/opanel_agent/x.py")
    (tmp_path / "opt/opanel-agent").mkdir(parents=True)
    (tmp_path / "opt/opanel-agent/package").write_text("deb\n")
    assert local.facts({"install_channel"}, panel_version_file=None) == {"install_channel": "package"}


# ---- this machine


def test_this_machine_tells_every_fact_as_the_catalog_permits() -> None:
    facts = LocalMachine(os.environ).facts(FACTS, panel_version_file=None)
    fields = load_catalog().fields("usage_statistics")
    assert set(facts) == set(FACTS)
    assert [name for name, value in facts.items() if not fields[name].admits(value)] == []
    assert "unknown" not in (facts["cpu_class"], facts["memory_class"])


@pytest.mark.parametrize(
    ("asked", "loaded"), [("os_id", False), ("kernel", False), ("cpu_class", True), ("memory_class", True)]
)
def test_psutil_is_loaded_only_for_the_facts_that_need_it(asked: str, loaded: bool) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(AGENT)!r})\n"
        "from opanel_agent.system.machine import LocalMachine\n"
        f"LocalMachine({{}}).facts([{asked!r}], panel_version_file=None)\n"
        "print('psutil' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True, timeout=60, text=True)
    assert ran.stdout.strip() == str(loaded)


def test_the_fake_tells_what_it_is_asked_and_remembers_it() -> None:
    fake = FakeMachine()
    assert fake.facts({"os_id", "hostname"}, panel_version_file=None) == {"os_id": "debian"}
    assert fake.asked == {"os_id", "hostname"}


def test_the_fakes_facts_are_admitted() -> None:
    fields = load_catalog().fields("usage_statistics")
    assert [name for name, value in FACTS.items() if not fields[name].admits(value)] == []
    assert dumps(dict(FACTS))
