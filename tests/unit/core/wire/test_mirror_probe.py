"""What fetch says of the mirrors crosses the socket whole, and anything else is refused."""

import pytest

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.text_safety import is_safe
from opanel_agent.core.wire.mirror_probe import MirrorProbe, decode, encode
from opanel_agent.core.wire.steps import Attempt, Outcome, Step

GOOD = MirrorProbe(
    url="https://a.example/v1/status.jwt",
    served_s=1_795_510_800,
    passed=frozenset({Step.DNS, Step.TCP, Step.TLS, Step.CERTIFICATE, Step.HTTP, Step.TYPE, Step.CONTENT}),
    attempts=(
        Attempt(address="2001:db8::1", outcome=Outcome.SLOW),
        Attempt(address="192.0.2.1", outcome=Outcome.CONNECTED),
    ),
)
BAD = MirrorProbe(
    url="https://b.example/" + "b" * 250,
    code="tls_untrusted",
    detail="tls_certificate",
    values={"why": "certificate has expired"},
    passed=frozenset({Step.PROXY, Step.TLS}),
    failed=Step.CERTIFICATE,
)


def test_every_mirror_comes_back_as_it_was_told() -> None:
    assert decode(encode([GOOD, BAD])) == (GOOD, BAD)
    assert decode(encode([])) == ()


def test_what_openssl_says_is_cut_and_made_printable() -> None:
    (probe,) = decode(encode([MirrorProbe(url="u", code="c", values={"why": "a\nb\x1b[31m\u202e" + "x" * 500})]))
    assert is_safe(probe.values["why"])
    assert len(probe.values["why"]) == 128


def test_a_value_that_no_sentence_has_a_place_for_does_not_cross() -> None:
    (probe,) = decode(encode([MirrorProbe(url="u", code="c", values={"page": "<p>", "address": "192.0.2.1"})]))
    assert probe.values == {"address": "192.0.2.1"}


PLAIN: dict[str, Json] = {
    "url": "u",
    "code": None,
    "detail": None,
    "values": {},
    "served_s": None,
    "passed": [],
    "failed": None,
    "attempts": [],
}


def whole(**changed: Json) -> Json:
    return {"schema": 1, "mirrors": [PLAIN | changed]}


def test_the_least_probe_is_read() -> None:
    assert decode(dumps(whole())) == (MirrorProbe(url="u"),)


@pytest.mark.parametrize(
    "probes",
    [
        {"schema": 2, "mirrors": []},
        {"schema": 1},
        {"schema": 1, "mirrors": [], "more": 1},
        {"schema": 1, "mirrors": [{"url": "u"}]},
        whole(code=1),
        whole(served_s=-1),
        whole(x=1),
        whole(values=[]),
        whole(values={"why": 1}),
        whole(values={"page": "<p>"}),
        whole(values={"why": "x" * 129}),
        whole(passed=["dns", "dns"]),
        whole(passed=["doing"]),
        whole(failed="doing"),
        whole(attempts=[{"address": "a", "outcome": "lost"}]),
        whole(attempts=[{"address": "a" * 65, "outcome": "slow"}]),
        whole(attempts=[{"address": "a", "outcome": "slow", "x": 1}]),
        whole(attempts=[{"address": "a", "outcome": "slow"}] * 17),
    ],
)
def test_anything_else_is_refused(probes: Json) -> None:
    with pytest.raises(Untrusted):
        decode(dumps(probes))
