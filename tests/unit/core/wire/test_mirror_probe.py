"""What fetch says of the mirrors crosses the socket whole, and anything else is refused."""

import pytest

from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.wire.mirror_probe import MirrorProbe, decode, encode

GOOD = MirrorProbe(url="https://a.example/v1/status.jwt", served_s=1_795_510_800)
BAD = MirrorProbe(
    url="https://b.example/" + "b" * 250, code="tls_untrusted", detail="tls_certificate", why="certificate has expired"
)


def test_every_mirror_comes_back_as_it_was_told() -> None:
    assert decode(encode([GOOD, BAD])) == (GOOD, BAD)
    assert decode(encode([])) == ()


def test_what_openssl_says_is_cut_and_masked() -> None:
    (told,) = decode(encode([MirrorProbe(url="u", code="c", why="a\nb\x1b[31m\u202e" + "x" * 500)]))
    assert told.why == ("a?b?[31m?" + "x" * 500)[:128]


@pytest.mark.parametrize(
    "told",
    [
        {"schema": 2, "mirrors": []},
        {"schema": 1},
        {"schema": 1, "mirrors": [], "more": 1},
        {"schema": 1, "mirrors": [{"url": "u", "code": None, "detail": None, "why": None}]},
        {"schema": 1, "mirrors": [{"url": "u", "code": 1, "detail": None, "why": None, "served_s": None}]},
        {"schema": 1, "mirrors": [{"url": "u", "code": None, "detail": None, "why": None, "served_s": -1}]},
        {"schema": 1, "mirrors": [{"url": "u", "code": None, "detail": None, "why": None, "served_s": None, "x": 1}]},
    ],
)
def test_anything_else_is_refused(told: dict[str, object]) -> None:
    with pytest.raises(Untrusted):
        decode(dumps(told))  # type: ignore[arg-type]
