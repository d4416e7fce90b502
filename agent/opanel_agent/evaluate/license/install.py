"""Installs signed documents: each verified whole from its bytes, written durably, and only then counted.

A refused document never replaces a good one. A document put there by hand (a command of root's, a file of root's) may go
back to an older bundle; one that came over the network may not.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.documents import bundle as bundle_document
from opanel_agent.core.documents import root as root_document
from opanel_agent.core.documents import status_list as status_document
from opanel_agent.core.documents.activation import Activation
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.root import Root
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.documents.status_list import StatusList
from opanel_agent.core.documents.unwrap import unwrap
from opanel_agent.core.errors import Misconfigured, Storage, Unreadable, Untrusted
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.license import effective_time, license_key, renewal, status_history
from opanel_agent.core.license.verdict import begins_s, ends_s
from opanel_agent.core.units import DAY_S
from opanel_agent.core.values import replace
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.inputs import MAX_BUNDLE_BYTES, MAX_STATUS_BYTES, Inputs, load_documents
from opanel_agent.evaluate.ports import Ports
from opanel_agent.evaluate.reporting.advisories import AdvisoryStore
from opanel_agent.evaluate.storage import state_files
from opanel_agent.evaluate.storage.state import MAX_DIGESTS, AgentState
from opanel_agent.system.log import log_event
from opanel_agent.system.storage import trust
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths

MAX_DOCUMENT_BYTES: Final = MAX_STATUS_BYTES
MAX_FILES: Final = MAX_DIGESTS // 2  # in import.d: each is remembered, and what is wrong with it


def document(context: PassContext, data: bytes, *, only_newer: bool = False) -> str:
    """Installs any signed document, told apart by its first line's `typ`, and returns that typ. Raises Untrusted.

    White space that mail programs and editors put in is removed first (`core.documents.unwrap`).

    `only_newer` refuses a license or an activation that is not newer than the installed one. Lists, roots and advisories
    never go back anyway.
    """
    data = unwrap(data)
    first_line = data.strip().split(b"\n", 1)[0].strip()
    typ = jws.parse(first_line, max_bytes=MAX_DOCUMENT_BYTES).typ
    match typ:
        case Typ.DELEGATION | Typ.LICENSE:  # a license alone lacks the line above it, and is told so
            bundle(context, data, only_newer=only_newer)
        case Typ.ACTIVATION:
            activation(context, data, only_newer=only_newer)
        case Typ.STATUS_LIST:
            status(context, data.strip())
        case Typ.ROOT:
            roots(context, data)
        case Typ.ADVISORY:
            advisory_set(context, data)
        case Typ.RECEIPT:
            context.rights.answered(data)
        case _:
            raise Untrusted(Reason.FORMAT_INVALID, "document_kind", typ=str(typ)[:64])
    return str(typ)


def bundle(context: PassContext, text: bytes, *, only_newer: bool = False) -> None:
    """Installs a license that was put here by hand: an older one too, unless `only_newer`. Raises Untrusted.

    One that begins later waits for its time while another is good.
    """
    new = _verified(context, text)
    if only_newer:
        _require_newer(context.inputs.bundle, new)
    _keep_or_wait(context, new)


def begin_waiting(context: PassContext) -> None:
    """Installs the license that waits, once its time has come or the one that ruled meanwhile is good no more."""
    files, path = context.ports.files, context.ports.paths.next_bundle
    text = state_files.read(files, path, max_bytes=MAX_BUNDLE_BYTES)
    if text is None:
        return
    try:
        new = bundle_document.verify(text, context.inputs.root, now=context.now)
    except Untrusted as refused:
        state_files.quarantine(files, path, refused)
        return
    if not _waits(context.inputs.bundle, new, context.now):
        _keep(context, _with_known_activation(context.inputs.bundle, new, context.inputs.root, context.now))
        files.remove(path)
        log_event("license_begun", license=new.license.jti)


def waiting_until(files: Files, paths: Paths, root: Root) -> int | None:
    """Returns when the license that waits begins, in effective seconds; None where none waits."""
    text = state_files.read(files, paths.next_bundle, max_bytes=MAX_BUNDLE_BYTES)
    if text is None:
        return None
    try:
        return begins_s(bundle_document.verify(text, root, now=None).license)
    except Untrusted:
        return None


def exchanged(context: PassContext, text: bytes, *, key_sha256: str) -> None:
    """Installs the bundle that a license key was exchanged for. Raises Untrusted for another key's and for an older one."""
    held, new = context.inputs.bundle, _verified(context, text)
    if license_key.digest(new.license.sub) != key_sha256:
        raise Untrusted(Reason.PRODUCT_MISMATCH, "bundle_other_key")
    if held is not None and held.license.sub == new.license.sub and new.license.iat < held.license.iat:
        raise Untrusted(Reason.CHAIN_INVALID, "bundle_older")
    _keep_or_wait(context, new)


