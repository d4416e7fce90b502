"""Freezes the field catalog into the installed notice: data/notices/<version>/fields.json.

For after a change to data/fields/*.toml. It refuses where the catalog takes more, keeps it longer or gives it to more
than the notice of that version said: people agreed to what stands there, so that needs a new version in
data/notices/current with its own texts. A version that never left this tree may be removed and frozen anew.
"""

import sys
from pathlib import Path

from opanel_agent.core.reporting.catalog import thaw, widened
from opanel_agent.system.storage.resources import DATA, Resources

ROOT = Path(__file__).resolve().parents[2]


def freeze() -> bool:
    """Writes the installed notice's fields.json and names it; False, and what is too much, where it is refused."""
    data = Resources()
    catalog = data.catalog()
    frozen = DATA / "notices" / data.installed_notice() / "fields.json"
    wider = widened(thaw(frozen.read_bytes()), catalog) if frozen.exists() else ()
    if wider:
        sys.stderr.write(f"cannot freeze into notice {data.installed_notice()}; a new version is needed for:\n")
        sys.stderr.writelines(f"  {line}\n" for line in wider)
        return False
    frozen.write_bytes(catalog.freeze())
    print(f"wrote {frozen.relative_to(ROOT)}")
    return True
