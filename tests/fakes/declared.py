"""Bodies that the field catalog admits: each field says its own example, but for what a test wants said."""

import hashlib
from typing import Final

from fakes.logs import LOGS
from opanel_agent.core.purposes import Purpose
from opanel_agent.core.strict_json import Json, dumps
from opanel_agent.system.data import load_catalog, noticed_catalogs

CATALOG: Final = load_catalog()
CATALOGS: Final = noticed_catalogs()


def secret(name: str) -> str:
    """The 32 bytes behind a report's `erasure`, as a rights request reveals them."""
    drawn = hashlib.sha256(f"secret of {name}".encode())
    LOGS.plant_secret(drawn.digest(), "what a report is erased by")
    return drawn.hexdigest()


def erasure(name: str) -> str:
    return hashlib.sha256(bytes.fromhex(secret(name))).hexdigest()


def report(name: str, purpose: Purpose = Purpose.USAGE_STATISTICS, **facts: Json) -> bytes:
    """A report of somebody called `name`; no two names have the same `erasure`."""
    said = {each: CATALOG.fields(purpose)[each].example for each in CATALOG.collected(purpose)}
    return CATALOG.build(purpose, {**said, "erasure": erasure(name), **facts})


def right(kind: str, *names: str, text: str | None = None) -> bytes:
    """A rights request about the reports of these names."""
    more: dict[str, Json] = {} if text is None else {"text": text}
    return dumps({"schema": 1, "kind": kind, "reveals": [secret(name) for name in names], **more})
