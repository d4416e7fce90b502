"""Makes docs/examples/: one signed document of each kind that the agent reads or sends, all under one root.

The keys are the published ones of tests/fixtures/signing.py, each made from its name, so every run on every machine
writes the
same bytes and nobody should trust them. docs/license-format.md begins with the bundle and explains the rest. Dates hang on
one moment, NOW; only the root lives long, because `license verify` asks a root whether it has expired. The status list is
stored in its zlib stream rather than compressed: builds of zlib compress differently.
"""

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOT_DAYS = 3650
# What the status list says of three entries that belong to no document of the examples, and how many it has.
OTHERS = {300: 1, 301: 2, 302: 3}
ENTRIES = 512
CONTROLLER = {
    "name": "Örnek Yazılım A.Ş.",
    "address": "Örnek Mah. Örnek Sok. No: 1, 06000 Ankara",
    "email": "kvkk@vendor.example",
    "kep": "ornekyazilim@kep.example",
    "url": "https://vendor.example/kvkk",
}
RESELLER_CONTROLLER = {
    "name": "Örnek Hosting Ltd. Şti.",
    "address": "Örnek Cad. No: 2, 34000 İstanbul",
    "email": "kvkk@reseller.example",
}


def documents() -> dict[str, bytes]:
    """Each file's name and its bytes."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "agent")]
    from fixtures import signing  # needs the path above
    from opanel_agent.core.codec.base64url import base64url, unbase64url

    packed = zlib.decompress(unbase64url(signing.lst(OTHERS, size=ENTRIES)))
    entries = {"bits": 2, "lst": base64url(zlib.compress(packed, 0))}
    return {
        "root.jws": signing.root(
            exp=signing.NOW + ROOT_DAYS * signing.DAY,
            controller=CONTROLLER,
            transfers={"eu": "standard_contract"},
            ip_retention_days=30,
        ),
        "bundle.jws": signing.lines(
            signing.delegation(controller=RESELLER_CONTROLLER), signing.license(), signing.activation()
        ),
        "status-list.jwt": signing.lines(signing.status_list(status_list=entries)),
        "request.jws": signing.lines(signing.request()),
        "release.jws": signing.release(),
    }


def outputs() -> Iterator[tuple[str, bytes]]:
    """Each example's path in the repository, and its bytes."""
    for name, data in documents().items():
        yield f"docs/examples/{name}", data