def renewed(context: PassContext, text: bytes) -> None:
    """Installs a newer edition of the installed license, the answer to a pending renewal request.

    Raises NotYet where there is none yet, Untrusted for any other document, and where the activation would be lost by it:
    a renewal must not take anything away.
    """
    if context.inputs.bundle is None:
        raise Untrusted(Reason.NO_LICENSE, "license_needed")
    new, inputs = _verified(context, text), context.inputs
    renewal.require_renewal(context.inputs.bundle.license, new.license, inputs.now)
    if new.activation is not None and not _is_ours(new.activation, inputs):
        new = bundle_document.verify(b"\n".join([*_rows(new)[:-1], b""]), inputs.root, now=inputs.now)
    new = _with_known_activation(inputs.bundle, new, inputs.root, inputs.now)
    if new.activation is None and new.license.activation.required:
        raise Untrusted(Reason.ACTIVATION_DUE, "renewal_without_activation")
    _keep(context, new)


def activation(context: PassContext, token: bytes, *, only_newer: bool = False) -> None:
    """Installs an activation of the installed license for this very machine and key. Raises Untrusted for any other."""
    inputs = context.inputs
    if inputs.bundle is None:
        raise Untrusted(Reason.NO_LICENSE, "activation_without_license")
    rows = _rows(inputs.bundle)
    kept = rows if inputs.bundle.activation is None else rows[:-1]
    new = bundle_document.verify(b"\n".join([*kept, token.strip(), b""]), inputs.root, now=inputs.now)
    if new.activation is None or not inputs.match(new.activation.bind).ok:
        raise Untrusted(Reason.MACHINE_MISMATCH, "activation_elsewhere")
    if inputs.key_id is None or inputs.key_id != new.activation.jkt:
        raise Untrusted(Reason.MACHINE_MISMATCH, "activation_other_key")
    if only_newer:
        _require_newer(inputs.bundle, new)
    # A request of before: sent now, it would be answered for an activation that is no more. The one that this may be the
    # answer to is dropped last, since a pass that is killed in between takes it up by that.
    context.outbox.drop(RequestKind.RELEASE)
    _keep(context, new)
    context.outbox.drop(RequestKind.ACTIVATION)
    context.state.unmatched_since = None


def status(context: PassContext, token: bytes, *, shard: int | None = None) -> None:
    """Installs a status list: newer than any before it from the same key, whole, unexpired. Raises Untrusted.

    `shard` is the one that was asked for; one that was put here by hand (None) may be any.
    """
    inputs, state = context.inputs, context.state
    new = _accepted(token, inputs, _floors(inputs.documents.status_lists, state.floors), shard)
    clock_state = effective_time.lift(inputs.clock_state, new.kid, new.iat, inputs.clock)
    if new.exp <= effective_time.now(clock_state):  # by the time that holds once its own date was heard
        raise Untrusted(Reason.STATUS_STALE, "status_list_expired")
    _keep_list(context, new, token)
    context.set_clock(clock_state)
    sight(state, inputs.bundle, [new], context.now)


def _keep_list(context: PassContext, new: StatusList, token: bytes) -> None:
    inputs, state = context.inputs, context.state
    context.ports.files.write(context.ports.paths.status_shard(new.shard), token)
    alive = inputs.root.keys_of("status")
    state.floors = {name: iat for name, iat in state.floors.items() if name.partition("/")[0] in alive}
    state.floors[new.floor] = max(new.iat, state.floors.get(new.floor, 0))
    state.note_list(new.shard, new.iat)
    context.lists_accepted.add(new.shard)
    context.install(inputs.documents.with_list(new))


def share_roots(ports: Ports, first: Root, newest: Root) -> None:
    """Hands fetch and courier the roots that the state has. Where that fails they go on asking where they did."""
    shared = ports.paths.shared_roots
    try:
        try:
            trust.copy_roots(ports.files, ports.paths, first, newest)
        except (Misconfigured, Unreadable) as refused:  # what lies there is no file of ours
            state_files.quarantine(ports.files, shared, refused)
            trust.copy_roots(ports.files, ports.paths, first, newest)
    except Storage as error:
        log_event("state_not_saved", level="error", file=str(shared), error=str(error))


