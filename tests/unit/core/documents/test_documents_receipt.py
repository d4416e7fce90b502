"""Proves that a receipt holds only under the root's receipt key, and only for the bytes that it was given for."""

from typing import Any

import pytest

from fixtures import signing
from fixtures.refusal import refused
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents import receipt
from opanel_agent.core.documents.receipt import Receipt

BODY = b'{"schema":1}'


def verify(token: bytes | None = None, **changes: Any) -> Receipt:
    return receipt.verify(signing.receipt(BODY, **changes) if token is None else token, signing.trusted_root())


def test_a_receipt_reads_as_it_was_written_and_answers_its_bytes_alone() -> None:
    read = verify(x={"found": 1})
    assert read == Receipt(
        jti="receipt-1",
        iss=signing.VENDOR,
        iat=signing.NOW,
        sub=signing.receipt_claims(BODY)["sub"],
        kind="usage_statistics",
        due=signing.NOW + 180 * signing.DAY,
        answer={"found": 1},
    )
    assert verify().answer is None
    assert read.answers(BODY)
    assert not read.answers(BODY + b"\n")
    assert not verify(sub="ab" * 32).answers(BODY)


@pytest.mark.parametrize(
    ("changes", "detail", "name"),
    [
        ({"order": 1}, "member_unknown", "order"),
        ({"jti": "short"}, "member_value", "jti"),
        ({"sub": "AB" * 32}, "member_value", "sub"),
        ({"sub": "ab" * 31}, "member_value", "sub"),
        ({"kind": "two words"}, "member_value", "kind"),
        ({"due": signing.NOW - 1}, "member_value", "due"),
        ({"due": "soon"}, "member_type", "due"),
        ({"ver": 2}, "member_value", "ver"),
        *[({name: signing.DROP}, "member_missing", name) for name in signing.receipt_claims()],
    ],
)
def test_what_a_receipt_must_say(changes: dict[str, Any], detail: str, name: str) -> None:
    with refused(detail, where="receipt", name=name):
        verify(**changes)


def test_what_is_due_at_once_is_due() -> None:
    assert verify(due=signing.NOW).due == signing.NOW


def test_another_roots_receipt_is_none() -> None:
    with refused("receipt_iss", Reason.CHAIN_INVALID):
        verify(iss="else.example")


def test_only_a_receipt_key_signs_receipts() -> None:
    with refused("key_unknown", where="receipt"):
        verify(signing.receipt(BODY, by=signing.ACTIVATION))
    with refused("signature", where="receipt"):
        verify(signing.receipt(BODY)[:-4] + b"AAAA")
    with refused("jws_typ", where="receipt"):
        verify(signing.activation())


def test_a_receipt_is_small() -> None:
    with refused("jws_size", max_bytes=4096):
        verify(b"a" * 4097)
