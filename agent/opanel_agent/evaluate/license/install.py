"""Documents into the state: each verified whole from its bytes, written durably, and only then counted.

A refused document never replaces a good one. A document put there by hand (a command of root's, a file of root's) may go
back to an older bundle; one that came over the network may not.
"""

import hashlib
from pathlib import Path
from typing import Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.documents import bundle as bundle_document
from opanel_agent.core.documents import jws
from opanel_agent.core.documents import root as root_document
from opanel_agent.core.documents import status_list as status_document
from opanel_agent.core.documents.activation import Activation
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.jws import Typ
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.errors import Misconfigured, Storage, Untrusted
from opanel_agent.core.license import binding, effective_time, license_key, renewal, status_history
from opanel_agent.evaluate.consent import rights
from opanel_agent.evaluate.context import MAX_STATUS_BYTES, PassContext, load_bundle, load_status
from opanel_agent.evaluate.license import agent_key
from opanel_agent.evaluate.reporting import advisories
from opanel_agent.evaluate.state import MAX_DIGESTS
from opanel_agent.system.log import log_event

MAX_DOCUMENT_BYTES: Final = MAX_STATUS_BYTES
MAX_FILES: Final = MAX_DIGESTS // 2  # in import.d: each is remembered, and what is wrong with it


def document(context: PassContext, data: bytes, *, only_newer: bool = False) -> str:
    """Any signed document, told apart by its first line's `typ`. Returns that typ. Raises Untrusted.

    `only_newer`: of a license and an activation, one that is not newer than what is kept is refused. Lists, roots and
    advisories never go back anyway.
    """
    first_line = data.strip().split(b"\n", 1)[0].strip()
    typ = jws.parse(first_line, max_bytes=MAX_DOCUMENT_BYTES).typ
    match typ:
        case Typ.DELEGATION:
            bundle(context, data, only_newer=only_newer)
        case Typ.ACTIVATION:
            activation(context, data, only_newer=only_newer)
        case Typ.STATUS_LIST:
            status(context, data.strip())
        case Typ.ROOT:
            roots(context, data)
        case Typ.ADVISORY:
            advisories.adopt(context, data)
        case Typ.RECEIPT:
            rights.answered(context, data)
        case _:
            raise Untrusted(Reason.FORMAT_INVALID, "document_kind", typ=str(typ)[:64])
    return str(typ)


def bundle(context: PassContext, text: bytes, *, only_newer: bool = False) -> None:
    """A license, put here by hand: older ones too, unless `only_newer`."""
    new = bundle_document.verify(text, context.root, now=context.now)
    if only_newer:
        _require_newer(context, new)
    _keep(context, _with_known_activation(context, new))


def exchanged(context: PassContext, text: bytes, *, key_sha256: str) -> None:
    """A bundle that a license key was exchanged for: it must be that key's, and no older edition of what is kept."""
    new = bundle_document.verify(text, context.root, now=context.now)
    if license_key.digest(new.license.sub) != key_sha256:
        raise Untrusted(Reason.PRODUCT_MISMATCH, "bundle_other_key")
    held = context.bundle
    if held is not None and held.license.sub == new.license.sub and new.license.iat < held.license.iat:
        raise Untrusted(Reason.CHAIN_INVALID, "bundle_older")
    _keep(context, _with_known_activation(context, new))


def renewed(context: PassContext, text: bytes) -> None:
    """A newer edition of the installed license, for a request of ours that was pending.

    Raises NotYet where there is none yet, Untrusted for what is none, and where the activation would be lost by it: what
    was asked for to go on as before must not take anything away.
    """
    if context.bundle is None:
        raise Untrusted(Reason.NO_LICENSE, "license_needed")
    new = bundle_document.verify(text, context.root, now=context.now)
    renewal.require_renewal(context.bundle.license, new.license, context.now)
    if new.activation is not None and not _is_ours(context, new.activation):
        new = bundle_document.verify(b"\n".join([*_rows(new)[:-1], b""]), context.root, now=context.now)
    new = _with_known_activation(context, new)
    if new.activation is None and new.license.activation.required:
        raise Untrusted(Reason.MACHINE_MISMATCH, "renewal_without_activation")
    _keep(context, new)


