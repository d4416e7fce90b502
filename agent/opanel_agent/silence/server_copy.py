"""A copy of what this server says, in a folder: settings, consent, opt-outs, license; and its variations.

`look` reads as the agent reads, by path and with the owner's eyes. What is refused here is refused in the copy, too: its
bytes go along in a file that anyone may write, which no owner's file may be. `lay_out` writes one scenario. In the first,
only that is changed without which nobody could listen: the certificate authority, the proxy, and where the root of trust
lies. All others begin with everything said as loudly as it can be (every consent given, nothing held, every check on, any
region), and then take one thing back.

The state is new in each: what an installation has learned is not copied, only given as answers where it can be read.
"""

import contextlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import tomli_w

from opanel_agent.core.codec import strict_toml
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.consent import consent_file
from opanel_agent.core.consent.purposes import CONSENT_BASED, EVERY_GET, FIXED_GETS, SHARDS, Purpose, status_word
from opanel_agent.core.consent.withdrawals import MAX_BYTES as MAX_WITHDRAWALS_BYTES
from opanel_agent.core.documents import root as root_document
from opanel_agent.core.documents.root import Destination, Root
from opanel_agent.core.errors import AgentError, Misconfigured, Untrusted
from opanel_agent.core.values import field, frozen, replace
from opanel_agent.silence.judge import Scenario
from opanel_agent.system.consent.consent_store import PUT_ASIDE
from opanel_agent.system.consent.opt_outs import MAX_BYTES as MAX_SIGNAL_BYTES
from opanel_agent.system.storage import settings as settings_file
from opanel_agent.system.storage import trust
from opanel_agent.system.storage.files import Files, LocalFiles, Syscalls
from opanel_agent.system.storage.paths import Paths
from opanel_agent.system.storage.resources import installed_notice
from opanel_agent.system.storage.settings import Settings

MAX_DOCUMENT_BYTES: Final = 1024 * 1024
NOBODYS: Final = 0o666  # refuses a file whatever it says
ROOT_FILE: Final = "root.jws"
CA_FILE: Final = "ca.pem"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
ANSWERS: Final = "answers"
KEPT: Final = "kept"
WITHDRAWALS: Final = "state-withdrawals"  # where `Paths` finds it beside "state"
DESTINATIONS: Final = "destinations.json"


class Unsynced(Syscalls):
    """Makes writes without fsync(2): a folder that is thrown away need not survive a power cut."""

    def fsync(self, fd: int) -> None:
        del fd

    def fsync_dir(self, directory: Path) -> None:
        del directory


FILES: Final = LocalFiles(Unsynced())


class NoRoot(Exception):
    """There is no root of trust here, so there is no place that this agent could ask."""


@frozen
class File:
    """`refused`: this server's agent would refuse it."""

    data: bytes
    refused: bool = False


@frozen
class Server:
    """What was read, by the place that it has in a scenario's folder.

    `answers` are this server's own kept documents by the path they are asked for, `left_out` what could not be copied.
    `kept` is what makes an activated license live: the bundle, and the key that signs its requests.
    """

    settings: Settings
    settings_file: File | None
    root: Root
    known_root: Root
    files: Mapping[str, File] = field(default_factory=dict)
    answers: Mapping[str, bytes] = field(default_factory=dict)
    kept: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    left_out: tuple[str, ...] = ()

    @property
    def destinations(self) -> tuple[str, ...]:
        """Base URLs of everything that this agent may ever ask."""
        named: list[Destination] = []
        for root in (self.root, self.known_root):
            named += [*root.mirrors, *(place for places in root.endpoints.values() for place in places)]
        return tuple(dict.fromkeys((*(place.url for place in named), *self.settings.mirrors)))


def look(files: Files, paths: Paths) -> Server:
    """Raises NoRoot."""
    text = _owned(files, paths, paths.settings, strict_toml.MAX_BYTES)
    left_out: list[str] = []
    try:
        settings = settings_file.load(files, paths)
    except Misconfigured:
        settings = Settings()
        text = None if text is None else replace(text, refused=True)
        left_out.append("settings_refused")
    try:
        root = trust.first_root(files, paths, settings)
    except AgentError as exc:
        raise NoRoot from exc
    found = dict(_signals(files, paths)) | dict(_consents(files, paths)) | dict(_withdrawals(files, paths))
    documents, unreadable = _documents(files, paths)
    left_out += ["license"] if unreadable else []
    left_out += ["proxy"] if settings.proxy is not None else []
    kept, unreadable = _kept(files, paths)
    left_out += ["activation"] if unreadable else []
    answers = dict(_answers(files, paths, root))
    left_out += ["answers"] if any(get.path not in answers for get in FIXED_GETS.values()) else []
    return Server(
        settings=settings,
        settings_file=text,
        root=root,
        known_root=_known_root(root, answers),
        files=found | documents,
        answers=answers,
        kept=kept,
        left_out=tuple(left_out),
    )