def roots(context: PassContext, text: bytes) -> None:
    """Installs every root since the first, verified one by one; fewer than are known change nothing. Raises Untrusted.

    Of new ones at most MAX_STEPS are taken; the next check takes the others.

    The time that a key proved which the newest root drops goes with the key.
    """
    inputs, ports = context.inputs, context.ports
    at_most = inputs.root.seq - inputs.first_root.seq + root_document.MAX_STEPS
    taken = root_document.steps(inputs.first_root, text, at_most=at_most)
    newest = taken[-1] if taken else inputs.first_root
    if newest.seq <= inputs.root.seq:
        return
    ports.files.write(ports.paths.roots, b"".join(root.lines for root in taken))
    share_roots(ports, inputs.first_root, newest)
    clock_state = effective_time.drop(inputs.clock_state, newest.kids)
    context.inputs = replace(
        inputs,
        root=newest,
        clock_state=effective_time.lift(clock_state, newest.keys["root"][0].kid, newest.iat, inputs.clock),
        documents=load_documents(ports.files, ports.paths, newest, context.state),
    )


def advisory_set(context: PassContext, text: bytes) -> None:
    """Installs a set of advisories. Raises Untrusted; the installed set then stays."""
    inputs, ports = context.inputs, context.ports
    store = AdvisoryStore(files=ports.files, paths=ports.paths, root=inputs.root)
    taken = store.install(text, inputs.documents.advisories, inputs.now)
    context.install(replace(inputs.documents, advisories=taken))


def remove(context: PassContext) -> None:
    """Removes every bundle (`license remove`), durably, the older first so that a crash in between leaves the newer.

    When the license was accepted and what was seen of its status stay: to remove and install again begins no count anew.
    """
    paths, state = context.ports.paths, context.state
    for path in (paths.next_bundle, paths.previous_bundle, paths.bundle):
        context.ports.files.remove(path)
    context.install(replace(context.inputs.documents, bundle=None, refused=None))
    state.refused_since = None
    state.seen = status_history.mark_removed(state.seen)


def files_of_root(context: PassContext) -> None:
    """Installs what lies in the configuration folder, each content once; the files stay.

    Where the state does not say any more which were installed before (`first_pass`), only documents newer than the
    installed ones are accepted: most had been, and an old license still lies there when a newer one came by another way.

    A file that is refused (its owner, its type, its content) is logged once, and stops nothing else.
    """
    ports, state = context.ports, context.state
    for path in _candidates(ports.files, ports.paths, state):
        try:
            data = ports.files.read(path, max_bytes=MAX_DOCUMENT_BYTES, owners=ports.paths.owners)
        except (Misconfigured, Storage) as error:
            _log_once(state, "document_unreadable", path, code=str(error.code), detail=error.detail)
            continue
        if data is None or _known(state, hashlib.sha256(data).hexdigest()):
            continue
        try:
            typ = document(context, data, only_newer=context.first_pass)
        except Untrusted as refused:
            log_event("document_refused", file=str(path), code=str(refused.code), detail=refused.detail)
        else:
            log_event("document_adopted", file=str(path), typ=typ)


def sight(state: AgentState, installed: Bundle | None, lists: Iterable[StatusList], now: int) -> None:
    """Notes in the state what lists give for the installed documents, and for all that were ever seen bad."""
    if installed is not None:
        state.seen = status_history.mark_installed(state.seen, installed)
    for listed in lists:
        state.seen = status_history.record_list(state.seen, installed, listed, now, lost=state.lost)


def _verified(context: PassContext, text: bytes) -> Bundle:
    """Verifies a bundle at the time that holds once its own date was heard; a newer one than the installed tells it."""
    inputs = context.inputs
    dated, clock_state = bundle_document.verify(text, inputs.root, now=None), inputs.clock_state
    if inputs.bundle is None or dated.license.iat > inputs.bundle.license.iat:
        clock_state = effective_time.corroborate(clock_state, dated.license.iat, inputs.clock)
    new = bundle_document.verify(text, inputs.root, now=effective_time.now(clock_state))
    context.set_clock(clock_state)
    return new


def _keep_or_wait(context: PassContext, new: Bundle) -> None:
    """Keeps a license; one that is not valid yet waits in a file of its own and never replaces one that is."""
    inputs, path = context.inputs, context.ports.paths.next_bundle
    if _waits(inputs.bundle, new, context.now):
        context.ports.files.write(path, new.text)
        log_event("license_waits", license=new.license.jti, begins=begins_s(new.license))
        return
    _keep(context, _with_known_activation(inputs.bundle, new, inputs.root, context.now))
    context.ports.files.remove(path)  # what was put here last is what is meant


