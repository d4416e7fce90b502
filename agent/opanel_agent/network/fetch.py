"""Makes one of a few GETs that are the same bytes for every customer: the fetch process, whose whole input is one word.

Since nothing can be said to it, nothing about this machine can leave through it, whoever asks. It reads the settings and
the opt-outs itself, asks the gate, tries the mirrors in order, and answers with the first reply or the last failure. Whether
a reply is a good document is not judged here: evaluate, which refused one, says the word that begins a mirror later. It
knows destinations only from the roots, each of which it verifies, and the settings.

A word more, `mirrors`, is for `doctor`: the GET of the status list at every mirror, and what became of each. It names no
mirror, so that the choice of one cannot say anything either.
"""

import os
import select
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import EVERY_GET, FIXED_GETS, WORDS
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import AgentError, Bug, Unavailable, Untrusted
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.core.values import frozen, replace
from opanel_agent.core.wire.content import has_signed_form
from opanel_agent.core.wire.message import Reply, Sealed, error_values, fixed_get
from opanel_agent.core.wire.mirror_probe import EACH_MIRROR, PROBE, MirrorProbe, encode
from opanel_agent.core.wire.steps import RequestTrace, Step
from opanel_agent.network import gate_inputs
from opanel_agent.system import log
from opanel_agent.system.clock import Clock, LocalClock
from opanel_agent.system.consent.consent_store import Consents, LocalConsents
from opanel_agent.system.consent.opt_outs import LocalOptOuts, OptOuts
from opanel_agent.system.http import HttpxTransport, TransferLimits, Transport, limits_for, served_at
from opanel_agent.system.storage import resources, trust
from opanel_agent.system.storage.files import Files, LocalFiles
from opanel_agent.system.storage.paths import Paths, find
from opanel_agent.system.storage.settings import Settings, load

MAX_WORD_BYTES: Final = 16
LEAST_S: Final = 0.5
WHOLE_S: Final = 55  # below evaluate's 60, so that the reason is told here and not guessed there


@frozen
class NetworkInputs:
    """Holds what fetch and courier know: no machine facts, no agent state."""

    files: Files
    paths: Paths
    opt_outs: OptOuts
    consents: Consents
    catalog: Catalog
    notice: str
    settings: Settings
    transport: Transport
    clock: Clock
    passing_s: Callable[[], float] = time.monotonic

    def sources(self, root: Root) -> gate_inputs.GateSources:
        """Returns this process's own reading of what the administrator says, made now."""
        return gate_inputs.GateSources(
            settings=self.settings,
            refused=None,
            signals=self.opt_outs.read(),
            consent=self.consents.read(),
            notice=self.notice,
            root=root,
        )


def answer(word: bytes, reading: NetworkInputs) -> Reply:
    """Returns the reply to one word. Total: every failure is a reply with its code."""
    try:
        return _ask(word.decode("ascii", "replace").removesuffix("\n"), reading)
    except AgentError as error:
        return refusal(error)


def refusal(error: AgentError) -> Reply:
    """Returns the reply that stands for an error: code and detail, `retry_after_s`, `url`, and the values that may cross.

    `status` is the other end's own, which says that the request has left; a proxy's says nothing of the kind.
    """
    retry_after, status = error.values.get("retry_after_s"), error.values.get("status")
    return Reply(
        ok=False,
        code=str(error.code),
        detail=error.detail,
        retry_after_s=retry_after if isinstance(retry_after, int) else None,
        status=status if isinstance(status, int) and error.code is not Reason.PROXY_ERROR else None,
        url=str(error.values["url"]) if "url" in error.values else None,
        values=error_values(error.values),
    )


def _ask(word: str, reading: NetworkInputs) -> Reply:
    if word == EACH_MIRROR:
        return _ask_each(reading)
    if word not in WORDS:
        raise Untrusted(Reason.FORMAT_INVALID, "fetch_word")
    fixed, skipped = WORDS[word]
    root = trust.shared_root(reading.files, reading.paths, reading.settings)
    mirrors = gate_inputs.destinations(EVERY_GET[fixed].purpose, reading.settings, root)[skipped:]
    failures: list[Unavailable] = []
    for mirror, share_s in _shares(mirrors, reading.passing_s):
        sealed = fixed_get(fixed, mirror)
        _require(sealed, reading, root)
        try:
            return reading.transport.send(sealed, _limits(sealed, share_s))
        except Unavailable as unavailable:
            failures.append(unavailable.but(url=sealed.url))
    raise _last(failures)


def _shares(mirrors: Sequence[str], passing_s: Callable[[], float]) -> Iterator[tuple[str, float]]:
    """Yields each mirror with its part of the time that is left, so that one that hangs leaves some for the rest."""
    ends_at = passing_s() + WHOLE_S
    for place, mirror in enumerate(mirrors):
        share_s = (ends_at - passing_s()) / (len(mirrors) - place)
        if share_s < LEAST_S:
            return
        yield mirror, share_s


def _limits(sealed: Sealed, share_s: float) -> TransferLimits:
    """Returns the usual limits within a share of the time: each step before the answer gets a third of it at most.

    So a name or an address that hangs fails as what it is, and not as a server that gave no answer.
    """
    usual = limits_for(sealed)
    third_s = share_s / 3
    return replace(
        usual, whole_s=share_s, resolve_s=min(usual.resolve_s, third_s), connect_s=min(usual.connect_s, third_s)
    )


