"""Verifies a release manifest: what the vendor published as one version, file by file.

As a root, a manifest is several lines with byte-identical payload segments, one
signature each; the root's role `release` names the keys and how many of them
must sign (TUF specification section 4.4, a targets role with a threshold). It
names the published artifacts by their digests and, for each layout in which
they install, the digest of every file of code. The manifest inside of an
artifact cannot name that artifact; `artifacts` is empty there. An environment
with a Python of its own, of some 2,000 files, is named once for all layouts
that have it.

Left out: expiry, since an installed release does not cease to be what was
published; that a release is the newest (the package manager's and the
advisories' business); and looking at files (`system.storage.installed_code`).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from opanel_agent.core.codec.reader import NAME, Members
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.documents.claims import SHA256_HEX, URI
from opanel_agent.core.documents.root import RELEASE, Root, threshold_met
from opanel_agent.core.errors import Misconfigured, Untrusted
from opanel_agent.core.jose.jws import Envelope, Typ, parse
from opanel_agent.core.values import frozen

MAX_LINE_BYTES: Final = 1024 * 1024
MAX_BYTES: Final = 4 * 1024 * 1024
MODULES: Final = "modules"
"""The first part of a path below the folder that the package lies in, whatever that folder is called."""
ENVIRONMENT: Final = "env"
"""The first part of a path below the environment that these modules lie in, three folders above theirs."""
_MAX_LINES: Final = 16
_MAX_ARTIFACTS: Final = 64
_MAX_LAYOUTS: Final = 8
_MAX_FILES: Final = 16_384
_MAX_FOLDERS: Final = 16
_PART: Final = r"(?!\.\.?(?:/|$))[A-Za-z0-9@._+-]{1,128}"
_PATH: Final = rf"(?:{MODULES}|{ENVIRONMENT}|/{_PART})(?:/{_PART}){{0,16}}"
_TARGET: Final = r"[A-Za-z0-9@._+/-]{1,256}"
_VERSION: Final = r"[0-9]{1,4}(?:\.[0-9]{1,4}){1,3}"
_NOTICE: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_INSIDE: Final = rf"{ENVIRONMENT}(?:/{_PART}){{1,16}}"
_LISTED: Final = (("files", SHA256_HEX), ("links", _TARGET))
_OWN: Final = "environment"
_NO_ENVIRONMENT: Final[tuple[Mapping[str, str], ...]] = ({}, {})
_INTERPRETER: Final = r"/bin/python3\.[0-9]+\Z"
_FILE_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}"


@frozen
class Wheels:
    """Names where an installation keeps the wheels of its libraries, and the lock that pins them.

    Their own contents are the digests of what they install: the lock is a file
    of the layout, it pins each wheel by its digest, and a wheel holds its
    files.
    """

    folder: str
    lock: str


@frozen
class InstallLayout:
    """Holds what one way of installing lays.

    - `place`: what the real path of the folder of modules begins with; by that
      an installation knows its layout.
    - `folders`: in which every file is the release's, so that one more is a
      difference.
    - `files`: SHA-256 in hex by path; `links`: the target by path. A path is
      absolute, or begins with `modules/` or `env/`. Where `env` is one of the
      folders, what the release's own environment holds is among them.
    - `wheels`: None where the libraries are no part of the release.
    """

    place: str
    folders: tuple[str, ...]
    files: Mapping[str, str]
    links: Mapping[str, str]
    wheels: Wheels | None

    @property
    def carries_interpreter(self) -> bool:
        """Returns whether the interpreter is one of its files, and with it the standard library and all libraries."""
        return any(re.search(_INTERPRETER, path) is not None for path in self.files)


@frozen
class Manifest:
    """Holds a verified release manifest. Times in seconds since 1970.

    - `iss`: the root's subject; `iat`: when the source was made.
    - `version`: of the agent; `notice`: the privacy notice that it carries.
    - `systemd`: the oldest version that its units are written for.
    - `artifacts`: SHA-256 in hex by file name; `layouts` by name.
    - `signatures`: how many distinct keys of the role signed.
    """

    iss: str
    iat: int
    version: str
    notice: str
    systemd: int
    artifacts: Mapping[str, str]
    layouts: Mapping[str, InstallLayout]
    signatures: int


def verify(text: bytes, root: Root) -> Manifest:
    """Returns the manifest if the root's threshold of release keys signed it and its issuer is the root's.

    Raises Misconfigured (`release_role_absent`) under a root that has no such
    role; Untrusted: `release_lines`, `release_payloads`, `release_threshold`,
    `release_iss`, and what the envelope and the claims are refused for. At most
    MAX_BYTES and 16 lines.
    """
    envelopes = _envelopes(text)
    keys = root.keys_of(RELEASE)
    if not keys:
        raise Misconfigured(Fault.NO_RELEASE, "release_role_absent", seq=root.seq)
    if not threshold_met(envelopes, keys.values(), root.release_threshold):
        raise Untrusted(Reason.SIGNATURE_INVALID, "release_threshold", threshold=root.release_threshold)
    return _read(envelopes, root)


def unverified(text: bytes, root: Root) -> Manifest:
    """Returns what a manifest says before enough keys signed it: for who signs next.

    Raises as `verify` does, but for the role and the threshold.
    """
    return _read(_envelopes(text), root)


def _envelopes(text: bytes) -> Sequence[Envelope]:
    if len(text) > MAX_BYTES:
        raise Untrusted(Reason.FORMAT_INVALID, "jws_size", max_bytes=MAX_BYTES)
    lines = text.removesuffix(b"\n").split(b"\n")
    if len(lines) > _MAX_LINES:
        raise Untrusted(Reason.FORMAT_INVALID, "release_lines", max_lines=_MAX_LINES)
    envelopes = [parse(line, max_bytes=MAX_LINE_BYTES) for line in lines]
    if any(envelope.typ != Typ.RELEASE for envelope in envelopes):
        raise Untrusted(Reason.FORMAT_INVALID, "jws_typ", where="release")
    if any(envelope.payload != envelopes[0].payload for envelope in envelopes):
        raise Untrusted(Reason.FORMAT_INVALID, "release_payloads")
    return envelopes


def _read(envelopes: Sequence[Envelope], root: Root) -> Manifest:
    claims = envelopes[0].unverified(Typ.RELEASE)
    layouts = claims.members("layouts")
    environment = _environment(claims.members(_OWN)) if claims.has(_OWN) else _NO_ENVIRONMENT
    manifest = Manifest(
        iss=claims.text("iss", pattern=URI),
        iat=claims.integer("iat"),
        version=claims.text("version", pattern=_VERSION),
        notice=claims.text("notice", pattern=_NOTICE),
        systemd=claims.integer("systemd", low=1, high=9999),
        artifacts=_texts(claims, "artifacts", _MAX_ARTIFACTS, (_FILE_NAME, SHA256_HEX)),
        layouts={name: _layout(layouts.members(name), environment) for name in _names(layouts, _MAX_LAYOUTS, NAME)},
        signatures=_signatures(envelopes, root),
    )
    claims.end()
    if manifest.iss != root.sub:
        raise Untrusted(Reason.CHAIN_INVALID, "release_iss")
    return manifest


def _signatures(envelopes: Sequence[Envelope], root: Root) -> int:
    keys = root.keys_of(RELEASE)
    return len({each.kid for each in envelopes if each.kid in keys and each.signed_by(keys[each.kid])})


def _environment(members: Members) -> tuple[Mapping[str, str], ...]:
    """Returns the files and the links of an environment with a Python of its own."""
    found = tuple(_texts(members, name, _MAX_FILES, (_INSIDE, text)) for name, text in _LISTED)
    members.end()
    return found


def _layout(members: Members, environment: tuple[Mapping[str, str], ...]) -> InstallLayout:
    wheels = members.members("wheels") if members.has("wheels") else None
    folders = tuple(sorted(members.texts("folders", max_items=_MAX_FOLDERS, pattern=_PATH)))
    shared = environment if ENVIRONMENT in folders else _NO_ENVIRONMENT
    own = tuple(_texts(members, name, _MAX_FILES, (_PATH, text)) for name, text in _LISTED)
    files, links = ({**ours, **theirs} for ours, theirs in zip(shared, own, strict=True))
    layout = InstallLayout(
        place=members.text("place", pattern=_PATH),
        folders=folders,
        files=files,
        links=links,
        wheels=None if wheels is None else _wheels(wheels),
    )
    members.end()
    if layout.files.keys() & layout.links.keys():
        raise members.refuse("links")
    if layout.wheels is not None and layout.wheels.lock not in layout.files:
        raise members.refuse("wheels")
    return layout


def _wheels(members: Members) -> Wheels:
    wheels = Wheels(folder=members.text("folder", pattern=_PATH), lock=members.text("lock", pattern=_PATH))
    members.end()
    return wheels


def _texts(members: Members, name: str, most: int, patterns: tuple[str, str]) -> Mapping[str, str]:
    """Returns an object of at most `most` members; `patterns` are those of its names and of its values."""
    inner = members.members(name)
    of_name, of_value = patterns
    texts = {each: inner.text(each, pattern=of_value) for each in _names(inner, most, of_name)}
    inner.end()
    return texts


def _names(members: Members, most: int, pattern: str) -> tuple[str, ...]:
    """Returns the names of an object whose names are data.

    Raises Untrusted for too many, and for one that `pattern` does not match.
    """
    names = members.names()
    if len(names) > most:
        raise members.refuse(names[most])
    for each in names:
        if re.fullmatch(pattern, each) is None:
            raise members.refuse(each)
    return names
