"""What became of the status list's GET at each mirror: said by `fetch`, read by `doctor`.

It crosses their socket as the body of a reply. The reader trusts it for nothing: it is another process's word.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from opanel_agent.core.codec.strict_json import Json, Members, dumps, loads
from opanel_agent.core.text_safety import mask

EACH_MIRROR: Final = "mirrors"  # the word by which fetch is asked for it
PROBE: Final = "status"  # the fixed GET that is made
MAX_TRIALS: Final = 64
MAX_URL: Final = 512
MAX_WHY: Final = 128
MAX_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorProbe:
    """`code` and `detail` are those of the failure, None where a list came; `served_s` is then the server's own time.

    `why`: what OpenSSL has against the certificate.
    """

    url: str
    code: str | None = None
    detail: str | None = None
    why: str | None = None
    served_s: int | None = None


def encode(trials: Iterable[MirrorProbe]) -> bytes:
    return dumps({"schema": 1, "mirrors": [_json(each) for each in trials]})


def decode(data: bytes) -> tuple[MirrorProbe, ...]:
    """Raises Untrusted for anything but what `encode` writes."""
    told = Members(loads(data, max_bytes=MAX_BYTES), "mirrors")
    told.constant("schema", 1)
    trials = tuple(_trial(each) for each in told.each("mirrors", MAX_TRIALS))
    told.end()
    return trials


def _json(trial: MirrorProbe) -> Json:
    return {
        "url": trial.url,
        "code": trial.code,
        "detail": trial.detail,
        "why": None if trial.why is None else mask(trial.why)[:MAX_WHY],
        "served_s": trial.served_s,
    }


def _trial(told: Members) -> MirrorProbe:
    trial = MirrorProbe(
        url=told.text("url", max_length=MAX_URL),
        code=_optional(told, "code"),
        detail=_optional(told, "detail"),
        why=_optional(told, "why"),
        served_s=None if told.value("served_s") is None else told.integer("served_s"),
    )
    told.end()
    return trial


def _optional(told: Members, name: str) -> str | None:
    return None if told.value(name) is None else told.text(name)
