"""What makes the picture for README.md small loses no colour of a plain page, whichever filters the rows had."""

import struct
import zlib
from typing import Final

import pytest

from browser import picture

WHITE, BLACK, BLUE = (255, 255, 255), (0, 0, 0), (10, 20, 200)
ROWS: Final = ((WHITE, WHITE, BLACK, BLUE), (BLUE, WHITE, BLACK, BLACK), (WHITE, BLUE, BLUE, BLACK))


def png(kinds: tuple[int, int, int], *, alpha: bool = False) -> bytes:
    """The rows as Chromium might write them, each with one of PNG's filters."""
    size = 4 if alpha else 3
    plain = [b"".join(bytes(colour) + b"\xff" * alpha for colour in row) for row in ROWS]
    above, data = bytes(len(plain[0])), b""
    for kind, row in zip(kinds, plain, strict=True):
        data += bytes([kind]) + filtered(kind, row, above, size)
        above = row
    head = struct.pack(">IIBBBBB", len(ROWS[0]), len(ROWS), 8, 6 if alpha else 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + bytes(4)
        for kind, body in ((b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    )


def filtered(kind: int, row: bytes, above: bytes, size: int) -> bytes:
    """Written from the specification's other side (PNG, 9.2): what is subtracted."""
    found = []
    for index, value in enumerate(row):
        a = row[index - size] if index >= size else 0
        b = above[index]
        c = above[index - size] if index >= size else 0
        p = a + b - c
        nearest = a if abs(p - a) <= abs(p - b) and abs(p - a) <= abs(p - c) else b if abs(p - b) <= abs(p - c) else c
        found.append((value - [0, a, b, (a + b) >> 1, nearest][kind]) % 256)
    return bytes(found)


@pytest.mark.parametrize("kinds", [(0, 0, 0), (1, 2, 3), (4, 4, 4), (3, 4, 1)])
@pytest.mark.parametrize("alpha", [False, True])
def test_rows_are_read_whatever_their_filter(kinds: tuple[int, int, int], *, alpha: bool) -> None:
    assert picture.pixels(png(kinds, alpha=alpha)) == (4, 3, [colour for row in ROWS for colour in row])


def test_the_small_one_has_the_same_colours_up_to_its_height() -> None:
    parts = dict(picture.chunks(picture.small(png((1, 2, 4)), 2)))
    width, height, depth, colour = struct.unpack_from(">IIBB", parts[b"IHDR"])
    assert (width, height, depth, colour) == (4, 2, 8, 3)
    palette = [tuple(parts[b"PLTE"][at : at + 3]) for at in range(0, len(parts[b"PLTE"]), 3)]
    lines = zlib.decompress(parts[b"IDAT"])
    rows = [lines[at + 1 : at + 5] for at in range(0, len(lines), 5)]
    assert [tuple(palette[index] for index in row) for row in rows] == list(ROWS[:2])


def test_what_has_no_place_in_the_palette_becomes_its_nearest_colour() -> None:
    assert picture.distance((0, 0, 0), (1, 2, 3)) == 14
    assert picture.paeth(10, 20, 15) == 15
    assert picture.paeth(10, 20, 20) == 10
