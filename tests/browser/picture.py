"""Takes the picture of the settings page that README.md shows: the real page, in headless Chromium, made small.

    PYTHONPATH=tests $(tests/run --env) tests/browser/picture.py     # writes docs/pictures/settings-page.png

It is the upper part of the page of docs/examples/panel/settings/ in English, for an active license and a server that
allowed its usage statistics. Needs what the tests of this folder need (.ci/run installs it). The picture has a palette of
at most 256 colours, which text on a plain background does not miss, and is below MAX_BYTES.
"""

import struct
import sys
import tempfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from browser.test_page_states import answering, purposes
from fixtures.web.browser import ROOT, Browser, chromium
from fixtures.web.panel_page import served

PICTURE: Final = ROOT / "docs/pictures/settings-page.png"
MAX_BYTES: Final = 100_000
WIDTH: Final = 820
BELOW: Final = "License status"  # the first heading that is not shown any more
MARGIN: Final = 20
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_COLOURS: Final = 256
_RGB, _RGBA, _PALETTE = 2, 6, 3
_WAITS: Final = {
    "permitted": False,
    "reasons": [{"reason": "not_asked", "what": None, "place": "consent.toml", "line": None}],
}


def take(browser: Browser, path: Path) -> int:
    """Opens the page as an administrator would, and writes what it looks like. Returns the height of what is to be shown."""
    with tempfile.TemporaryDirectory(prefix="page-") as place, served(Path(place)) as page:
        consent = {"purposes": purposes(crash_reports=_WAITS)}
        with answering(page, consent):
            browser.visit(width=WIDTH)
            assert browser.open(page.url("en")) == 200
            browser.shoot(path)
            heading = "[each.textContent, each.getBoundingClientRect().top]"
            headings = f"[...document.querySelectorAll('h3')].map((each) => {heading})"
            tops = {text.strip(): top for text, top in browser.evaluate(headings)}
            return int(next(top for text, top in tops.items() if text.startswith(BELOW))) - MARGIN


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG, by kind (PNG 3rd edition, 5.3)."""
    assert png.startswith(_SIGNATURE)
    found, at = [], len(_SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += length + 12
    return found


def pixels(png: bytes) -> tuple[int, int, list[tuple[int, int, int]]]:
    """Width, height and colours of a PNG of 8 bits a sample without transparency, row by row."""
    parts = chunks(png)
    width, height, depth, colour, *_, interlaced = struct.unpack(">IIBBBBB", dict(parts)[b"IHDR"])
    assert (depth, interlaced) == (8, 0)
    size = {_RGB: 3, _RGBA: 4}[colour]
    data = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
    before = bytes(width * size)
    found: list[tuple[int, int, int]] = []
    for at in range(0, len(data), width * size + 1):
        before = unfiltered(data[at], data[at + 1 : at + 1 + width * size], before, size)
        found += zip(before[0::size], before[1::size], before[2::size], strict=True)
    return width, height, found


def unfiltered(kind: int, line: bytes, above: bytes, size: int) -> bytes:
    """A row without its filter (PNG, 9.2)."""
    row = bytearray(line)
    for index in range(len(row)):
        left = row[index - size] if index >= size else 0
        corner = above[index - size] if index >= size else 0
        up = above[index]
        guess = (0, left, up, (left + up) // 2, paeth(left, up, corner))[kind]
        row[index] = (row[index] + guess) & 0xFF
    return bytes(row)


def paeth(left: int, up: int, corner: int) -> int:
    """Whichever of the three is nearest to left + up - corner, in this order (PNG, 9.4)."""
    target = left + up - corner
    return min((left, up, corner), key=lambda each: abs(target - each))


def small(png: bytes, height: int) -> bytes:
    """The picture's upper part with a palette: its most frequent colours, and the nearest of them for the others."""
    width, _, every = pixels(png)
    colours = every[: width * height]
    palette = [colour for colour, _ in Counter(colours).most_common(_COLOURS)]
    index = {colour: place for place, colour in enumerate(palette)}
    for colour in set(colours) - index.keys():
        index[colour] = min(range(len(palette)), key=lambda place: distance(colour, palette[place]))
    rows = bytearray()
    for start in range(0, len(colours), width):
        rows += b"\x00" + bytes(index[colour] for colour in colours[start : start + width])
    head = struct.pack(">IIBBBBB", width, height, 8, _PALETTE, 0, 0, 0)
    parts = (
        (b"IHDR", head),
        (b"PLTE", b"".join(map(bytes, palette))),
        (b"IDAT", zlib.compress(bytes(rows), 9)),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def distance(one: tuple[int, int, int], other: tuple[int, int, int]) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def main() -> int:
    """Returns 69 where something that it needs is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "page.png"
        try:
            with chromium(Path(folder)) as browser:
                height = take(browser, raw)
        except pytest.skip.Exception as missing:
            sys.stderr.write(f"cannot take the picture: {missing}\n")
            return 69
        picture = small(raw.read_bytes(), height)
    assert len(picture) <= MAX_BYTES, len(picture)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_bytes(picture)
    sys.stdout.write(f"wrote {PICTURE.relative_to(ROOT)}: {len(picture)} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
