"""A signed document in an administrator's hand: told apart by content, verified offline, put where the agent finds it.

What is verified here is verified again, from bytes, by whoever adopts it; this is so that a mistake is seen at once, by the
person who can cure it. Where the daemon runs, it judges alone.
"""

import hashlib
from pathlib import Path
from typing import Final

from opanel_agent.cli import config_folder
from opanel_agent.cli.context import Context
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.documents import activation, bundle, root, status_list
from opanel_agent.core.documents.root import Root
from opanel_agent.core.documents.unwrap import unwrap
from opanel_agent.core.errors import Misconfigured, Storage, Untrusted
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Typ
from opanel_agent.system.storage import trust

MAX_BYTES: Final = 512 * 1024
FILE_MODE: Final = 0o640  # a bundle holds the license key


def read(world: Context, name: str) -> bytes:
    """Returns a file's bytes, or stdin's for `-`.

    Raises Untrusted for what can be no document: too large, or no regular file.
    """
    if name == "-":
        data = world.read_stdin(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise Untrusted(Reason.FORMAT_INVALID, "jws_size", max_bytes=MAX_BYTES)
        return _unwrapped(world, data)
    try:
        found = world.files.read(Path(name), max_bytes=MAX_BYTES, follow=True)
    except Misconfigured as refused:
        raise Untrusted(refused.code, refused.detail, **refused.values) from refused
    if found is None:
        raise Storage(Fault.IO_FAILED, "file_absent", file=name)
    return _unwrapped(world, found)


def _unwrapped(world: Context, data: bytes) -> bytes:
    """Returns the text without the white space of mail programs and editors; says so where there was any."""
    bare = unwrap(data)
    if bare in (data, data + b"\n"):
        return data
    world.note("document.unwrapped")
    return bare


def trusted_root(world: Context) -> Root:
    """Returns the newest root that this user may read the way to: the state's for its owner, else the first."""
    first = trust.first_root(world.files, world.paths, world.settings())
    return trust.newest_root(world.files, world.paths, first) if world.euid in (0, world.paths.owner) else first


def kind(data: bytes) -> str:
    """Returns the `typ` of the first line. Raises Untrusted where there is none."""
    first_line = data.strip().split(b"\n", 1)[0].strip()
    return jws.parse(first_line, max_bytes=MAX_BYTES).typ


def verify(data: bytes, trusted: Root, now_s: int) -> dict[str, Json]:
    """Returns the claims of a document, verified under the root. `now_s` is the wall clock. Raises Untrusted."""
    typ = kind(data)
    match typ:
        case Typ.DELEGATION | Typ.LICENSE:  # a license alone lacks the line above it, and is told so
            return {"typ": typ} | _bundle(bundle.verify(data, trusted, now=now_s))
        case Typ.ACTIVATION:
            found = activation.read(jws.parse(data.strip(), max_bytes=MAX_BYTES), trusted.keys_of("activation"))
            return {"typ": typ, "jti": found.jti, "exp": found.exp}
        case Typ.STATUS_LIST:
            listed = status_list.accept(data.strip(), trusted, floor={}, now=now_s)
            return {"typ": typ, "iat": listed.iat, "exp": listed.exp}
        case Typ.ROOT:
            newest = root.walk(trusted, data)
            return {"typ": typ, "name": newest.sub, "seq": newest.seq, "exp": newest.exp}
        case _:
            raise Untrusted(Reason.FORMAT_INVALID, "document_kind", typ=typ[:64])


def put(world: Context, data: bytes) -> Path:
    """Puts a verified document into the administrator's folder, durably; the agent adopts it at its next evaluation."""
    world.need_owner()
    paths = world.paths
    if kind(data) == Typ.DELEGATION:
        path = paths.license
    else:
        path = paths.import_dir / f"{hashlib.sha256(data).hexdigest()[:16]}.jws"
    with config_folder.changing(world, path.parent):
        world.files.write(path, data, mode=FILE_MODE)
    return path


def _bundle(found: bundle.Bundle) -> dict[str, Json]:
    license_ = found.license
    return {
        "license": license_.jti,
        "reseller": license_.reseller.name,
        "product": license_.product,
        "tier": license_.tier,
        "nbf": license_.nbf,
        "exp": license_.exp,
        "features": [*sorted(license_.features)],
        "limits": dict(license_.limits),
        "activated": found.activation is not None,
        "status_lists": [*sorted({entry.uri for entry in found.entries})],
    }
