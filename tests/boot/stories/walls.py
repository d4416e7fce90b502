"""The walls, tried from inside by a program in each unit's place; who may not come in; what systemd itself refuses."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from boot.guest import TOOLS, Guest
from boot.probe import CUSTOMER
from boot.scenario import REFUSED, Scenario

DROP_IN = f"""[Service]
Type=oneshot
Restart=no
WatchdogSec=0
RuntimeMaxSec=infinity
ExecStart=
ExecStart=/opt/opanel-agent/env/bin/python -I {TOOLS}/probe.py
StandardInput=null
StandardOutput=journal
LogLevelMax=debug
"""
# What root lays there with umask 027 is the group's to read, by the folder's setgid: a license.jws, for one.
ROOTS = "/etc/opanel-agent/for-the-agent"
DECIDED_BY = (
    f"/etc/hostname /etc/machine-id /etc/opanel-agent/agent.toml {ROOTS} /proc/sys/kernel/random/boot_id"
    " /sys/class/dmi/id/product_name (/sys/kernel/mm/transparent_hugepage/enabled )?/var/lib/opanel-agent/activation.key"
)
PLANTED = (
    *("/var/www/customer1.example/index.html", "/srv/customer1.example/site", "/var/log/customer1.example.log"),
    *(
        "/etc/apache2/sites-enabled/customer1.example.conf",
        "/etc/ssh/ssh_host_ed25519_key.pub",
        "/var/mail/customer1.example",
    ),
    *(
        "/etc/letsencrypt/live/customer1.example/cert.pem",
        "/var/lib/mysql/customer1.example",
        "/opt/customer1.example/run",
    ),
)
PRODUCT_UUID = "5a1f0c9e-2b7d-4e63-9c84-d1e6a7b3f052"


def stand(scene: Scenario) -> None:
    guest = scene.guest
    guest.sh(f"umask 027; echo {{}} >{ROOTS}")
    guest.must("systemctl", "stop", "opanel-agent.service")
    with _hardware(guest), _customers(guest):
        _of_the_agent(scene)
        for name in ("fetch", "courier"):
            _of_what_has_network(scene, name)
    with _hardware(guest, dmi=False):
        credential = _could(scene, "opanel-agent.service")["credential"]
        scene.checks.same("where there is no DMI, the agent is told so", "absent", credential)
    guest.must("rm", ROOTS)
    # Not start: the probe's last connection may have begun one, with the probe in the agent's place.
    guest.must("systemctl", "restart", "opanel-agent.service")
    _strangers(scene)


def _of_the_agent(scene: Scenario) -> None:
    checks, could = scene.checks, _could(scene, "opanel-agent.service")
    checks.same("the agent opens no socket but a local one", "", could["families"])
    checks.same("the agent reaches no network", "unreachable lo", f"{could['network']} {could['interfaces']}")
    checks.like("the agent reads what it decides by", DECIDED_BY, could["reads"])
    checks.same(
        "the agent writes its own folders and no other", "/run/opanel-agent /tmp /var/lib/opanel-agent", could["writes"]
    )
    checks.same(
        "the agent finds no service but its own socket, which systemd holds, and the courier",
        "/run/opanel-agent/agent.sock /run/opanel-courier/courier.sock",
        could["connects"],
    )
    checks.same("the agent is told the DMI product UUID, which root alone may read", PRODUCT_UUID, could["credential"])
    checks.same("the agent makes no namespace and sets no priority", "", could["calls"])


def _of_what_has_network(scene: Scenario, name: str) -> None:
    checks, could = scene.checks, _could(scene, f"opanel-agent-{name}@probe.service")
    checks.same(f"{name} opens internet sockets and no netlink", "inet inet6", could["families"])
    checks.same(f"{name} reaches the network", "reached", could["network"])
    checks.same(
        f"{name} reads the settings; no key, no license, no id of the machine or of its boot, no DMI",
        "/etc/opanel-agent/agent.toml",
        could["reads"],
    )
    checks.same(
        f"{name} sees no customer: no site, account, host key, mail or log, in all that it sees", "", could["customers"]
    )
    checks.same(f"{name} writes nothing that stays", "/tmp", could["writes"])  # noqa: S108 - its own
    checks.same(f"{name} finds no socket of the agent's, nor of the system's", "", could["connects"])
    checks.same(f"{name} is told no hardware", "none", could["credential"])
    checks.same(f"{name} makes no namespace and sets no priority", "", could["calls"])


@contextmanager
def _customers(guest: Guest) -> Iterator[None]:
    """What a hosting server has of its customers, and everyone on it may read."""
    accounts = guest.root / "etc/passwd"
    kept = accounts.read_bytes()
    made = []
    for path in (guest.root / planted.lstrip("/") for planted in PLANTED):
        missing = [each for each in (path, *path.parents) if not each.exists()]
        made.append(missing[-1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CUSTOMER)
    with accounts.open("ab") as file:
        file.write(f"c1:x:4321:4321:{CUSTOMER}:/nonexistent:/bin/false\n".encode())
    try:
        yield
    finally:
        accounts.write_bytes(kept)
        for path in made:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _hardware(guest: Guest, *, dmi: bool = True) -> Iterator[None]:
    """Laid over what the machine below has, which may be either: DMI as the kernel shows it, or none."""
    guest.sh(
        "mkdir /run/sys-class && cd /sys/class && for class in *; do [ $class = dmi ] || { mkdir /run/sys-class/$class"
        " && find $class -type l -exec cp -P {} /run/sys-class/$class ';'; }; done"
    )
    if dmi:
        guest.sh(
            "mkdir -p /run/sys-class/dmi/id && cd /run/sys-class/dmi/id && echo Model >product_name"
            f" && umask 377 && echo {PRODUCT_UUID} >product_uuid"
        )
    guest.must("mount", "--bind", "/run/sys-class", "/sys/class")
    _copy_hardware(guest)
    try:
        yield
    finally:
        guest.must("umount", "/sys/class")
        guest.must("rm", "-r", "/run/sys-class")
        _copy_hardware(guest)


def _copy_hardware(guest: Guest) -> None:
    """As tmpfiles.d does at a boot."""
    guest.must("rm", "-f", "/run/opanel-machine/product_uuid")
    guest.must("systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/opanel-agent.conf")


def _could(scene: Scenario, unit: str) -> dict[str, str]:
    """What the unit, as it is, lets a program do that stands in its program's place."""
    guest, directory = scene.guest, f"/run/systemd/system/{unit}.d"
    guest.must("mkdir", "-p", directory)
    scene.put(f"{directory}/probe.conf", DROP_IN)
    guest.must("systemctl", "daemon-reload")
    guest.run("systemctl", "restart", unit)  # the probe's own connection to agent.sock may have started it
    printed = guest.journal("-u", unit, "_TRANSPORT=stdout")
    guest.must("rm", "-r", directory)
    guest.must("systemctl", "daemon-reload")
    return {question: could.strip() for question, _, could in (line.partition(":") for line in printed.splitlines())}


