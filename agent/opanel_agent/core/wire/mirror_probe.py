"""Defines the result of probing one mirror with the status list's GET: made by fetch, shown by `doctor`.

It crosses their socket as the body of a reply. The reader trusts it for
nothing, since it comes from the process that has the network.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final

from opanel_agent.core.codec import record
from opanel_agent.core.codec.record import Items, Text
from opanel_agent.core.values import field, frozen, replace
from opanel_agent.core.wire.message import ERROR_VALUES, MAX_ERROR_VALUE, error_values, require_error_values
from opanel_agent.core.wire.steps import Attempt, Step

EACH_MIRROR: Final = "mirrors"  # the word by which fetch is asked for it
PROBE: Final = "status"  # the fixed GET that is made
MAX_PROBES: Final = 64
MAX_ATTEMPTS: Final = 16
MAX_URL: Final = 512
MAX_BYTES: Final = 128 * 1024


@frozen
class MirrorProbe:
    """Holds the result of one GET.

    - `code`, `detail`: those of its failure, None where a list came; `values`
      fill the failure's sentence.
    - `passed`, `failed`: the steps that were passed, and the one that was not.
    - `attempts`: the addresses that were tried, the mirror's or, with a proxy,
      the proxy's.
    - `served_s`: the server's own time in seconds since 1970, None where it did
      not say.
    """

    url: Annotated[str, Text(max_length=MAX_URL)]
    code: str | None = None
    detail: str | None = None
    values: Annotated[Mapping[str, str], Items(most=len(ERROR_VALUES)), Text(max_length=MAX_ERROR_VALUE)] = field(
        default_factory=dict
    )
    served_s: int | None = None
    passed: frozenset[Step] = frozenset()
    failed: Step | None = None
    attempts: Annotated[tuple[Attempt, ...], Items(most=MAX_ATTEMPTS)] = ()


def encode(probes: Iterable[MirrorProbe]) -> bytes:
    """Returns the reply's body.

    Of an error's values only those leave that `error_values` admits.
    """
    shown = (replace(probe, values=error_values(probe.values)) for probe in probes)
    return record.encode(_Probes(mirrors=tuple(shown)))


def decode(data: bytes) -> tuple[MirrorProbe, ...]:
    """Returns what `encode` wrote, in the order of the mirrors.

    Raises Untrusted for anything else, or over MAX_BYTES.
    """
    probes = record.decode(_Probes, data, "mirrors", max_bytes=MAX_BYTES).mirrors
    for probe in probes:
        require_error_values(probe.values, "mirrors")
    return probes


@frozen
class _Probes:
    mirrors: Annotated[tuple[MirrorProbe, ...], Items(most=MAX_PROBES)]
