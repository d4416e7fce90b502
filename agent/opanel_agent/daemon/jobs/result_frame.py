"""Reads what a job printed: one JSON frame, taken whole or refused whole.

The frame is another process's word. Whatever of it is served later is rendered here, so that a value which JSON can
read and cannot write again (a lone surrogate, NaN, a nesting deeper than the encoder goes) refuses the frame and
never ends the daemon. What the journal gets is checked for shape, since its fields become keyword arguments.
"""

import json
import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Bug
from opanel_agent.core.units import DAY_S
from opanel_agent.daemon.api import OWNER_MEMBERS, PublishedAnswer
from opanel_agent.daemon.jobs.job_process import JobResult

WATCHED_MAX: Final = 128  # files that a frame may name: a request for the answer looks at each
CLOCK_SKEW_MAX_S: Final = 300  # by which a restored answer may seem to be of the future
_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_RESERVED: Final = ("event", "level", "message", "state")  # of every line of the daemon's
_NAME_MAX_CHARS: Final = 64

# What evaluate reports to the journal: event, level, message, fields.
Line = tuple[str, str, str, dict[str, object]]


class ResultFrame(NamedTuple):
    """Holds the checked output of a job.

    `answer` is None where the last one stands; one that is `provisional` gives way to it for as long as that one said
    that it may be relied on. `watch` the files that it was computed from, with their stamps; `result` and
    `peer_result` are JSON, the second without what only the
    owner may see; `language` is the settings' choice.
    """

    ok: bool
    error: dict[str, object] | None
    result: bytes
    peer_result: bytes
    next_run_s: int
    answer: PublishedAnswer | None
    lines: list[Line]
    language: str | None
    watch: Mapping[str, str]
    provisional: bool = False


def read_frame(ended: JobResult) -> ResultFrame:
    """Returns the frame that a job printed. Raises the job's own error, or Bug for output that is no frame."""
    if ended.error is not None:
        raise ended.error
    try:
        return _read(_loads(ended.output))
    except (ValueError, TypeError, RecursionError) as error:
        raise Bug(Fault.PROTOCOL, "job_frame") from error


def restore_answer(data: bytes, wall_s: float) -> PublishedAnswer | None:
    """Returns the answer that was saved before a start, marked as such; None where it may not be relied on.

    That is one that is damaged, of the future, or past its `good_until`. `wall_s`: the wall clock, in seconds.
    """
    try:
        match _loads(data):
            case {"license": license_part, **rest}:
                return _answer({**rest, "license": _restored(license_part, wall_s)})
    except (ValueError, TypeError, RecursionError):
        return None
    return None


def restore_license(data: bytes, wall_s: float) -> PublishedAnswer | None:
    """Returns an answer of the license's part alone, as it was kept through a reboot; judged as `restore_answer` does."""
    try:
        license_part = _restored(_loads(data), wall_s)
        found = _answer({"schema": 1, "license": license_part, "consent": {}})
    except (ValueError, TypeError, RecursionError):
        return None
    return found and found._replace(whole=b"", peers=b"", consent=b"")


def _restored(license_part: object, wall_s: float) -> dict[object, object]:
    """Returns the license's part, marked; raises ValueError where it may not be relied on."""
    match license_part:
        case {"as_of": int(as_of), "good_until": int(good_until), **rest}:
            if as_of - CLOCK_SKEW_MAX_S <= wall_s < good_until:
                return {**rest, "as_of": as_of, "good_until": good_until, "restored": True}
    raise ValueError


def good_for_s(answer: PublishedAnswer | None, wall_s: float | None = None) -> float:
    """Returns for how many seconds an answer may be relied on: from `wall_s`, or from when it was computed."""
    part = None if answer is None else _loads(answer.license)
    match part:
        case {"as_of": int(as_of), "good_until": int(good_until)}:
            return max(0.0, good_until - (as_of if wall_s is None else wall_s))
    return 0.0


def _loads(data: bytes) -> object:
    """Returns JSON without NaN and the infinities, which can be read here and not written again (RFC 8259, 6)."""
    return json.loads(data, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    """Refuses the constants by their names, and a number that is larger than a float: 1e400 is read as infinity."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _read(frame: object) -> ResultFrame:
    match frame:
        case {
            "schema": 1,
            "ok": bool(ok),
            "error": error,
            "answer": answer,
            "next_run_s": int(next_run_s),
            "result": result,
            **rest,
        } if not isinstance(next_run_s, bool) and (answer is not None or error is not None):
            shown = result
            if isinstance(result, dict):  # what a pass did to reports is the owner's to see
                shown = {name: value for name, value in result.items() if name != "consent"}
            return ResultFrame(
                ok=ok,
                error=_error(error),
                result=_bytes(result),
                peer_result=_bytes(shown),
                next_run_s=min(max(next_run_s, 1), DAY_S),
                answer=_answer(answer),
                lines=[_line(line) for line in _list(rest.get("journal", []))],
                language=_text(rest["language"]) if rest.get("language") else None,
                watch=_watch(rest.get("watch")),
                provisional=rest.get("provisional") is True,
            )
    raise ValueError


def _error(error: object) -> dict[str, object] | None:
    match error:
        case None:
            return None
        case {"kind": kind, "code": code, "detail": detail, "values": {**values}}:
            checked = {_text(name): _scalar(value) for name, value in values.items()}
            return {"kind": _text(kind), "code": _text(code), "detail": _text(detail), "values": checked}
    raise ValueError


def _watch(watch: object) -> dict[str, str]:
    """Returns paths with their stamps; none where a job of another version names none."""
    match watch:
        case None:
            return {}
        case {**stamps} if len(stamps) <= WATCHED_MAX:
            return {_text(path): _text(stamp) for path, stamp in stamps.items()}
    raise ValueError


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError  # noqa: TRY004 - whatever makes no frame is one and the same
    return value


def _line(line: object) -> Line:
    match line:
        case {"event": event, "level": str(level), "message": message, "fields": {**fields}} if level in _LEVELS:
            return _text(event), level, _text(message), {_field(name): _scalar(value) for name, value in fields.items()}
    raise ValueError


def _field(name: object) -> str:
    text = _text(name)
    if text in _RESERVED or not text.isidentifier() or not text.isascii() or len(text) > _NAME_MAX_CHARS:
        raise ValueError
    return text


def _scalar(value: object) -> object:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, int | float):
        return value
    return _bytes(value).decode()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004 - as above
    value.encode()  # raises UnicodeEncodeError, a ValueError, for a lone surrogate
    return value


def _answer(answer: object) -> PublishedAnswer | None:
    match answer:
        case None:
            return None
        case {
            "schema": 1,
            "license": {"state": str(state), "reasons": [*reasons]} as license_part,
            "consent": {} as consent,
            **rest,
        }:
            shown = {name: value for name, value in rest.items() if name not in OWNER_MEMBERS}
            return PublishedAnswer(
                whole=_bytes(answer),
                peers=_bytes({"schema": 1, "license": license_part, "consent": consent, **shown}),
                license=_bytes(license_part),
                consent=_bytes(consent),
                state=_text(state),
                reasons=", ".join(_text(reason) for reason in reasons),
            )
    raise ValueError


def _bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def error_text(error: Mapping[str, object] | None) -> str:
    """Returns an error of another process as `str` of ours reads: "code/detail"."""
    return f"{error['code']}/{error['detail']}" if error else "internal"
