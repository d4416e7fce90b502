"""A root and a delegation may name who answers for personal data; documents that do not stay valid."""

from typing import Any

import pytest

from fixtures import signing
from fixtures.refusal import refused
from opanel_agent.core.documents import delegation
from opanel_agent.core.documents import root as roots
from opanel_agent.core.documents.controller import Controller, Mechanism
from opanel_agent.core.jose.jws import parse

SHORT = {"name": "Örnek Yazılım A.Ş.", "address": "Örnek Sok. 1, Ankara", "email": "kvkk@vendor.example"}
WHOLE = {**SHORT, "kep": "ornek@kep.example", "url": "https://vendor.example/kvkk"}


def delegated(**changes: Any) -> Controller | None:
    keys = {signing.ISSUER.kid: signing.ISSUER.public}
    return delegation.read(parse(signing.delegation(**changes), max_bytes=65536), keys).controller


def test_documents_of_before_name_nobody() -> None:
    root = roots.first(signing.root())
    assert (root.controller, root.transfers, root.ip_retention_days) == (None, {}, None)
    assert delegated() is None


@pytest.mark.parametrize("controller", [SHORT, WHOLE])
def test_a_controller_reads_as_it_was_written(controller: dict[str, str]) -> None:
    root = roots.first(signing.root(controller=controller, transfers={"eu": "adequacy"}, ip_retention_days=0))
    assert root.controller == delegated(controller=controller) == Controller(**controller)
    assert (root.transfers, root.ip_retention_days) == ({"eu": Mechanism.ADEQUACY}, 0)
    assert Controller(**controller).claim() == controller


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"controller": {}}, "member_missing"),
        ({"controller": {**SHORT, "address": 1}}, "member_type"),
        ({"controller": {**SHORT, "address": "a\nb"}}, "member_value"),
        ({"controller": {**SHORT, "email": "nobody"}}, "member_value"),
        ({"controller": {**WHOLE, "kep": "nobody"}}, "member_value"),
        ({"controller": {**WHOLE, "url": "ftp://x"}}, "member_value"),
        ({"controller": {**SHORT, "fax": "1"}}, "member_unknown"),
        ({"controller": "x"}, "member_type"),
        ({"transfers": {"eu": "hope"}}, "member_value"),
        ({"transfers": {"e u": "adequacy"}}, "member_value"),
        ({"transfers": {f"r{n}": "adequacy" for n in range(17)}}, "member_value"),
        ({"ip_retention_days": -1}, "json_integer"),
        ({"ip_retention_days": 3651}, "member_value"),
        ({"ip_retention_days": "30"}, "member_type"),
    ],
)
def test_what_is_said_of_it_is_said_rightly_or_refused(changes: dict[str, Any], detail: str) -> None:
    with refused(detail):
        roots.first(signing.root(**changes))
    if "controller" in changes:
        with refused(detail):
            delegated(**changes)
