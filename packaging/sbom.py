#!/usr/bin/env python3
"""Writes the bill of materials of what install.sh's wheels bring: CycloneDX 1.6, JSON.

    packaging/sbom.py --date SECONDS

What is bundled and by which digests, agent.lock says; licenses.toml says under which license, and what a wheel carries of
others. A pinned package that licenses.toml does not name is an error, and so is a row that nothing pins. The same lock gives
the same bytes: nothing is fetched, and the serial number is made from the content.
"""

import argparse
import hashlib
import json
import re
import sys
import tomllib
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
PIN: Final = re.compile(
    r"^([a-z0-9-]+)==([^ ;\\]+)(?: ; [^\\\n]+)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


class IncompleteError(Exception):
    """The lock and the licenses do not name the same packages."""


def pinned(lock: str) -> list[tuple[str, str, list[str]]]:
    """Every package of a lock: name, version, and the SHA-256 of each of its files."""
    return [(name, version, re.findall("[0-9a-f]{64}", hashes)) for name, version, hashes in PIN.findall(lock)]


def bill(lock: str, licenses: Mapping[str, Any], *, version: str, date: int) -> dict[str, Any]:
    """The bill of materials. Raises IncompleteError."""
    packages = pinned(lock)
    names = {name for name, _, _ in packages}
    if names != licenses.keys():
        odd = ", ".join(sorted(names ^ licenses.keys()))
        message = f"agent.lock and licenses.toml do not name the same packages: {odd}"
        raise IncompleteError(message)
    components = [component(name, of, digests, licenses[name]) for name, of, digests in packages]
    whole = hashlib.sha256(json.dumps([components, version, date], sort_keys=True).encode()).digest()
    agent = f"pkg:pypi/opanel-agent@{version}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=whole[:16], version=4)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(date, tz=UTC).isoformat().replace("+00:00", "Z"),
            "component": {
                "type": "application",
                "bom-ref": agent,
                "name": "opanel-agent",
                "version": version,
                "purl": agent,
                "licenses": [{"expression": "Apache-2.0"}],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": agent, "dependsOn": sorted(each["bom-ref"] for each in components)},
            *({"ref": each["bom-ref"]} for each in components),
        ],
    }


def component(name: str, version: str, digests: Sequence[str], row: Mapping[str, Any]) -> dict[str, Any]:
    """A package as it is pinned: any of its files may be installed, each by its own digest."""
    purl = f"pkg:pypi/{name}@{version}"
    files = [{"alg": "SHA-256", "content": digest} for digest in digests]
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": [{"expression": row["license"]}],
        "externalReferences": [{"type": "distribution", "url": purl, "hashes": files}],
    }
    carried = [
        {
            "type": "library",
            "bom-ref": f"{purl}#{each['name']}",
            "name": each["name"],
            **({"version": each["version"]} if "version" in each else {}),
            "licenses": [{"expression": each["license"]}],
        }
        for each in row.get("carries", [])
    ]
    return {**made, "components": carried} if carried else made


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--date", type=int, required=True)
    options = parser.parse_args(words)
    lock = (HERE / "agent.lock").read_text("utf-8")
    licenses = tomllib.loads((HERE / "licenses.toml").read_text("utf-8"))
    version = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    try:
        print(json.dumps(bill(lock, licenses, version=version, date=options.date), indent=1, sort_keys=True))
    except IncompleteError as error:
        sys.stderr.write(f"cannot write a bill of materials: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
