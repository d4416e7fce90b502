"""Proves that a receipt holds only under the root's receipt key, and only for the bytes that it was given for."""

from typing import Any

import pytest

from fakes import forge
from fakes.refusal import refused
from opanel_agent.core.documents import receipt
from opanel_agent.core.documents.receipt import Receipt
from opanel_agent.core.reasons import Reason

BODY = b'{"schema":1}'


def verify(token: bytes | None = None, **changes: Any) -> Receipt:
    return receipt.verify(forge.receipt(BODY, **changes) if token is None else token, forge.trusted_root())


def test_a_receipt_reads_as_it_was_written_and_answers_its_bytes_alone() -> None:
    read = verify(x={"found": 1})
    assert read == Receipt(
        jti="receipt-1",
        iss=forge.VENDOR,
        iat=forge.NOW,
        sub=forge.receipt_claims(BODY)["sub"],
        kind="usage_statistics",
        due=forge.NOW + 180 * forge.DAY,
        told={"found": 1},
    )
    assert verify().told is None
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
        ({"due": forge.NOW - 1}, "member_value", "due"),
        ({"due": "soon"}, "member_type", "due"),
        ({"ver": 2}, "member_value", "ver"),
        *[({name: forge.DROP}, "member_missing", name) for name in forge.receipt_claims()],
    ],
)
def test_what_a_receipt_must_say(changes: dict[str, Any], detail: str, name: str) -> None:
    with refused(detail, where="receipt", name=name):
        verify(**changes)


def test_what_is_due_at_once_is_due() -> None:
    assert verify(due=forge.NOW).due == forge.NOW


def test_another_roots_receipt_is_none() -> None:
    with refused("receipt_iss", Reason.CHAIN_INVALID):
        verify(iss="else.example")


def test_only_a_receipt_key_signs_receipts() -> None:
    with refused("key_unknown", where="receipt"):
        verify(forge.receipt(BODY, by=forge.ACTIVATION))
    with refused("signature", where="receipt"):
        verify(forge.receipt(BODY)[:-4] + b"AAAA")
    with refused("jws_typ", where="receipt"):
        verify(forge.activation())


def test_a_receipt_is_small() -> None:
    with refused("jws_size", max_bytes=4096):
        verify(b"a" * 4097)