def paths_in(folder: Path, owner: int, *, system: bool) -> Paths:
    """Returns a scenario's folder as an installation."""
    return Paths(
        system=system,
        owner=owner,
        config_dir=folder / "config",
        state_dir=folder / "state",
        runtime_dir=folder / "run",
        courier_dir=folder / "courier",
        etc=folder / "etc",
    )


def lay_out(server: Server, scenario: Scenario, folder: Path) -> None:
    """Lays out everything that the scenario's agent will find. `folder` is new."""
    for name in ("config", "state", f"{WITHDRAWALS}/agent", "run", "etc", ANSWERS, KEPT):
        FILES.make_dir(folder / name)
    FILES.write(folder / ROOT_FILE, server.root.lines)
    FILES.write(folder / DESTINATIONS, dumps([*server.destinations]))
    for path, body in server.answers.items():
        FILES.write(folder / ANSWERS / path.rpartition("/")[2], body)
    for name, data in server.kept.items():
        FILES.write(folder / KEPT / name, data, mode=0o600)
    for place, file in _scenario_files(server, scenario, folder).items():
        target = folder / place
        FILES.make_dir(target.parent)
        FILES.write(target, file.data, mode=NOBODYS if file.refused else 0o600)


def _scenario_files(server: Server, scenario: Scenario, folder: Path) -> dict[str, File]:
    license_ = {
        name: file for name, file in server.files.items() if name.startswith(("config/license", "config/import"))
    }
    if scenario is Scenario.AS_IT_STANDS:
        return {**server.files, "config/agent.toml": _own_settings(server, folder)}
    files = {
        **license_,
        "config/agent.toml": _loud_settings(server, folder),
        "config/consent.toml": _consent(allow=True),
    }
    match scenario:
        case Scenario.OFFLINE:
            files["config/offline"] = File(data=b"")
        case Scenario.DENIED:
            files["config/consent.toml"] = _consent(allow=False)
        case Scenario.COMMANDS:
            files["config/consent.toml"] = _consent(allow=True, hold="72h", review=True)
        case Scenario.DO_NOT_TRACK:
            files["config/do-not-track"] = File(data=b"")
        case Scenario.ALLOWED:
            pass
    return files


def _own_settings(server: Server, folder: Path) -> File:
    if server.settings_file is not None and server.settings_file.refused:
        return server.settings_file
    settings = {} if server.settings_file is None else _table(server.settings_file.data)
    settings.pop("proxy", None)
    settings.pop("no_proxy", None)
    return _settings({**settings, **_places(folder)})


def _loud_settings(server: Server, folder: Path) -> File:
    return _settings({"mirrors": list(server.settings.mirrors), **_places(folder)})


def _settings(settings: dict[str, object]) -> File:
    return File(data=tomli_w.dumps({"schema": 1, **settings}).encode("utf-8"))


def _places(folder: Path) -> dict[str, object]:
    return {"ca_file": str(folder / CA_FILE), "trust_root": str(folder / ROOT_FILE)}


def _table(data: bytes) -> dict[str, object]:
    """Returns settings that were accepted: strict_toml has judged them."""
    return tomllib.loads(data.decode("utf-8"))


def _consent(*, allow: bool, hold: str = "0h", review: bool = False) -> File:
    content = consent_file.fresh(installed_notice(), dict.fromkeys(CONSENT_BASED, allow))
    purposes = content["purposes"]
    if isinstance(purposes, dict):
        purposes[Purpose.USAGE_STATISTICS.value]["hold"] = hold
        purposes[Purpose.CRASH_REPORTS.value]["review"] = review
    return File(data=tomli_w.dumps(content).encode("utf-8"))


# ---- reading


def _owned(files: Files, paths: Paths, path: Path, max_bytes: int) -> File | None:
    """Returns a file that counts only when it is the owner's. What is wrong with it is not looked at.

    It is refused there, too.
    """
    try:
        data = files.read(path, max_bytes=max_bytes, owners=paths.owners)
    except AgentError:
        return File(data=_readable(files, path, max_bytes) or b"", refused=True)
    return None if data is None else File(data=data)


def _readable(files: Files, path: Path, max_bytes: int) -> bytes | None:
    with contextlib.suppress(AgentError):
        return files.read(path, max_bytes=max_bytes, follow=True)
    return None


