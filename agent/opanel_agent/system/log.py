"""Writes log lines to stderr: one event a line, `event="…" key=value`, for the journal with a priority in front.

`line` needs nothing but the standard library, for the daemon. Jobs and commands take a structlog logger from `get`;
both come out of the same `render`, so a reader of the journal sees one format. No timestamp: the journal has its own.
Nothing that identifies the server or a person is ever an argument here.
"""

import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from opanel_agent.core.text_safety import escape

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_PLAIN: Final = r"(?a)[\w./:@+,-]+"


Line = tuple[str, str, dict[str, object]]  # event, level, fields
_keeping: list[list[Line]] = []  # innermost last


class kept:  # noqa: N801 - used as a function; contextlib would be memory that stays in the daemon
    """The lines of what runs within, for somebody else to write. For a process of one thread, as a job is."""

    def __enter__(self) -> list[Line]:
        lines: list[Line] = []
        _keeping.append(lines)
        return lines

    def __exit__(self, *_exception: object) -> None:
        _keeping.pop()


def log_event(event: str, *, level: str = "info", **fields: object) -> None:
    """Write one line to stderr, or keep it (`kept`)."""
    if _keeping:
        _keeping[-1].append((event, level, fields))
    else:
        write(render(level, event, fields))


def render(level: str, event: str, fields: Mapping[str, object]) -> str:
    """Returns the line, without its end."""
    return (
        f"<{priority(level)}>{format_event(event, fields)}"
        if "JOURNAL_STREAM" in os.environ
        else f"{level}: {format_event(event, fields)}"
    )


def format_event(event: str, fields: Mapping[str, object]) -> str:
    """Returns the line's text. A value can neither break the line nor pass for another field."""
    return " ".join([f"event={_value(event)}", *(f"{name}={_value(value)}" for name, value in fields.items())])


def priority(level: str) -> int:
    """Returns the priority, as sd-daemon(3) counts them."""
    return _PRIORITIES.get(level, 6)


def write(text: str) -> None:
    """Writes one line to stderr. Where nobody reads it, it is lost: the work matters more than the log."""
    if sys.stderr is None:  # closed before this process began
        return
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        return


def get(**bound: object) -> "FilteringBoundLogger":
    """Returns a structlog logger that writes the same lines, with `bound` on each."""
    import structlog  # costs 10 MB and 100 ms: never in the daemon

    structlog.configure(
        processors=[structlog.processors.add_log_level, _as_line],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logger: FilteringBoundLogger = structlog.get_logger(**bound)
    return logger


def _as_line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    level = str(event.pop("level", "info"))
    return render(level, str(event.pop("event", "")), event)


def _value(value: object) -> str:
    text = str(value)
    if re.fullmatch(_PLAIN, text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escape(escaped) + '"'
