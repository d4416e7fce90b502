"""The notice says on one page what the law asks for, agrees with the catalog it was frozen with, and leaves no gap."""

import re

import pytest

from opanel_agent.core.consent.notice import fill
from opanel_agent.core.consent.purposes import FIXED_GETS, POLICIES
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


def filled(language: str) -> str:
    return fill(text(language), language, vendor="vendor.example", reseller="Reseller A.Ş.", destinations=HOSTS)


@EACH_LANGUAGE
def test_it_is_one_page_of_80_columns(language: str) -> None:
    lines = filled(language).splitlines()
    assert len(lines) <= 66
    assert [line for line in lines if len(line) > 80] == []


@EACH_LANGUAGE
def test_it_names_its_version_first(language: str) -> None:
    assert text(language).splitlines()[0].endswith(installed_notice())


# KVKK m.10 and GDPR art. 13, item by item, and what consent.md asks of the first screen.
ITEMS = {
    "tr": [
        "Veri sorumluları", "tamamen otomatik yolla", "sunucunun IP adresini", "yansıyı (mirror) kim\nişletiyorsa",
        "lisans anahtarının SHA-256", "hangi dayanakla", "sözleşme (KVKK m.5/2-c, GDPR 6(1)(b))", "meşru menfaat",
        "açık rızanızla", "hukuki yükümlülük", "yurt dışına aktarımdır (KVKK m.9)", "kimseye aktarılmaz", "Haklarınız",
        "KVKK m.11", "erişim", "düzeltme", "silme", "kısıtlama", "itiraz", "taşınabilirlik", "rızayı her an",
        "30 gün içinde", "Kişisel Verileri Koruma Kurulu", "otomatik karar", "iki sistem kullanıcısı", "giden HTTPS",
        "kimliklerini okumak", "Bir servis", "Reddedebilirsiniz", "takma adlı", "Türkçesi geçerlidir",
    ],
    "en": [
        "The controllers", "wholly by automatic means", "the server's IP address", "whoever\nruns the mirror",
        "SHA-256 hash of the license", "on what ground", "contract (GDPR 6(1)(b), KVKK art. 5/2-c)",
        "legitimate interest", "with your consent", "legal\n   obligation", "transfer abroad (KVKK art. 9)", "Nobody else",
        "Your rights", "GDPR 15-21", "access", "rectification", "erasure", "restriction", "objection", "portability",
        "withdraw a consent at\nany time", "within 30 days", "supervisory authority", "automated decisions",
        "two system users", "outbound HTTPS", "reading machine\nidentifiers", "A service", "You can refuse",
        "pseudonymous", "Turkish prevails",
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
    paragraphs = dict(re.findall(r"^([2-5])\. (.*?)(?=^[2-5]\. |\n\n)", text(language), re.MULTILINE | re.DOTALL))
    days, years = WORDS[language]
    for number, purposes in {
        "2": ("license_activation", "license_renewal"),
        "3": ("usage_statistics",),
        "4": ("crash_reports",),
        "5": ("data_rights",),
    }.items():
        told = [
            int(n) * (1 if unit == days else 365)
            for n, unit in re.findall(rf"(\d+) ({days}|{years})\b", paragraphs[number])
        ]
        there = {f.retention_days_there for p in purposes for f in load_catalog().fields(p).values()}
        assert {told[-1]} == there, number
    here = {field.retention_days_here for sheet in load_catalog().sheets.values() for field in sheet.fields.values()}
    assert here == {90}
    assert "90" in text(language).split("\n\n")[-4]


def test_it_speaks_of_every_purpose() -> None:
    """Five paragraphs for seven purposes: the first two share one, and so do activation and renewal."""
    assert len(POLICIES) == 7
    assert len({get.purpose for get in FIXED_GETS.values()}) == 2
    for language in LANGUAGES:
        assert re.findall(r"^(\d)\. \*", text(language), re.MULTILINE) == ["1", "2", "3", "4", "5"]


# ---- filling in


@EACH_LANGUAGE
def test_the_names_are_filled_in(language: str) -> None:
    told = filled(language)
    assert "vendor.example" in told
    assert "Reseller A.Ş." in told
    assert "  https://licensing.example (eu)\n  https://mirror.example (tr)\n" in told
    assert not re.search(r"\{\w+\}", told)


@EACH_LANGUAGE
def test_what_is_not_known_yet_is_said(language: str) -> None:
    told = fill(text(language), language, vendor=None, reseller=None, destinations=[])
    assert not re.search(r"\{\w+\}", told)
    assert told.count({"tr": "henüz yok", "en": "none yet"}[language]) == 3
    assert "trust_root" in told


def test_a_destination_is_named_once() -> None:
    assert fill("{hosts}", "en", vendor=None, reseller=None, destinations=[*HOSTS, *HOSTS]).count("licensing") == 1


def test_a_name_that_looks_like_a_placeholder_is_only_a_name() -> None:
    assert (
        fill("{vendor} {reseller}", "en", vendor="{reseller}", reseller="{hosts}", destinations=HOSTS)
        == "{reseller} {hosts}"
    )