def _strangers(scene: Scenario) -> None:
    checks = scene.checks
    agent, courier = "/run/opanel-agent/agent.sock", "/run/opanel-courier/courier.sock"
    for user in ("nobody", "opanel-courier"):
        checks.same(
            f"{user} does not come in at the courier's door",
            "PermissionError",
            scene.ping_at(courier, user, "nogroup"),
        )
        checks.same(f"{user} does not come in at the agent's", "PermissionError", scene.ping_at(agent, user, "nogroup"))
    checks.same("a member of the group opanel does", "replied", scene.ping_at(agent, "nobody", "opanel"))
    checks.same("and not at the courier's", "PermissionError", scene.ping_at(courier, "nobody", "opanel"))


def signals_hold(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    for how in ("touch", "ln -s /nowhere"):
        with scene.heard() as lines:
            guest.sh(f"{how} /etc/opanel-agent/offline")
            for program in ("fetch", "courier"):
                _refused(scene, f"offline ({how})", program)
            guest.sh("rm /etc/opanel-agent/offline")
        checks.same(f"offline ({how}): nothing was asked", [], lines)
        for file in ("/etc/do-not-track", "/etc/opanel-agent/do-not-track"):
            guest.sh(f"{how} {file}")
            _refused(scene, f"{file} ({how})", "courier")
            checks.same(f"{file} ({how}): fetch goes on", "replied", scene.ping("fetch"))
            guest.sh(f"rm {file}")
    guest.must("systemctl", "set-environment", "DO_NOT_TRACK=1")
    _refused(scene, "DO_NOT_TRACK in the manager's environment", "courier")
    checks.same("DO_NOT_TRACK in the manager's environment: fetch goes on", "replied", scene.ping("fetch"))
    guest.must("systemctl", "unset-environment", "DO_NOT_TRACK")
    checks.same("lifted, the courier starts again", "replied", scene.ping("courier"))
    checks.same("the doors were never shut", ["active", "active"], _doors(guest))


def silence_is_proven(scene: Scenario) -> None:
    """The command that anyone can run, here on the server itself, whose own link it leaves alone."""
    before = scene.link.count()
    ran = scene.guest.agent("prove-silence", "--days", "1")
    scene.checks.succeeds("prove-silence proves it here, too", ran)
    scene.checks.same("and sends nothing itself", 0, scene.link.count().since(before).packets)


def _refused(scene: Scenario, where: str, program: str) -> None:
    became = scene.ping(program)
    scene.checks.true(f"{where}: systemd refuses {program}", found=became in REFUSED, reason=became)


def _doors(guest: Guest) -> list[str]:
    return [guest.unit(f"opanel-agent-{program}.socket", "ActiveState") for program in ("fetch", "courier")]