def _waits(held: Bundle | None, new: Bundle, now: int) -> bool:
    return held is not None and begins_s(held.license) <= now < min(ends_s(held.license), begins_s(new.license))


def _keep(context: PassContext, new: Bundle) -> None:
    """Writes the previous good one first, then the new one: at every moment a good bundle is readable."""
    files, paths, state = context.ports.files, context.ports.paths, context.state
    old = context.inputs.bundle
    if old is not None and old.text != new.text:
        files.write(paths.previous_bundle, old.text)
    files.write(paths.bundle, new.text)
    state.accept(license_key.digest(new.license.sub), context.now)
    if old is None or old.license.sub != new.license.sub:
        state.unmatched_since = None
    state.refused_since = None
    documents = replace(context.inputs.documents, bundle=new, refused=None)
    context.install(documents)
    sight(state, new, documents.status_lists.values(), context.now)


def _accepted(token: bytes, inputs: Inputs, floors: dict[str, int], shard: int | None) -> StatusList:
    """Returns a list that is newer than the floor of its key.

    Where the floor itself is of the future no mirror can mend it.
    """
    try:
        return status_document.accept(token, inputs.root, floor=floors, now=0, shard=shard)
    except Untrusted as refused:
        if refused.detail == "status_list_older" and max(floors.values()) > inputs.now + DAY_S:
            raise Untrusted(refused.code, "status_list_floor_ahead") from refused
        raise


def _floors(lists: Mapping[int, StatusList], floors: dict[str, int]) -> dict[str, int]:
    """Returns the floors with the installed lists' own `iat`: a crash may have come before the state was written."""
    held = {listed.floor: max(listed.iat, floors.get(listed.floor, 0)) for listed in lists.values()}
    return {**floors, **held}


def _is_ours(found: Activation, inputs: Inputs) -> bool:
    return inputs.key_id == found.jkt and inputs.match(found.bind).ok


def _require_newer(held: Bundle | None, new: Bundle) -> None:
    """Requires that a license is newer by its date; another activation of the same license by the activation's."""
    if held is None or new.license.iat > held.license.iat:
        return
    if new.license.digest != held.license.digest or _activated_at(new) <= _activated_at(held):
        raise Untrusted(Reason.CHAIN_INVALID, "bundle_older")


def _activated_at(held: Bundle) -> int:
    return 0 if held.activation is None else held.activation.iat


def _with_known_activation(old: Bundle | None, new: Bundle, root: Root, now: int) -> Bundle:
    """Returns the bundle, with the activation at hand where it has none: a renewal keeps `sub`, so that stays good."""
    if new.activation is not None or old is None or old.activation is None or old.license.sub != new.license.sub:
        return new
    try:
        return bundle_document.verify(b"\n".join([*_rows(new), _rows(old)[-1], b""]), root, now=now)
    except Untrusted:  # it ends before the new license does: activate again
        return new


def _rows(held: Bundle) -> list[bytes]:
    """Returns a bundle's lines: delegations, the license, and last the activation where there is one."""
    return held.text.removesuffix(b"\n").split(b"\n")


def _candidates(files: Files, paths: Paths, state: AgentState) -> list[Path]:
    """Returns as many files as the state can tell apart; the rest wait until some are taken away."""
    try:
        names = [name for name in files.names(paths.import_dir) if not name.startswith(".")]
    except Storage as error:
        _log_once(state, "document_unreadable", paths.import_dir, code=str(error.code), detail=error.detail)
        names = []
    if len(names) > MAX_FILES:
        _log_once(state, "documents_left", paths.import_dir, max_files=MAX_FILES)
    return [paths.license, *(paths.import_dir / name for name in sorted(names)[:MAX_FILES])]


def _known(state: AgentState, digest: str) -> bool:
    """Tells whether it was met before.

    What still lies there is forgotten last, else an old license would be installed anew.
    """
    known = digest in state.adopted
    state.adopted = [*(kept for kept in state.adopted if kept != digest), digest]
    return known


def _log_once(state: AgentState, event: str, path: Path, **values: str | int) -> None:
    # Written as the state has always kept it, so that an upgrade logs nothing again.
    fault = f"{event} {path} {values}".encode("utf-8", "replace")
    if not _known(state, hashlib.sha256(fault).hexdigest()):
        log_event(event, level="warning", file=str(path), **values)