def _last(failures: Sequence[Unavailable]) -> Unavailable:
    """Returns what to tell of several.

    To wait was asked for only where every mirror asked for it, and then by the most willing.
    """
    if not failures:
        return Unavailable(Reason.DESTINATION, "no_mirror")
    waits = [each.values.get("retry_after_s") for each in failures]
    patient = [wait for wait in waits if isinstance(wait, int)]
    last = failures[-1]
    values = {name: value for name, value in last.values.items() if name != "retry_after_s"}
    if len(patient) == len(waits):
        values["retry_after_s"] = min(patient)
    return Unavailable(last.code, last.detail, **values)


def _require(sealed: Sealed, reading: NetworkInputs, root: Root) -> None:
    """Raises NotPermitted unless the gate lets these very bytes out now."""
    asked = gate_inputs.view_request(sealed, reading.catalog, reading.clock.read_wall())
    reading.sources(root).require(sealed.purpose, request=asked)


def _ask_each(reading: NetworkInputs) -> Reply:
    """Asks every mirror in turn and replies with what became of each; those for which no time is left are left out."""
    root = trust.shared_root(reading.files, reading.paths, reading.settings)
    mirrors = gate_inputs.destinations(FIXED_GETS[PROBE].purpose, reading.settings, root)
    probes: list[MirrorProbe] = []
    for mirror, share_s in _shares(mirrors, reading.passing_s):
        sealed = fixed_get(PROBE, mirror)
        _require(sealed, reading, root)
        probes.append(_probe(sealed, share_s, reading))
    return Reply(ok=True, body=encode(probes))


def _probe(sealed: Sealed, share_s: float, reading: NetworkInputs) -> MirrorProbe:
    trace = RequestTrace(every_address=True)
    try:
        reply = reading.transport.send(sealed, _limits(sealed, share_s), trace)
        trace.passed = [step for step in trace.passed if step is not Step.CONTENT]
        with trace.step(Step.CONTENT):
            _require_document(reply)
    except Unavailable as unavailable:
        return MirrorProbe(
            url=sealed.url,
            code=str(unavailable.code),
            detail=unavailable.detail,
            values=error_values(unavailable.values),
            passed=frozenset(trace.passed),
            failed=trace.failed,
            attempts=tuple(trace.attempts),
        )
    date = next((text for name, text in reply.headers if name.lower() == "date"), "")
    served = served_at(date)
    return MirrorProbe(
        url=sealed.url,
        served_s=None if served is None else max(0, int(served)),
        passed=frozenset(trace.passed),
        attempts=tuple(trace.attempts),
    )


def _require_document(reply: Reply) -> None:
    """Raises Unavailable for a body that has the type of a signed document and not its form."""
    if not has_signed_form(reply.body):
        raise Unavailable(Reason.SERVER_ERROR, "content_foreign")


def local_reading() -> NetworkInputs:
    """Reads this machine's inputs. Raises Misconfigured for refused settings: a refused file denies every request."""
    files, paths = LocalFiles(), find()
    settings = load(files, paths)
    return NetworkInputs(
        files=files,
        paths=paths,
        opt_outs=LocalOptOuts(files, paths, os.environ),
        consents=LocalConsents(files, paths),
        catalog=resources.load_catalog(),
        notice=resources.installed_notice(),
        settings=settings,
        clock=LocalClock(),
        transport=HttpxTransport(ca_file=settings.ca_file, proxy=settings.proxy, no_proxy=settings.no_proxy),
    )


def main() -> int:
    """Runs the process `opanel-agent fetch`; returns its exit status, which is 0 whatever the reply says."""
    return serve("fetch", MAX_WORD_BYTES, answer)


def serve(program: str, max_bytes: int, reply_to: Callable[[bytes, NetworkInputs], Reply]) -> int:
    """Serves one question in, one reply out: the whole life of fetch and of courier."""
    threading.Thread(target=_end_with_asker, args=(sys.stdin.fileno(),), daemon=True).start()
    try:
        reply = reply_to(sys.stdin.buffer.read(max_bytes + 1), local_reading())
    except AgentError as error:
        reply = refusal(error)
    except Exception as unforeseen:  # noqa: BLE001 - told as a fault of ours with its place, never with what it held
        where = traceback.extract_tb(unforeseen.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        reply = refusal(Bug(Reason.INTERNAL, "reply_failed"))  # a reply carries no values
        log.get().error(f"{program}_failed", kind=type(unforeseen).__name__, place=place)
    log.get().debug(f"{program}_replied", ok=reply.ok, code=reply.code, status=reply.status, url=reply.url)
    sys.stdout.buffer.write(reply.encode())
    sys.stdout.buffer.flush()
    return 0


def _end_with_asker(asked_on: int) -> None:
    """Ends this process, and the request under way with it, when the other end of its socket is gone.

    A "no" ends evaluate, and nobody is left to hear a reply; systemd does not end what the connection started. A question
    that came from a pipe or a terminal (a person tries it out) has no other end that stays.
    """
    if not stat.S_ISSOCK(os.fstat(asked_on).st_mode):
        return
    hang_up = select.poll()
    hang_up.register(asked_on, 0)  # POLLHUP, which comes unasked; the end of the question alone is none
    hang_up.poll()
    os._exit(0)  # the other thread may be in the middle of sending
