"""The notice says on one page what the law asks for, agrees with the catalog it was frozen with, and leaves no gap."""

import re
from dataclasses import replace
from typing import Any

import pytest

from opanel_agent.core.consent.notice import Circumstances, Party, fill
from opanel_agent.core.consent.purposes import FIXED_GETS, POLICIES
from opanel_agent.core.documents.controller import Controller, Mechanism
from opanel_agent.core.documents.root import Destination
from opanel_agent.core.units import LANGUAGES
from opanel_agent.system.storage.resources import Resources, installed_notice, load_catalog

EACH_LANGUAGE = pytest.mark.parametrize("language", LANGUAGES)
HOSTS = [
    Destination(url="https://licensing.example", region="eu"),
    Destination(url="https://mirror.example", region="tr"),
]


def text(language: str) -> str:
    return Resources().notice(language)


VENDOR = Controller(
    name="Örnek Yazılım A.Ş.",
    address="Örnek Sok. 1, Ankara",
    email="kvkk@vendor.example",
    kep="ornek@kep.example",
    url="https://vendor.example/kvkk",
)
SELLER = Controller(name="Reseller A.Ş.", address="Örnek Cad. 2, İzmir", email="kvkk@reseller.example")
KNOWN = Circumstances(
    vendor=Party(name="vendor.example", controller=VENDOR),
    reseller=Party(name="Reseller A.Ş.", controller=SELLER),
    destinations=tuple(HOSTS),
    transfers={"eu": Mechanism.STANDARD_CONTRACT},
    ip_retention_days=30,
)


def filled(language: str, **changes: Any) -> str:
    return fill(text(language), language, replace(KNOWN, **changes))


def of(language: str, placeholder: str, **changes: Any) -> list[str]:
    """The lines of one placeholder."""
    return fill("{" + placeholder + "}", language, replace(KNOWN, **changes)).split("\n")


@EACH_LANGUAGE
def test_it_is_two_pages_of_80_columns(language: str) -> None:
    lines = filled(language).splitlines()
    assert len(lines) <= 2 * 60
    assert [line for line in text(language).splitlines() if len(line) > 80] == []


@EACH_LANGUAGE
def test_it_names_its_version_first(language: str) -> None:
    assert text(language).splitlines()[0].endswith(installed_notice())