def _is_ours(context: PassContext, found: Activation) -> bool:
    key = agent_key.load(context.world.files, context.world.paths)
    return key is not None and key.public.kid == found.jkt and binding.match(found.bind, context.components).ok


def activation(context: PassContext, token: bytes, *, only_newer: bool = False) -> None:
    """An activation of the installed license, for this very machine."""
    if context.bundle is None:
        raise Untrusted(Reason.NO_LICENSE, "activation_without_license")
    rows = _rows(context.bundle)
    kept = rows if context.bundle.activation is None else rows[:-1]
    new = bundle_document.verify(b"\n".join([*kept, token.strip(), b""]), context.root, now=context.now)
    if new.activation is None or not binding.match(new.activation.bind, context.components).ok:
        raise Untrusted(Reason.MACHINE_MISMATCH, "activation_elsewhere")
    key = agent_key.load(context.world.files, context.world.paths)
    if key is None or key.public.kid != new.activation.jkt:
        raise Untrusted(Reason.MACHINE_MISMATCH, "activation_other_key")
    if only_newer:
        _require_newer(context, new)
    # A request of before: sent now, it would be answered for an activation that is no more.
    context.outbox.drop(RequestKind.ACTIVATION, RequestKind.RELEASE)
    _keep(context, new)
    context.memory.unmatched_since = None


def status(context: PassContext, token: bytes) -> None:
    """A status list: newer than any before it from the same key, whole, unexpired."""
    new = status_document.accept(token, context.root, floor=_floors(context), now=context.now)
    context.world.files.write(context.world.paths.status_list, token)
    alive = context.root.keys_of("status")
    context.memory.floors = {kid: iat for kid, iat in context.memory.floors.items() if kid in alive}
    context.memory.floors[new.kid] = max(new.iat, context.memory.floors.get(new.kid, 0))
    context.status = new
    context.memory.list_iat = new.iat
    context.mark = effective_time.lift(context.mark, new.kid, new.iat, context.reading)
    sight(context)


def _floors(context: PassContext) -> dict[str, int]:
    """What the memory says, and what the list at hand proves: a crash may have come before the memory was written."""
    held, floors = context.status, context.memory.floors
    return floors if held is None else {**floors, held.kid: max(held.iat, floors.get(held.kid, 0))}


def roots(context: PassContext, text: bytes) -> None:
    """Every root since the first, walked one by one. Fewer than are known change nothing."""
    newest = root_document.walk(context.first_root, text)
    if newest.seq <= context.root.seq:
        return
    context.world.files.write(context.world.paths.roots, text)
    context.trust(newest)
    context.mark = effective_time.lift(context.mark, newest.keys["root"][0].kid, newest.iat, context.reading)
    load_bundle(context)
    load_status(context)


def forget(context: PassContext) -> None:
    """`license remove`: both bundles go, durably, the older first so that a crash between leaves the newer.

    When the license was accepted and what was seen of its status stay: to remove and install again begins no count anew.
    """
    for path in (context.world.paths.previous_bundle, context.world.paths.bundle):
        context.world.files.remove(path)
    context.bundle, context.bundle_refused = None, None
    context.memory.refused_since = None
    context.memory.seen = status_history.mark_removed(context.memory.seen)