def _consents(files: Files, paths: Paths) -> Iterator[tuple[str, File]]:
    places = {paths.consent: "config/consent.toml"}
    try:
        names = [name for name in files.names(paths.consent_dir) if not re.fullmatch(PUT_ASIDE, name)]
    except AgentError:
        yield "config/consent.d/unlisted.toml", File(data=b"", refused=True)
        names = []
    places |= {paths.consent_dir / name: f"config/consent.d/{name}" for name in names}
    for path, place in places.items():
        file = _owned(files, paths, path, strict_toml.MAX_BYTES)
        if file is not None:
            yield place, file


def _withdrawals(files: Files, paths: Paths) -> Iterator[tuple[str, File]]:
    """Yields the records: the owner's counts only as the owner's.

    The agent's is its user's, and one that cannot be read is refused.
    """
    owner, agent = paths.withdrawals_of_owner, paths.withdrawals_of_agent
    file = _owned(files, paths, owner, MAX_WITHDRAWALS_BYTES)
    if file is not None:
        yield f"{WITHDRAWALS}/{owner.relative_to(paths.withdrawals)}", file
    if files.exists(agent):
        data = _readable(files, agent, MAX_WITHDRAWALS_BYTES) or b""
        yield f"{WITHDRAWALS}/{agent.relative_to(paths.withdrawals)}", File(data=data)


def _signals(files: Files, paths: Paths) -> Iterator[tuple[str, File]]:
    """Yields what can only narrow: whose it is does not matter, and what cannot be read is a signal there, too."""
    places = {
        paths.offline: "config/offline",
        paths.do_not_track: "config/do-not-track",
        paths.machine_do_not_track: "etc/do-not-track",
    }
    for path in paths.environment_files:
        places[path] = f"etc/{path.relative_to(paths.etc)}"
    try:
        names = [name for name in files.names(paths.environment_dir) if name.endswith(".conf")]
    except AgentError:
        yield "etc/environment.d/unlisted.conf", File(data=b"\0")
        names = []
    places |= {paths.environment_dir / name: f"etc/environment.d/{name}" for name in names}
    for path, place in places.items():
        if files.exists(path):
            yield place, File(data=_narrowing(_readable(files, path, MAX_SIGNAL_BYTES)))


def _narrowing(data: bytes | None) -> bytes:
    """Returns the lines that can be a signal, and no other: an environment file may hold other programs' secrets."""
    if data is None or b"\0" in data:
        return b"\0"
    return b"".join(line + b"\n" for line in _LINE_END.split(data) if b"DO_NOT_TRACK" in line)


def _documents(files: Files, paths: Paths) -> tuple[dict[str, File], bool]:
    """Returns the license and what was put beside it, and whether anything of it may not be read by this user."""
    found: dict[str, File] = {}
    unreadable = False
    try:
        names = files.names(paths.import_dir)
    except AgentError:
        names, unreadable = (), True
    places = {paths.license: "config/license.jws"}
    places |= {paths.import_dir / name: f"config/import.d/{name}" for name in names}
    for path, place in places.items():
        if not files.exists(path):
            continue
        data = _readable(files, path, MAX_DOCUMENT_BYTES)
        unreadable = unreadable or data is None
        if data is not None:
            found[place] = File(data=data)
    return found, unreadable


def _kept(files: Files, paths: Paths) -> tuple[dict[str, bytes], bool]:
    """Returns the installed bundle and the key, and whether this user may not read one of them."""
    found: dict[str, bytes] = {}
    for path in (paths.bundle, paths.activation_key):
        data = _readable(files, path, MAX_DOCUMENT_BYTES)
        if data is not None:
            found[path.name] = data
        elif files.exists(path):
            return {}, True
    return found, False


def _answers(files: Files, paths: Paths, root: Root) -> Iterator[tuple[str, bytes]]:
    """Yields what this server was answered last, where this user may read it.

    The roots at least as far as they are known.
    """
    lists = {status_word(shard): paths.status_shard(shard) for shard in range(SHARDS)}
    kept = {"roots": paths.roots, **lists, "advisories": paths.advisories}
    for word, path in kept.items():
        data = _readable(files, path, MAX_DOCUMENT_BYTES)
        if data is None and word == "roots":
            data = root.lines
        if data is not None:
            yield EVERY_GET[word].path, data


def _known_root(root: Root, answers: Mapping[str, bytes]) -> Root:
    try:
        return root_document.walk(root, answers[FIXED_GETS["roots"].path])
    except Untrusted:
        return root