# KVKK m.10, m.11, m.13, m.14 and GDPR art. 13, item by item; consent.md asks for the first screen's.
ITEMS = {
    "tr": [
        "Veri sorumluları", "tamamen\notomatik yolla", "hukuki sebeple", "lisans anahtarının SHA-256",
        "sözleşmenin ifası (KVKK m.5/2-c, GDPR 6(1)(b))", "meşru menfaat (m.5/2-f, 6(1)(f))",
        "açık rızanızla** (m.5/1, 6(1)(a))", "hukuki yükümlülük (m.5/2-ç, 6(1)(c))",
        # the IP address: ground, recipient, retention; name resolution
        "sunucunun IP adresini", "Hukuki sebebi, bağlantının", "Alıcısı, bağlanılan sunucuyu", "kayıt (log) süresi",
        "*DNS*", "DNS çözümleyicisine", "proxy",
        # transfer
        "Kimlere aktarılır", "yurt dışına aktarımdır (KVKK m.9", "GDPR 44-49", "hangi mekanizmayla",
        # KVKK m.11, (a) to (ğ)
        "KVKK m.11", "işlenip işlenmediğini öğrenmek", "bilgi istemek", "amacına uygun kullanılıp kullanılmadığını",
        "yurt içinde veya yurt dışında aktarıldığı üçüncü kişileri bilmek", "düzeltilmesini",
        "silinmesini veya yok\nedilmesini", "üçüncü kişilere bildirilmesini", "otomatik sistemlerle analiz",
        "zararın giderilmesini",
        # how to apply, and what comes before a complaint
        "(m.13): komut satırı gerekmez", "KEP veya e-posta", "30 gün içinde ücretsiz", "(m.14): önce başvuru gerekir",
        "öğrendiğinizden itibaren 30", "başvurudan itibaren 60 gün", "Kişisel Verileri Koruma Kurulu",
        # GDPR, apart
        "GDPR uyarınca haklarınız", "erişim (15)", "düzeltme (16)", "silme (17)", "kısıtlama (18)",
        "taşınabilirlik (20)", "itiraz (21)", "bir ay içinde", "(77)", "önce başvuru şart değildir",
        "Rızayı her an, gerekçe göstermeden", "panelden veya komutla", "önceki\nişlemler hukuka uygun kalır",
        "otomatik karar", "iki sistem kullanıcısı", "giden HTTPS", "kimliklerini okumak", "Bir hizmet",
        "Reddedebilirsiniz", "takma adlı", "tek bir sunucuyu gösterebilir", "Türkçesi\ngeçerlidir",
    ],
    "en": [
        "The controllers", "wholly by\nautomatic means", "legal ground", "SHA-256 hash of the license",
        "performance of the contract (GDPR 6(1)(b),\n   KVKK art. 5/2-c)", "legitimate interest (6(1)(f),\n   art. 5/2-f)",
        "with your consent** (6(1)(a), art. 5/1)", "legal\n   obligation (6(1)(c), art. 5/2-ç)",
        "the server's IP\n   address", "The legal ground is that", "The recipient is whoever", "keep it in their logs",
        "*DNS*", "DNS\n   resolver", "proxy", "To whom, and where", "transfer abroad (KVKK art. 9", "art. 44-49",
        "the mechanism stands beside", "KVKK art. 11", "to learn whether your data are processed",
        "ask for information", "whether they are used\nfor it", "third parties in the country or abroad", "rectified",
        "erased or destroyed", "third parties who have them notified", "analysis by automated systems", "damages",
        "(art. 13): no command line is needed", "registered e-mail (KEP)", "within 30 days, free of charge",
        "(art. 14): after an application", "30 days of learning the answer", "60 days of the application",
        "Personal Data Protection\n  Board", "Your rights under the GDPR", "access (15)", "rectification\n(16)",
        "erasure (17)", "restriction (18)", "portability (20)", "objection (21)", "within a month", "(77)",
        "supervisory authority; no application", "withdraw a consent at any time", "in the panel or by a command",
        "stays\nlawful", "automated decisions", "two system users", "outbound HTTPS", "reading machine\nidentifiers",
        "A service", "You can refuse", "pseudonymous", "point to one server", "Turkish prevails",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("language", "item"), [(language, item) for language in LANGUAGES for item in ITEMS[language]])
def test_it_contains(language: str, item: str) -> None:
    assert item in text(language)


@EACH_LANGUAGE
def test_it_never_promises_more_than_a_pseudonym(language: str) -> None:
    assert not re.search("anonim|anonym", text(language), re.IGNORECASE)


WORDS = {"tr": ("gün", "yıl"), "en": ("days", "years")}


@EACH_LANGUAGE
def test_its_retentions_are_the_catalogs(language: str) -> None:
    """By the number of each purpose's paragraph. A longer one in the catalog alone would be a promise broken."""
    paragraphs = dict(re.findall(r"^([2-5])\. (.*?)(?=^[2-6]\. |\n\n)", text(language), re.MULTILINE | re.DOTALL))
    days, years = WORDS[language]
    for number, purposes in {
        "2": ("license_activation", "license_renewal"),
        "3": ("usage_statistics",),
        "4": ("crash_reports",),
        "5": ("data_rights",),
    }.items():
        durations = [
            int(n) * (1 if unit == days else 365)
            for n, unit in re.findall(rf"(\d+) ({days}|{years})\b", paragraphs[number])
        ]
        there = {f.retention_days_there for p in purposes for f in load_catalog().fields(p).values()}
        assert {durations[-1]} == there, number
    here = {field.retention_days_here for sheet in load_catalog().sheets.values() for field in sheet.fields.values()}
    assert here == {90}
    (kept,) = (part for part in text(language).split("\n\n") if part.startswith(("3 ve 4", "3 and 4")))
    assert re.search(r"\b90\b", kept)
    assert re.search(r"\b14\b", kept)


def test_it_speaks_of_every_purpose() -> None:
    """Five paragraphs for seven purposes: the first two share one, and so do activation and renewal; the last is of all."""
    assert len(POLICIES) == 7
    assert len({get.purpose for get in FIXED_GETS.values()}) == 2
    for language in LANGUAGES:
        assert re.findall(r"^(\d)\. \*", text(language), re.MULTILINE) == ["1", "2", "3", "4", "5", "6"]


# ---- filling in


@EACH_LANGUAGE
def test_who_is_responsible_can_be_written_to(language: str) -> None:
    notice = filled(language)
    email = {"tr": "e-posta", "en": "e-mail"}[language]
    web = {"tr": "internet", "en": "web"}[language]
    assert of(language, "vendor") == [
        "  Örnek Yazılım A.Ş. (vendor.example)",
        "  Örnek Sok. 1, Ankara",
        f"  {email}: kvkk@vendor.example; KEP: ornek@kep.example; {web}: https://vendor.example/kvkk",
    ]
    assert of(language, "reseller") == [
        "  Reseller A.Ş.",
        "  Örnek Cad. 2, İzmir",
        f"  {email}: kvkk@reseller.example",
    ]
    assert all(line in notice.splitlines() for line in (*of(language, "vendor"), *of(language, "reseller")))
    assert not re.search(r"\{\w+\}", notice)


@EACH_LANGUAGE
def test_whom_a_document_of_before_does_not_name_is_said_to_be_not_named(language: str) -> None:
    name, way = of(language, "vendor", vendor=Party(name="vendor.example"))
    assert name == "  vendor.example"
    assert {"tr": "bildirilmemiş", "en": "not named"}[language] in way
    (_, way) = of(language, "reseller", reseller=Party(name="R", contact=("a@r.example", "+90 212 000 00 00")))
    assert way.endswith(": a@r.example, +90 212 000 00 00")
    assert {"tr": "bildirilmemiş", "en": "not named"}[language] in way


@EACH_LANGUAGE
def test_a_server_abroad_is_named_with_the_mechanism(language: str) -> None:
    abroad, home = of(language, "hosts")
    assert abroad.startswith("  https://licensing.example (eu; ")
    assert "9/4-c" in abroad
    assert home == "  https://mirror.example (tr)"
    (unnamed, _) = of(language, "hosts", transfers={})
    assert {"tr": "bildirilmemiş", "en": "not named"}[language] in unnamed
    (_, named) = of(language, "hosts", transfers={"tr": Mechanism.ADEQUACY})
    assert "9/1" in named


@EACH_LANGUAGE
@pytest.mark.parametrize("mechanism", Mechanism)
def test_every_mechanism_is_told_with_its_article(language: str, mechanism: Mechanism) -> None:
    (abroad, _) = of(language, "hosts", transfers={"eu": mechanism})
    assert re.search(r"KVKK (m\.|art\. )9/", abroad)


@EACH_LANGUAGE
def test_the_regions_that_are_really_contacted_are_told(language: str) -> None:
    (any_region,) = of(language, "region")
    assert {"tr": "her birine", "en": "each of these"}[language] in any_region
    (chosen,) = of(language, "region", region="tr")
    assert 'region = "tr"' in chosen
    (but,) = of(language, "region", region="tr", own_mirrors=("https://own.example",))
    assert but != chosen
    assert {"tr": "kendi yansılarınız", "en": "your own mirrors"}[language] in but
    own = of(language, "hosts", destinations=(), own_mirrors=("https://own.example",))
    assert [line.startswith("  https://own.example (agent.toml: ") for line in own] == [True]
    (none,) = of(language, "hosts", destinations=())
    assert {"tr": "bölgede", "en": "region"}[language] in none


@EACH_LANGUAGE
def test_for_how_long_mirrors_keep_an_address_is_told(language: str) -> None:
    assert "30" in of(language, "ip_retention")[0]
    assert "0 " in of(language, "ip_retention", ip_retention_days=0)[0]
    assert {"tr": "bildirilmemiş", "en": "not named"}[language] in of(language, "ip_retention", ip_retention_days=None)[
        0
    ]


@EACH_LANGUAGE
def test_what_is_not_known_yet_is_said(language: str) -> None:
    notice = fill(text(language), language, Circumstances())
    assert not re.search(r"\{\w+\}", notice)
    assert notice.count({"tr": "henüz yok", "en": "none yet"}[language]) == 3
    assert "trust_root" in notice


def test_a_destination_is_named_once() -> None:
    assert len(of("en", "hosts", destinations=(*HOSTS, *HOSTS))) == 2


def test_a_name_that_looks_like_a_placeholder_is_only_a_name() -> None:
    known = Circumstances(vendor=Party(name="{reseller}"), reseller=Party(name="{hosts}"))
    notice = fill("{vendor} {reseller}", "en", known)
    assert "{reseller}" in notice
    assert "{hosts}" in notice
