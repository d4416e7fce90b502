"""Advisories: what is signed is what agents read, numbers only grow, and what they would refuse is never published."""

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.authority.vendor import DAY, NOW, Vendor, vendor
from opanel_agent.core.documents import advisory
from opanel_agent.core.documents.advisory import MAX_ADVISORIES, Advisory
from opanel_agent.core.errors import AgentError, Untrusted
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Typ
from opanel_authority.books.repositories.report_repository import AdvisoryRow, ReportRepository
from opanel_authority.documents import advisories
from opanel_authority.documents import advisories as advise
from opanel_authority.documents.keys import Role

TOML = '''
severity = "high"
fixed_in = "0.1.1"
days = 30
[title]
tr = "Güncelleyin"
en = "Please update"
[body]
tr = """
Bir açık
kapatıldı."""
en = "A hole was closed."
'''
DRAFT: dict[str, Any] = {
    "severity": "low",
    "title": {"tr": "Başlık", "en": "Title"},
    "body": {"tr": "Metin", "en": "Text"},
}


def sign(made: Vendor, **changes: Any) -> Advisory:
    return advisories.advise(made.authority, json.dumps({**DRAFT, **changes}).encode(), now=made.now)


def taken(made: Vendor) -> tuple[Advisory, ...]:
    """The set as an agent reads it."""
    return advisory.read(advisories.published(made.authority, now=made.now), made.authority.root, floors={})


def test_before_the_first_the_set_is_empty_and_agents_take_it(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    assert advisories.published(made.authority, now=NOW) == b""
    assert taken(made) == ()


def test_a_draft_in_toml(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    signed = advisories.advise(made.authority, TOML.encode(), now=NOW)
    assert taken(made) == (signed,)
    assert (signed.severity, signed.fixed_in, signed.exp - signed.iat) == ("high", "0.1.1", 30 * DAY)
    assert signed.title == {"tr": "Güncelleyin", "en": "Please update"}
    assert signed.body == {"tr": "Bir açık kapatıldı.", "en": "A hole was closed."}


def test_a_draft_in_json_and_what_is_usual(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    signed = sign(made)
    assert (signed.seq, signed.fixed_in, signed.exp) == (1, None, NOW + advise.USUAL_DAYS * DAY)


def test_numbers_grow_and_the_set_is_never_older(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    signed = [sign(made, days=days) for days in (1, 90, 2)]
    assert [each.seq for each in taken(made)] == [1, 2, 3]
    made.now += 10 * DAY  # the first and the last have ended; the last stays, agents have its number
    assert [each.seq for each in taken(made)] == [2, 3]
    made.now += 100 * DAY
    assert taken(made) == (signed[-1],)
    assert sign(made).seq == 4


def test_one_is_withdrawn_by_the_next(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    first, second = sign(made), sign(made)
    third = sign(made, replaces=[second.jti])
    assert (third.seq, taken(made)) == (3, (first, third))
    with pytest.raises(AgentError) as caught:
        sign(made, replaces=[second.jti])
    assert caught.value.detail == "id_unknown"


def test_no_more_than_agents_take(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    first = sign(made)
    (line,) = advisories.published(made.authority, now=NOW).split()
    signed = jws.parse(line, max_bytes=4096)
    claims = json.loads(signed.payload)
    key = made.authority.key(Role.ADVISORY)
    with made.authority.store.transaction() as books:
        for seq in range(2, MAX_ADVISORIES + 1):
            more = {**claims, "seq": seq, "jti": f"advisory-{seq}"}
            row = AdvisoryRow(seq=seq, jti=more["jti"], exp=first.exp, line=key.sign(Typ.ADVISORY, more))
            ReportRepository(books).add_advisory(row)
    with pytest.raises(Untrusted) as caught:
        sign(made)
    assert caught.value.detail == "advisory_count"
    assert sign(made, replaces=[first.jti]).seq == MAX_ADVISORIES + 1


@pytest.mark.parametrize(
    "changes",
    [
        {"severity": "worst"},
        {"severity": 1},
        {"title": {"tr": "Başlık"}},
        {"title": {"tr": "Başlık", "en": "Title", "de": "Titel"}},
        {"title": {"tr": "Başlık", "en": 1}},
        {"title": "Title"},
        {"body": {"tr": "", "en": ""}},
        {"body": {"tr": "\x1b[2J", "en": "Text"}},
        {"body": {"tr": "a" * 4001, "en": "Text"}},
        {"fixed_in": "soon"},
        {"days": 0},
        {"days": 3651},
        {"seq": 7},
        {"replaces": "all"},
    ],
)
def test_what_agents_would_refuse_is_not_signed(tmp_path: Path, changes: dict[str, Any]) -> None:
    made = vendor(tmp_path)
    with pytest.raises(Untrusted):
        sign(made, **changes)
    assert taken(made) == ()


@pytest.mark.parametrize("draft", [b"", b"severity = ", b"\xff", b"{", b"[]", b"#" * (64 * 1024 + 1), b"{" * 70_000])
def test_what_is_no_draft_is_refused(tmp_path: Path, draft: bytes) -> None:
    made = vendor(tmp_path)
    with pytest.raises(Untrusted):
        advisories.advise(made.authority, draft, now=NOW)
