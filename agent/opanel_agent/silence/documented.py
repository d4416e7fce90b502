"""Spells the opening of each request as the manual promises it, a second time and on purpose.

What is proven must not say what is right: were the expected bytes made by the code that sends them, a name that somebody
hid in a header would be expected, too. So nothing of `core.wire` and of its tables is asked here, and a change of the
requests has to be made in both places.
"""

from typing import Final
from urllib.parse import urlsplit

_JOSE: Final = "application/jose"
_JSON: Final = "application/json"
_GETS: Final = {
    "roots": ("/v1/roots.jws", _JOSE),
    "advisories": ("/v1/advisories.jws", _JOSE),
    "status": ("/v1/status.jwt", "application/statuslist+jwt"),
}
_SHARD_PREFIX: Final = "status-"
_SHARD: Final = "/v1/status/{}.jwt"
_ACCEPTED: Final = (_JOSE, f"{_JOSE}, {_JSON}")
_SENT: Final = (_JOSE, _JSON)


def fixed_get(word: str, mirror: str) -> tuple[str, bytes]:
    """Returns the URL and the bytes of a GET that is the same for every customer.

    `word`: `roots`, `advisories`, `status`, or `status-7` of a shard.
    """
    shard = word.removeprefix(_SHARD_PREFIX)
    path, accept = _GETS["status" if shard != word else word]
    url = mirror.rstrip("/") + (path if shard == word else _SHARD.format(int(shard)))
    return url, _head("GET", url, accept)


def post(url: str, body: bytes, *, accept: str, content_type: str) -> bytes:
    """Returns the bytes of a request with a body. Media types that are none of the promised ones are not repeated."""
    accept = accept if accept in _ACCEPTED else _ACCEPTED[0]
    content_type = content_type if content_type in _SENT else _SENT[0]
    more = (("Content-Type", content_type), ("Content-Length", str(len(body))))
    return _head("POST", url, accept, *more) + body


def _head(method: str, url: str, accept: str, *more: tuple[str, str]) -> bytes:
    parts = urlsplit(url)
    lines = [
        f"{method} {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "User-Agent: opanel-agent",
        f"Accept: {accept}",
        "Accept-Encoding: identity",
        "DNT: 1",
        "Sec-GPC: 1",
        "Connection: close",
        *(f"{name}: {value}" for name, value in more),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
