"""Every transform gives what the catalog permits, whatever a machine tells, and the class that its name says."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opanel_agent import __version__
from opanel_agent.core.reporting import fingerprint
from opanel_agent.core.reporting.fingerprint import ARCHITECTURES, OS_IDS, Hints
from opanel_agent.system.storage.resources import load_catalog

FIELDS = load_catalog().fields("usage_statistics")
CRASH = load_catalog().fields("crash_reports")
GIB = 2**30


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("4.2.1", "4.2.1"),
        ("4.2", "4.2.0"),
        ("4.2.1-beta+build7", "4.2.1"),
        ("4.2.1 (customer ACME)", "4.2.1"),
        ("4.50.1", "unknown"),
        ("4.2.50", "unknown"),
        ("14.2.1", "unknown"),
        ("04.2.1", "unknown"),
        ("4", "unknown"),
        ("4.2.1.7", "unknown"),
        ("web1.example.com", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_a_release(text: str | None, version: str) -> None:
    assert fingerprint.release(text) == version


@pytest.mark.parametrize(
    ("text", "series"),
    [
        ("4.2.1", "4.2"),
        ("4.2", "4.2"),
        ("4.2.1-beta+build7", "4.2"),
        ("4.29.49", "4.29"),
        ("4.30.1", "unknown"),
        ("4.2.50", "unknown"),
        ("14.2.1", "unknown"),
        ("web1.example.com", "unknown"),
        (None, "unknown"),
    ],
)
def test_a_series_of_releases(text: str | None, series: str) -> None:
    assert fingerprint.series(text) == series


def test_our_own_version_can_be_told() -> None:
    """`unknown` is not permitted there: a version outside of the ranges would stop every report."""
    assert FIELDS["agent_version"].admits(fingerprint.series(__version__))
    assert CRASH["agent_version"].admits(fingerprint.release(__version__))


DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12"\nVERSION_ID="12"\nID=debian\nHOME_URL="https://x"\n'


@pytest.mark.parametrize(
    ("text", "os_id", "os_version"),
    [
        (DEBIAN, "debian", "12"),
        ("ID=ubuntu\nVERSION_ID='24.04'", "ubuntu", "24"),
        ('ID="almalinux"\nVERSION_ID="9.5"', "almalinux", "9"),
        ("ID=amzn\nVERSION_ID=2023", "amzn", "unknown"),
        ("ID=sles\nVERSION_ID=15.6", "sles", "15"),
        ("ID=pardus", "pardus", "unknown"),
        ("ID=ubuntu\nVERSION_ID=40.04", "ubuntu", "unknown"),
        ("ID=alpine\nVERSION_ID=3.20.3", "other", "unknown"),
        ("ID=acme-internal\nVERSION_ID=7", "other", "unknown"),
        ("VERSION_ID=12", "other", "unknown"),
        ("", "other", "unknown"),
        (None, "other", "unknown"),
    ],
)
def test_an_operating_system(text: str | None, os_id: str, os_version: str) -> None:
    os_release = fingerprint.os_release(text)
    assert (fingerprint.os_id(os_release), fingerprint.os_version(os_release)) == (os_id, os_version)


@pytest.mark.parametrize(
    ("release", "kernel"),
    [
        ("6.1.0-25-amd64", "6.1"),
        ("5.14.0-427.el9.x86_64", "5.14"),
        ("4.18.0-553.el8_10.x86_64", "4.18"),
        ("3.10.0-1160.el7", "unknown"),
        ("6.18", "6.18"),
        ("6.1-acme", "6.1"),
        ("6.30.1", "unknown"),
        ("2.6.32-042stab", "unknown"),
        ("12.1", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_kernel(release: str, kernel: str) -> None:
    assert fingerprint.kernel(release) == kernel


@pytest.mark.parametrize(
    ("machine", "name"), [("x86_64", "x86_64"), ("aarch64", "aarch64"), ("armv7l", "other"), ("", "other")]
)
def test_an_architecture(machine: str, name: str) -> None:
    assert fingerprint.architecture(machine) == name


@pytest.mark.parametrize(
    ("processors", "name"),
    [
        *[(1, "1-2"), (2, "1-2"), (3, "3-4"), (4, "3-4"), (5, "5-8"), (8, "5-8"), (9, "9-16"), (16, "9-16")],
        *[(17, "17+"), (4096, "17+"), (0, "unknown"), (None, "unknown")],
    ],
)
def test_a_class_of_processors(processors: int | None, name: str) -> None:
    assert fingerprint.cpu_class(processors) == name


@pytest.mark.parametrize(
    ("memory_bytes", "name"),
    [
        *[(GIB // 4, "1"), (GIB, "1"), (2 * GIB, "1"), (int(3.8 * GIB), "2"), (int(7.7 * GIB), "3"), (8 * GIB, "3")],
        *[(64 * GIB, "6"), (4096 * GIB, "6"), (1, "1"), (0, "unknown"), (None, "unknown")],
    ],
)
def test_a_class_of_memory(memory_bytes: int | None, name: str) -> None:
    assert fingerprint.memory_class(memory_bytes) == name


CPU = "processor\t: 0\nflags\t\t: fpu vme hypervisor lm\n"
BARE = "processor\t: 0\nflags\t\t: fpu vme lm\n"


@pytest.mark.parametrize(
    ("hints", "kind"),
    [
        ({"marked_container": True, "maker": "QEMU"}, "container"),
        ({"cgroup": "12:pids:/docker/abc"}, "container"),
        ({"cgroup": "0::/kubepods/burstable"}, "container"),
        ({"cgroup": "0::/lxc/web"}, "container"),
        ({"cgroup": "0::/system.slice/opanel-agent.service", "maker": "QEMU Standard PC", "cpu": CPU}, "kvm"),
        ({"maker": "Amazon EC2 t3.small", "cpu": CPU}, "cloud"),
        ({"maker": "Google Google Compute Engine", "cpu": CPU}, "cloud"),
        ({"maker": "Hetzner vServer", "cpu": CPU}, "cloud"),
        ({"maker": "OpenStack Foundation OpenStack Nova"}, "cloud"),
        ({"maker": "Microsoft Corporation Virtual Machine"}, "vm-other"),
        ({"maker": "Microsoft Corporation Surface", "cpu": BARE}, "none"),
        ({"maker": "VMware, Inc. VMware7,1"}, "vmware"),
        ({"maker": "innotek GmbH VirtualBox"}, "vm-other"),
        ({"maker": "Xen HVM domU"}, "vm-other"),
        ({"hypervisor": "xen"}, "vm-other"),
        ({"hypervisor": "kvm"}, "unknown"),
        ({"maker": "Dell Inc. PowerEdge R640", "cpu": CPU}, "vm-other"),
        ({"cpu": CPU}, "vm-other"),
        ({"maker": "Dell Inc. PowerEdge R640", "cpu": BARE}, "none"),
        ({"maker": "Dell Inc. PowerEdge R640"}, "unknown"),
        ({"cpu": BARE}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_a_kind_of_virtualization(hints: dict[str, Any], kind: str) -> None:
    assert fingerprint.virtualization(Hints(**{"marked_container": False, **hints})) == kind


def test_the_names_that_the_catalog_lists_are_those_that_are_recognized() -> None:
    """Without this a name could be declared that is never told, or told that is refused."""
    assert set(FIELDS["os_id"].values) == OS_IDS | {"other"}
    assert set(FIELDS["architecture"].values) == ARCHITECTURES | {"other"}


OR_NONE = st.none() | st.text(max_size=12)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_a_machine_tells_the_catalog_admits(data: st.DataObject) -> None:
    text = data.draw(st.one_of(st.text(max_size=20), st.from_regex(r"[0-9]{1,3}\.[0-9]{1,3}(\.[0-9]{1,3})?(-[a-z]*)?")))
    number = data.draw(st.none() | st.integers(0, 2**60))
    os_release = {"ID": data.draw(st.sampled_from(sorted(OS_IDS)) | st.text(max_size=9)), "VERSION_ID": text}
    hints = Hints(marked_container=data.draw(st.booleans()), cgroup=data.draw(OR_NONE), maker=data.draw(OR_NONE))
    values = {
        "panel_version": fingerprint.series(text),
        "os_id": fingerprint.os_id(os_release),
        "os_version": fingerprint.os_version(os_release),
        "kernel": fingerprint.kernel(text),
        "architecture": fingerprint.architecture(text),
        "virtualization": fingerprint.virtualization(hints),
        "cpu_class": fingerprint.cpu_class(number),
        "memory_class": fingerprint.memory_class(number),
    }
    assert [name for name, value in values.items() if not FIELDS[name].admits(value)] == []
