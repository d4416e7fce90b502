"""The frames of a request and its reply: what was sealed comes out, and nothing else goes in."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.consent.purposes import EVERY_GET, FIXED_GETS, SHARDS, Purpose
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.text_safety import is_safe
from opanel_agent.core.wire import endpoints
from opanel_agent.core.wire.message import (
    JOSE,
    JSON,
    MAX_BODY_BYTES,
    Reply,
    Sealed,
    fields_of,
    fixed_get,
    head,
    seal,
    written_by_us,
)

URL = "https://license.example:8443/v1/activations"
text = st.text(max_size=40).filter(is_safe)
headers = st.lists(st.tuples(text, text), max_size=5).map(tuple)
number = st.integers(0, 2**53 - 1)


def post(body: bytes = b'{"schema":1}', content_type: str = JSON) -> Sealed:
    return seal(
        request_id="activation-1",
        purpose=Purpose.LICENSE_ACTIVATION,
        url=URL,
        accept=JOSE,
        body=body,
        content_type=content_type,
    )


def refused(frame: bytes, kind: type[Sealed] | type[Reply] = Sealed) -> str:
    with pytest.raises(Untrusted) as caught:
        kind.decode(frame)
    return caught.value.detail


sealed_requests = st.builds(
    Sealed,
    id=text,
    purpose=text,
    method=st.sampled_from(["GET", "POST"]),
    url=text,
    headers=headers,
    held_since=st.none() | number,
    reviewed=st.booleans(),
    body=st.binary(max_size=200),
)
replies = st.builds(
    Reply,
    ok=st.booleans(),
    code=st.none() | text,
    detail=st.none() | text,
    retry_after_s=st.none() | number,
    status=st.none() | number,
    url=st.none() | text,
    headers=headers,
    sent_head=st.binary(max_size=99),
    body=st.binary(max_size=200),
)


@settings(max_examples=60)
@given(sealed_requests)
def test_a_sealed_request_survives_its_frame(sealed: Sealed) -> None:
    assert Sealed.decode(sealed.encode()) == sealed


@settings(max_examples=60)
@given(replies)
def test_a_reply_survives_its_frame(reply: Reply) -> None:
    assert Reply.decode(reply.encode()) == reply


def test_a_frame_is_exactly_one_request() -> None:
    frame = post().encode()
    assert refused(frame + b"x") == "frame_cut"
    assert refused(frame[:-1]) == "frame_cut"
    assert refused(frame.split(b"\n")[0]) == "frame_cut"
    assert refused(b"") == "frame_cut"
    assert refused(b"null\n") == "member_type"


def test_a_frame_of_another_schema_or_with_more_members_is_refused() -> None:
    frame = post().encode()
    assert refused(frame.replace(b'"schema":1,', b'"schema":2,', 1)) == "member_value"
    assert refused(frame.replace(b'"schema":1,', b'"schema":1,"shell":1,', 1)) == "member_unknown"
    reply = Reply(ok=True).encode()
    assert refused(reply.replace(b'"schema":1,', b'"schema":1,"shell":1,', 1), Reply) == "member_unknown"


@pytest.mark.parametrize("value", [b'"a"', b'[["a"]]', b'[["a",1]]', b"[null]"])
def test_headers_are_pairs_of_text(value: bytes) -> None:
    frame = Sealed(id="i", purpose="p", method="GET", url=URL, headers=(), body=b"").encode()
    assert refused(frame.replace(b'"headers":[]', b'"headers":' + value)) == "member_type"


def test_a_body_beyond_the_limit_is_refused() -> None:
    assert refused(post(b"a" * (MAX_BODY_BYTES + 1)).encode()) == "member_value"
    assert Sealed.decode(post(b"a" * MAX_BODY_BYTES).encode()).body == b"a" * MAX_BODY_BYTES


def test_a_fixed_get_says_nothing_about_anybody() -> None:
    assert head(fixed_get("status", "https://mirror.example/")) == (
        b"GET /v1/status.jwt HTTP/1.1\r\n"
        b"Host: mirror.example\r\n"
        b"User-Agent: opanel-agent\r\n"
        b"Accept: application/statuslist+jwt\r\n"
        b"Accept-Encoding: identity\r\n"
        b"DNT: 1\r\n"
        b"Sec-GPC: 1\r\n"
        b"Connection: close\r\n"
        b"\r\n"
    )


def test_there_are_three_fixed_gets_and_one_for_each_further_shard() -> None:
    assert sorted(FIXED_GETS) == ["advisories", "roots", "status"]
    assert sorted(EVERY_GET.keys() - FIXED_GETS.keys()) == sorted(f"status-{shard}" for shard in range(1, SHARDS))
    assert head(fixed_get("status-7", "https://m")).startswith(b"GET /v1/status/7.jwt HTTP/1.1\r\nHost: m\r\n")
    for word in ("status?host=a", "status-0", "status-64", "status-07"):
        with pytest.raises(Untrusted) as caught:
            fixed_get(word, "https://mirror.example")
        assert caught.value.detail == "fetch_word"


def test_a_post_tells_its_type_and_length() -> None:
    lines = head(post()).split(b"\r\n")
    assert lines[0] == b"POST /v1/activations HTTP/1.1"
    assert lines[1] == b"Host: license.example:8443"
    assert lines[-4:-2] == [b"Content-Type: application/json", b"Content-Length: 12"]


def test_an_address_without_a_path_asks_for_the_root() -> None:
    sealed = seal(request_id="i", purpose="p", url="https://a.example", accept="*/*")
    assert head(sealed).startswith(b"GET / HTTP/1.1\r\n")


def test_the_fields_are_read_from_the_bytes() -> None:
    assert fields_of(fixed_get("roots", "https://mirror.example")) == frozenset()
    assert fields_of(post(b'{"schema":1,"key_sha256":"00"}')) == {"schema", "key_sha256"}
    token = b"e30." + base64url(b'{"iss":"a","hostname":"b"}').encode() + b".AA"
    assert fields_of(post(token, JOSE)) == {"iss", "hostname"}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"[1]", JSON), (b"{", JSON), (b"a.b", JOSE), (b"e30.!!.AA", JOSE), (b"e30.\xff.AA", JOSE), (b"e30.W10.AA", JOSE)],
)
def test_a_body_that_cannot_be_read_has_no_fields(body: bytes, content_type: str) -> None:
    with pytest.raises(Untrusted):
        fields_of(post(body, content_type))


def test_a_request_is_ours_only_header_by_header() -> None:
    ours = fixed_get("status", "https://mirror.example")
    assert written_by_us(ours)
    assert not written_by_us(replace(ours, headers=(*ours.headers, ("Cookie", "server=7"))))
    assert not written_by_us(replace(ours, headers=ours.headers[::-1]))
    assert not written_by_us(replace(ours, url="https://mirror.example/v1/somewhere-else"))


def test_the_longest_address_that_a_root_may_name_can_be_asked() -> None:
    base = "https://" + ".".join(["a" * 60] * 4)
    base += "/" + "b" * (endpoints.MAX_LENGTH - len(base) - 1)
    assert endpoints.admissible(base)
    for word in EVERY_GET:
        sealed = fixed_get(word, base)
        assert Sealed.decode(sealed.encode()) == sealed
        reply = Reply(ok=True, url=sealed.url)
        assert Reply.decode(reply.encode()) == reply
