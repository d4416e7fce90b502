"""packaging/sbom.py: every pinned package with its digests and license, in the form of CycloneDX 1.6, the same each time."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "packaging/sbom.py"
LICENSES: dict[str, Any] = tomllib.loads((ROOT / "packaging/licenses.toml").read_text("utf-8"))
LOCK = (ROOT / "packaging/agent.lock").read_text("utf-8")
DATE = 1_795_478_400

pytestmark = pytest.mark.once


def written(script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(script), "--date", str(DATE)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    ran = written()
    assert ran.returncode == 0, ran.stderr
    made: dict[str, Any] = json.loads(ran.stdout)
    return made


def test_the_same_lock_gives_the_same_bytes() -> None:
    assert written().stdout == written().stdout


def test_it_is_of_the_form_of_cyclonedx(bill: dict[str, Any]) -> None:
    """What bom-1.6.schema.json requires of each member that is used here."""
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert uuid.UUID(bill["serialNumber"].removeprefix("urn:uuid:")).version == 4
    assert bill["metadata"]["timestamp"] == "2026-11-24T00:00:00Z"
    every = [bill["metadata"]["component"], *bill["components"]]
    every += [inner for each in bill["components"] for inner in each.get("components", [])]
    refs = [each["bom-ref"] for each in every]
    assert len(set(refs)) == len(refs)
    for each in every:
        assert each["type"] in {"application", "library"}
        assert each["name"]
        assert [*each["licenses"][0]] == ["expression"]
        assert len(each["licenses"]) == 1
        assert re.fullmatch(r"pkg:pypi/[a-z0-9-]+@\S+", each.get("purl", "pkg:pypi/x@1"))
    for each in bill["components"]:
        (where,) = each["externalReferences"]
        assert where["type"] == "distribution"
        assert all(
            file["alg"] == "SHA-256" and re.fullmatch("[0-9a-f]{64}", file["content"]) for file in where["hashes"]
        )
    depending = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    assert set(depending) <= set(refs)
    assert {ref for on in depending.values() for ref in on} == {each["bom-ref"] for each in bill["components"]}


def test_it_names_every_pin_and_every_digest_of_the_lock(bill: dict[str, Any]) -> None:
    pins = set(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", LOCK, re.MULTILINE))
    assert {(each["name"], each["version"]) for each in bill["components"]} == pins
    digests = {file["content"] for each in bill["components"] for file in each["externalReferences"][0]["hashes"]}
    assert digests == set(re.findall(r"--hash=sha256:([0-9a-f]{64})", LOCK))


@pytest.mark.parametrize("name", sorted(LICENSES))
def test_a_license_is_what_the_package_says_itself(name: str) -> None:
    declared = importlib.metadata.metadata(name)
    named = [declared[field] for field in ("License-Expression", "License") if field in declared]
    expression = next(iter(named), None)
    classifiers = [each for each in declared.get_all("Classifier") or [] if each.startswith("License ::")]
    known = {"License :: OSI Approved :: MIT License": "MIT"}
    assert LICENSES[name]["license"] == (expression or " OR ".join(known[each] for each in classifiers))


def test_the_openssl_of_cryptography_is_the_one_that_it_brings() -> None:
    pin = re.search(r"^cryptography==([^ ;]+)", LOCK, re.MULTILINE)
    assert pin is not None
    if importlib.metadata.version("cryptography") != pin[1]:
        pytest.skip("another cryptography than the pinned one is installed")
    from cryptography.hazmat.backends.openssl.backend import backend

    (openssl,) = LICENSES["cryptography"]["carries"]
    assert backend.openssl_version_text().split()[1] == openssl["version"]


def test_a_package_without_a_license_is_refused(tmp_path: Path) -> None:
    here = tmp_path / "packaging"
    here.mkdir()
    for name in ("sbom.py", "agent.lock", "licenses.toml"):
        (here / name).write_bytes((ROOT / "packaging" / name).read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (here / "licenses.toml").write_text('[h11]\nlicense = "MIT"\n', encoding="utf-8")
    refused = written(here / "sbom.py")
    assert (refused.returncode, "do not name the same packages" in refused.stderr) == (1, True)
