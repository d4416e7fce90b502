"""Whether what is installed is what was published: signed by the vendor's release key, compared file by file."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from boot.guest import TOOLS
from boot.scenario import Scenario

PLACES = "/opt/opanel-agent /usr/share/opanel-agent"  # of the manifest: the first one that there is
GATE = "core/consent/gate.py"
ROOT = "data/trust/root.jws"


def is_verified(scene: Scenario, build: str, *, ask_doctor: bool = False, lacking: tuple[str, ...] = ()) -> None:
    """By `verify-install`, which tells a changed line of the gate; by `doctor` too where it may: it asks the mirrors.

    `lacking` are files of the release that a checkout does not have.
    """
    checks, guest = scene.checks, scene.guest
    with manifest(scene, build):
        found = _compared(scene)
        wrong = _wrong(found, lacking)
        checks.same(f"each of {found['files']} files of code is as it was published ({build})", [], wrong)
        if ask_doctor:
            checks.same("doctor says so, too", ["ok"], _of_doctor(scene))
        gate = guest.sh(
            f"find /opt/opanel-agent /usr/lib/opanel-agent -path '*/env*/opanel_agent/{GATE}' 2>/dev/null || true"
        )
        guest.sh(f"cp -p {gate} /root/gate; echo '#' >>{gate}")
        wrong = _wrong(_compared(scene), lacking)
        checks.same("a line that was added to the gate is told", [gate], wrong)
        if ask_doctor:
            checks.same("by doctor, too", ["failed"], _of_doctor(scene))
        guest.sh(f"cp -p /root/gate {gate}; rm /root/gate")
        wrong = _wrong(_compared(scene), lacking)
        checks.same("put back, it is as published", [], wrong)


def is_proven_silent(scene: Scenario, build: str) -> None:
    """The code that was proven is the code that was published."""
    with manifest(scene, build):
        ran = scene.guest.run("opanel-agent", "prove-silence", "--days", "1", "--json", timeout_s=900)
    scene.checks.succeeds("prove-silence proves it here, too", ran)
    published = ran.json["published"] if ran.status == 0 else None
    scene.checks.same("of the code that was published", {"same": True, "code": None}, published)


@contextmanager
def manifest(scene: Scenario, build: str) -> Iterator[None]:
    """Signed by the authority that this server trusts, and where a package of that authority's would have laid it."""
    name, draft = f"release-{build}.jws", scene.guest.path(f"{TOOLS}/draft-{build}.json")
    if not (scene.outside.folder / name).exists():
        scene.outside.type("release", "sign", str(draft), "--dir", "authority", "-o", name)
    place = scene.guest.sh(f"ls -d {PLACES} 2>/dev/null | head -n 1") + "/release.jws"
    scene.put(place, (scene.outside.folder / name).read_text("ascii"))
    try:
        yield
    finally:
        scene.guest.must("rm", place)


def _compared(scene: Scenario) -> Any:
    return scene.guest.agent("verify-install", "--json").json


def _wrong(found: Any, lacking: tuple[str, ...]) -> list[str]:
    return [each["path"] for each in found["differences"] if not each["path"].endswith(lacking)]


def _of_doctor(scene: Scenario) -> list[str]:
    found = scene.guest.agent("doctor", "--json").json["checks"]
    return [each["status"] for each in found if each["check"] == "release"]
