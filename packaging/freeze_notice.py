#!/usr/bin/env python3
"""Freezes the field catalog into the installed notice: data/notices/<version>/fields.json.

Run it after a change to data/fields/*.toml. It refuses where the catalog takes more, keeps it longer or gives it to more
than the notice of that version said: people agreed to what stands there, so that needs a new version in
data/notices/current with its own texts. A version that never left this tree may be removed and frozen anew.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "agent"))

from opanel_agent.core.reporting.catalog import thaw, widened  # noqa: E402 - found by the line above
from opanel_agent.system.storage.resources import DATA, Resources  # noqa: E402 - as above


def main() -> int:
    data = Resources()
    catalog = data.catalog()
    frozen = DATA / "notices" / data.installed_notice() / "fields.json"
    wider = widened(thaw(frozen.read_bytes()), catalog) if frozen.exists() else ()
    if wider:
        print(f"cannot freeze into notice {data.installed_notice()}; a new version is needed for:", *wider, sep="\n  ")
        return 1
    frozen.write_bytes(catalog.freeze())
    print(frozen.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
