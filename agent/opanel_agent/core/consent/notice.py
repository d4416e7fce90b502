"""The notice as a person reads it: the installed text, with what only this installation knows filled in.

A notice is a version; its text is the same everywhere but for who is responsible (by the signed root and delegation), which
servers may be contacted under these settings, by which mechanism data go abroad, and for how long mirrors keep an IP
address. What a document does not name is said to be not named; what is not known yet, to be not known.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from opanel_agent.core.documents.controller import Controller, Mechanism
from opanel_agent.core.documents.root import Destination
from opanel_agent.core.values import field, frozen

HOME_REGION: Final = "tr"  # a server there is in Türkiye: the notice is by its law, and a transfer abroad is from there
_PLACEHOLDER: Final = r"\{(vendor|reseller|hosts|region|ip_retention)\}"
_WORDS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "tr": {
            "no_vendor": "ayarlardaki `trust_root` ile belirlenir (henüz yok)",
            "no_reseller": "lisans kurulunca burada yazar (henüz yok)",
            "unnamed": "adresi, e-postası ve başvuru yolu bildirilmemiş",
            "unnamed_but": "adresi ve başvuru yolu bildirilmemiş; iletişim: {contact}",
            "email": "e-posta",
            "kep": "KEP",
            "url": "internet",
            "no_root": "henüz yok: güven kökü kurulmadan hiçbir yere bağlanılmaz",
            "no_host": "yok: güven kökünün bu bölgede sunucusu yok",
            "own": "agent.toml: sizin belirttiğiniz yansı",
            "unnamed_mechanism": "aktarım mekanizması bildirilmemiş",
            "adequacy": "yeterlilik kararı: KVKK m.9/1, GDPR 45",
            "standard_contract": "standart sözleşme: KVKK m.9/4-c, GDPR 46(2)(c)",
            "binding_rules": "bağlayıcı şirket kuralları: KVKK m.9/4-b, GDPR 47",
            "undertaking": "Kurul'un izin verdiği taahhütname: KVKK m.9/4-ç",
            "region": 'Ayarınız `region = "{region}"`: başka bölgedeki sunucuya bağlanılmaz.',
            "region_own": 'Ayarınız `region = "{region}"`: başka bölgeye bağlanılmaz, kendi yansılarınız dışında.',
            "any_region": "`region` ayarı yok: bunların her birine bağlanılabilir.",
            "ip_days": "en çok {days} gün.",
            "no_ip_days": "bildirilmemiş; Türkiye'de yer sağlayıcılar 1-2 yıl saklar (5651 m.5/3).",
        },
        "en": {
            "no_vendor": "named by `trust_root` in the settings (none yet)",
            "no_reseller": "named here once a license is installed (none yet)",
            "unnamed": "address, e-mail and a way to apply are not named",
            "unnamed_but": "address and a way to apply are not named; contact: {contact}",
            "email": "e-mail",
            "kep": "KEP",
            "url": "web",
            "no_root": "none yet: without a root of trust nothing is contacted",
            "no_host": "none: the root of trust has no server in this region",
            "own": "agent.toml: a mirror that you named",
            "unnamed_mechanism": "mechanism of the transfer not named",
            "adequacy": "adequacy decision: KVKK art. 9/1, GDPR 45",
            "standard_contract": "standard contract: KVKK art. 9/4-c, GDPR 46(2)(c)",
            "binding_rules": "binding corporate rules: KVKK art. 9/4-b, GDPR 47",
            "undertaking": "undertaking that the Board permitted: KVKK art. 9/4-ç",
            "region": 'Your setting `region = "{region}"`: no server in another region is contacted.',
            "region_own": 'Your setting `region = "{region}"`: no other region is contacted, but for your own mirrors.',
            "any_region": "No `region` is set: each of these may be contacted.",
            "ip_days": "{days} days at most.",
            "no_ip_days": "not named; in Türkiye hosting providers keep it 1-2 years (Law 5651 art. 5).",
        },
    }
)


@frozen
class Party:
    """Who is responsible: the name in the signed document, the controller where it names one, else a way to call."""

    name: str
    controller: Controller | None = None
    contact: tuple[str, ...] = ()


@frozen
class Circumstances:
    """What only this installation knows. `vendor` is None without a root of trust, `reseller` without a license.

    `destinations` are the root's within `region` (None: any); `own_mirrors` those of the settings.
    """

    vendor: Party | None = None
    reseller: Party | None = None
    destinations: tuple[Destination, ...] = ()
    own_mirrors: tuple[str, ...] = ()
    region: str | None = None
    transfers: Mapping[str, Mechanism] = field(default_factory=dict)
    ip_retention_days: int | None = None


def fill(text: str, language: str, known: Circumstances) -> str:
    """Returns the text with every placeholder replaced; each server once, on a line of its own."""
    words = _WORDS[language]
    filled = {
        "vendor": _party(known.vendor, words, "no_vendor"),
        "reseller": _party(known.reseller, words, "no_reseller"),
        "hosts": "\n".join(dict.fromkeys(f"  {line}" for line in _hosts(known, words))),
        "region": _region(known, words),
        "ip_retention": _ip_retention(known.ip_retention_days, words),
    }
    return re.sub(_PLACEHOLDER, lambda found: filled[found[1]], text)  # in one pass: a name is never read again


def _party(party: Party | None, words: Mapping[str, str], unknown: str) -> str:
    if party is None:
        return f"  {words[unknown]}"
    who = party.controller
    if who is None:
        contact = ", ".join(party.contact)
        unnamed = words["unnamed_but"].format(contact=contact) if contact else words["unnamed"]
        return f"  {party.name}\n  {unnamed}"
    ways = (("email", who.email), ("kep", who.kep), ("url", who.url))
    reached = "; ".join(f"{words[way]}: {place}" for way, place in ways if place is not None)
    name = who.name if who.name == party.name else f"{who.name} ({party.name})"
    return f"  {name}\n  {who.address}\n  {reached}"


def _hosts(known: Circumstances, words: Mapping[str, str]) -> Iterator[str]:
    if known.vendor is None:
        yield words["no_root"]
    elif not known.destinations and not known.own_mirrors:
        yield words["no_host"]
    for each in known.destinations:
        mechanism = known.transfers.get(each.region)
        if mechanism is None and each.region == HOME_REGION:
            yield f"{each.url} ({each.region})"
        else:
            yield f"{each.url} ({each.region}; {words[mechanism or 'unnamed_mechanism']})"
    yield from (f"{url} ({words['own']})" for url in known.own_mirrors)


def _region(known: Circumstances, words: Mapping[str, str]) -> str:
    if known.region is None:
        return words["any_region"]
    return words["region_own" if known.own_mirrors else "region"].format(region=known.region)


def _ip_retention(days: int | None, words: Mapping[str, str]) -> str:
    return words["no_ip_days"] if days is None else words["ip_days"].format(days=days)
