"""Fills the names that only this installation knows into the text of the privacy notice.

A notice is a version; its text is the same everywhere but for three names: who
runs the authority and the servers (of the root of trust) and who sold the
license. Where one is not known yet, the text says so instead of leaving a gap,
because KVKK art. 10 and GDPR art. 13 want the controller named before consent
is given.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from opanel_agent.core.documents.root import Destination

_PLACEHOLDER: Final = re.compile(r"\{(vendor|reseller|hosts)\}")
_NOT_KNOWN: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "tr": {
            "vendor": "ayarlardaki `trust_root` ile belirlenir (henüz yok)",
            "reseller": "lisans kurulunca burada yazar (henüz yok)",
            "hosts": "  henüz yok: güven kökü kurulmadan hiçbir yere bağlanılmaz",
        },
        "en": {
            "vendor": "named by `trust_root` in the settings (none yet)",
            "reseller": "named here once a license is installed (none yet)",
            "hosts": "  none yet: without a root of trust nothing is contacted",
        },
    }
)


def fill(
    text: str, language: str, *, vendor: str | None, reseller: str | None, destinations: Iterable[Destination]
) -> str:
    """Returns the text with every placeholder replaced, in the language of the text.

    `vendor` and `reseller` are None where they are not known yet. Each
    destination is shown once, on a line of its own, with its region.
    """
    hosts = "\n".join(dict.fromkeys(f"  {each.url} ({each.region})" for each in destinations))
    known = {"vendor": vendor, "reseller": reseller, "hosts": hosts}
    names = {name: said or _NOT_KNOWN[language][name] for name, said in known.items()}
    return _PLACEHOLDER.sub(lambda found: names[found[1]], text)  # in one pass: a name is never read again
