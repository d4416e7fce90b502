"""A signed document is known by its form, whatever its type is called; a page never has that form."""

import pytest

from opanel_agent.core.wire.content import has_signed_form


@pytest.mark.parametrize(
    "body", [b"a.b.c", b"a.b.c\n", b"a-_.b.c\na.b.c\n", b"\xef\xbb\xbfa.b.c\r\na.b.c\r\n", b" a.b.c "]
)
def test_compact_jws_are_recognised(body: bytes) -> None:
    assert has_signed_form(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"a.b",
        b"a.b.c.d",
        b"a..c",
        b"a.b.c\n\na.b.c",
        b"a b.c.d",
        b"<html>a.b.c",
        b'{"a":1}',
        b"a.b.\xc3\xa9",
        b"a+.b.c",
    ],
)
def test_nothing_else_is(body: bytes) -> None:
    assert not has_signed_form(body)
