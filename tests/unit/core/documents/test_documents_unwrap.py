"""A document comes out of mail programs, editors and terminals as it went in, and nothing else becomes one."""

import quopri
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures import signing
from opanel_agent.core.documents.unwrap import unwrap

BUNDLE = signing.bundle(activated=False)
LINES = BUNDLE.decode().splitlines()


def wrapped(columns: int) -> bytes:
    return "\n".join("\n".join(textwrap.wrap(line, columns)) for line in LINES).encode()


@pytest.mark.parametrize(
    "changed",
    [
        BUNDLE,
        BUNDLE[:-1],
        BUNDLE + b"\n",
        BUNDLE.replace(b"\n", b"\r\n"),
        BUNDLE.replace(b"\n", b"\r"),
        b"\xef\xbb\xbf" + BUNDLE,
        b"\n\n" + BUNDLE,
        BUNDLE.replace(b"\n", b"\n\n"),
        BUNDLE.replace(b"\n", b" \t\n"),
        BUNDLE.replace(b"\n", b"\xc2\xa0\n"),
        b"".join(b"  " + line.encode() + b"\n" for line in LINES),
        b"".join(b"> " + line.encode() + b"\n" for line in LINES),
        b"".join(b">> " + line.encode() + b"\n" for line in wrapped(76).decode().splitlines()),
        " ".join(LINES).encode(),
        "".join(LINES).encode(),
        wrapped(76),
        wrapped(76).replace(b"\n", b"\r\n"),
        wrapped(998),
        quopri.encodestring(BUNDLE),
        BUNDLE.decode().encode("utf-16"),
        BUNDLE.decode().encode("utf-8-sig"),
        BUNDLE + b"\x1a",
        BUNDLE.replace(b"\n", b"\xa0\n"),
        b"".join(b"| " + line.encode() + b"\n" for line in LINES),
        BUNDLE.replace(b"J", b"J\xc2\xad", 1),
    ],
)
def test_it_comes_out_as_it_went_in(changed: bytes) -> None:
    assert unwrap(changed) == BUNDLE


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"\n",
        b"not a document",
        b"Hello,\nyour license:\n\n" + BUNDLE + b"\nRegards",
        BUNDLE.replace(b"\n", b"==\n"),
        BUNDLE + b"\0",
        BUNDLE[:-10],
        BUNDLE + b"A",
        b"\xff\xfe\x00",
        b"\xff" + BUNDLE,
        b"1234-5678-9ABC",
    ],
)
def test_what_is_no_document_is_left_to_whoever_reads_it(other: bytes) -> None:
    assert unwrap(other) == other


@given(st.lists(st.integers(0, len(BUNDLE) - 1), max_size=40), st.sampled_from([b"\n", b"\r\n", b" ", b"\t"]))
def test_white_space_anywhere_changes_nothing(places: list[int], blank: bytes) -> None:
    data = BUNDLE
    for place in sorted(places, reverse=True):
        data = data[:place] + blank + data[place:]
    assert unwrap(data) == BUNDLE
