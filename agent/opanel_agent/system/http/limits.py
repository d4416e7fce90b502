"""Limits how long each part of a request may take, and how much may come back."""

from urllib.parse import urlsplit

from opanel_agent.core.consent.purposes import EVERY_GET, MAX_REPLY_BYTES
from opanel_agent.core.values import frozen
from opanel_agent.core.wire.message import Sealed
from opanel_agent.core.wire.steps import RequestTrace
from opanel_agent.system.http.deadline import Deadline

_OTHER_MAX_BYTES = 64 * 1024


@frozen
class TransferLimits:
    """Limits of one request, in seconds and bytes."""

    resolve_s: float = 15.0
    connect_s: float = 10.0  # all addresses together; and a TLS handshake
    read_s: float = 20.0  # to the first byte, and between any two
    whole_s: float = 60.0
    max_bytes: int = MAX_REPLY_BYTES


@frozen
class RequestContext:
    """What every step of one request needs: its limits, its deadline, and the trace that it fills."""

    limits: TransferLimits
    deadline: Deadline
    trace: RequestTrace


def limits_for(sealed: Sealed) -> TransferLimits:
    """Returns the limits for a request's purpose: a fixed GET's own size, 64 KiB for every other reply."""
    path = urlsplit(sealed.url).path
    sizes = (get.max_bytes for get in EVERY_GET.values() if path.endswith(get.path))
    return TransferLimits(max_bytes=min(sizes, default=_OTHER_MAX_BYTES))