def files_of_root(context: PassContext) -> None:
    """What lies in the configuration folder, each once per digest; the files stay.

    Where it is no longer known which were taken up before (`Desk.forgetful`), most were: the license that was installed
    first still lies there when a newer one came by another way. Then only what is newer than what is kept counts.

    One that does not count (whose it is, what it is, what it says) is said once, and keeps nothing else from being done.
    """
    for path in _lying_there(context):
        try:
            data = context.world.files.read(path, max_bytes=MAX_DOCUMENT_BYTES, owners=context.world.paths.owners)
        except (Misconfigured, Storage) as error:
            _say_once(context, "document_unreadable", path, code=str(error.code), detail=error.detail)
            continue
        if data is None or _known(context, hashlib.sha256(data).hexdigest()):
            continue
        try:
            log_event("document_adopted", file=str(path), typ=document(context, data, only_newer=context.forgetful))
        except Untrusted as refused:
            log_event("document_refused", file=str(path), code=str(refused.code), detail=refused.detail)


def _known(context: PassContext, digest: str) -> bool:
    """Whether it was met before. What still lies there is forgotten last, else an old license would be taken up anew."""
    known = digest in context.memory.adopted
    context.memory.adopted = [*(each for each in context.memory.adopted if each != digest), digest]
    return known


def _say_once(context: PassContext, event: str, path: Path, **said: str | int) -> None:
    what = f"{event} {path} {said}".encode("utf-8", "replace")
    if not _known(context, hashlib.sha256(what).hexdigest()):
        log_event(event, level="warning", file=str(path), **said)


def sight(context: PassContext) -> None:
    """What the held list says of the installed documents, and of all that were ever seen bad."""
    if context.bundle is not None:
        context.memory.seen = status_history.mark_installed(context.memory.seen, context.bundle)
    if context.status is not None:
        context.memory.seen = status_history.record_list(
            context.memory.seen, context.bundle, context.status, context.now
        )


def _keep(context: PassContext, new: Bundle) -> None:
    """The previous good one first, then the new one: at every moment a good bundle is readable."""
    files, paths = context.world.files, context.world.paths
    old = context.bundle
    if old is not None and old.text != new.text:
        files.write(paths.previous_bundle, old.text)
    files.write(paths.bundle, new.text)
    context.memory.accept(license_key.digest(new.license.sub), context.now)
    if old is None or old.license.sub != new.license.sub:
        context.memory.unmatched_since = None
    context.bundle, context.bundle_refused = new, None
    context.memory.refused_since = None
    sight(context)


def _require_newer(context: PassContext, new: Bundle) -> None:
    """A license by its date; one that is kept already by its activation's."""
    held = context.bundle
    if held is None or new.license.iat > held.license.iat:
        return
    if new.license.digest != held.license.digest or _activated_at(new) <= _activated_at(held):
        raise Untrusted(Reason.CHAIN_INVALID, "bundle_older")


def _activated_at(held: Bundle) -> int:
    return 0 if held.activation is None else held.activation.iat


def _with_known_activation(context: PassContext, new: Bundle) -> Bundle:
    """A renewal keeps `sub`, so the activation at hand stays good: it goes along where the new bundle has none."""
    old = context.bundle
    if new.activation is not None or old is None or old.activation is None or old.license.sub != new.license.sub:
        return new
    try:
        return bundle_document.verify(b"\n".join([*_rows(new), _rows(old)[-1], b""]), context.root, now=context.now)
    except Untrusted:  # it ends before the new license does: activate again
        return new


def _rows(held: Bundle) -> list[bytes]:
    """A bundle's lines: delegations, the license, and last the activation where there is one."""
    return held.text.removesuffix(b"\n").split(b"\n")


def _lying_there(context: PassContext) -> list[Path]:
    """As many as the memory can tell apart; the rest wait until some are taken away."""
    paths = context.world.paths
    try:
        names = [name for name in context.world.files.names(paths.import_dir) if not name.startswith(".")]
    except Storage as error:
        _say_once(context, "document_unreadable", paths.import_dir, code=str(error.code), detail=error.detail)
        names = []
    if len(names) > MAX_FILES:
        _say_once(context, "documents_left", paths.import_dir, max_files=MAX_FILES)
    return [paths.license, *(paths.import_dir / name for name in sorted(names)[:MAX_FILES])]
