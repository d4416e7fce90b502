"""What a request has to look like, as the proof spells it: what the agent sends, and nothing that was hidden in it."""

import pytest

from opanel_agent.core.consent.purposes import EVERY_GET
from opanel_agent.core.values import replace
from opanel_agent.core.wire import message
from opanel_agent.core.wire.message import JOSE, JSON, SIGNED, Sealed, head, seal
from opanel_agent.silence import documented

MIRRORS = ("https://mirror.example", "https://mirror.example:8443/opanel/", "http://127.0.0.1:8080")


@pytest.mark.parametrize("mirror", MIRRORS)
def test_every_fixed_get_is_spelled_as_it_is_sent(mirror: str) -> None:
    for word in EVERY_GET:
        sent = message.fixed_get(word, mirror)
        assert documented.fixed_get(word, mirror) == (sent.url, head(sent)), word


def posted(accept: str, content_type: str) -> Sealed:
    url = "https://license.example/v1/activations"
    return seal(request_id="a-1", purpose="p", url=url, accept=accept, body=b"{}", content_type=content_type)


def spelled(sealed: Sealed) -> bytes:
    headers = dict(sealed.headers)
    return documented.post(sealed.url, sealed.body, accept=headers["Accept"], content_type=headers["Content-Type"])


@pytest.mark.parametrize(("accept", "content_type"), [(JOSE, JSON), (SIGNED, JOSE), (SIGNED, JSON)])
def test_a_post_is_spelled_as_it_is_sent(accept: str, content_type: str) -> None:
    sent = posted(accept, content_type)
    assert spelled(sent) == head(sent) + sent.body


@pytest.mark.parametrize("name", ["User-Agent", "Accept", "Content-Type", "X-Server"])
def test_what_was_hidden_in_a_head_is_not_expected(name: str) -> None:
    sent = posted(SIGNED, JSON)
    hidden = replace(sent, headers=tuple({**dict(sent.headers), name: "leak-4711"}.items()))
    assert b"leak-4711" in head(hidden)
    assert b"leak-4711" not in spelled(hidden)


def test_a_query_is_not_expected() -> None:
    _, data = documented.fixed_get("roots", "https://mirror.example")
    assert data.startswith(b"GET /v1/roots.jws HTTP/1.1\r\nHost: mirror.example\r\nUser-Agent: opanel-agent\r\n")
    assert b"leak" not in documented.post("https://a.example/v1/rights?leak=1", b"{}", accept=JOSE, content_type=JSON)
