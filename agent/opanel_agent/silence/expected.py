"""What a scenario may show, read from its folder as fetch and courier read it: every address, and every byte.

Only the first scenario asks the gate, because there the question is what this server's own word allows; for the others
the answer is the specification's, whatever the gate says.
"""

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from opanel_agent.core.consent.purposes import CONSENT_BASED, EVERY_GET, FIXED_GETS, Purpose, status_word
from opanel_agent.core.documents import bundle as bundle_document
from opanel_agent.core.documents import root as root_document
from opanel_agent.core.errors import AgentError, Misconfigured, Untrusted
from opanel_agent.core.values import replace
from opanel_agent.core.wire import endpoints
from opanel_agent.core.wire.message import Sealed
from opanel_agent.network import gate_inputs
from opanel_agent.silence import documented, namespace, server_copy, tls_greeting
from opanel_agent.silence.judge import CapturedRequest, Expected, Report, Scenario
from opanel_agent.silence.life import typist
from opanel_agent.system.consent.consent_store import LocalConsents
from opanel_agent.system.consent.opt_outs import LocalOptOuts
from opanel_agent.system.storage import resources, settings
from opanel_agent.system.storage.paths import Paths
from opanel_agent.system.storage.settings import Settings

LOCALHOST: Final = "localhost"
_LOOPBACK: Final = ("127.0.0.1", "::1")
_COMMANDED: Final = (Purpose.LICENSE_ACTIVATION.value, Purpose.DATA_RIGHTS.value)
# Asked for by a license whose end is near.
_RENEWAL: Final = frozenset({Purpose.LICENSE_RENEWAL.value})
_MAX_SENT_BYTES: Final = 1024 * 1024


class ScenarioFiles:
    """A scenario's folder. `hosts` and `ports` are all that the agent can be told to ask; `addresses` by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths = server_copy.paths_in(folder, os.geteuid(), system=True)
        self._settings, self._refused = self._read_settings()
        self._root = root_document.first((folder / server_copy.ROOT_FILE).read_bytes())
        destinations: list[str] = json.loads((folder / server_copy.DESTINATIONS).read_text("utf-8"))
        urls = [urlsplit(url) for url in destinations if endpoints.admissible(url)]
        self.hosts = frozenset(url.hostname or "" for url in urls) | {LOCALHOST}
        self.ports = frozenset(_port(url.scheme, url.port) for url in urls)
        self.addresses = namespace.documentation_addresses(
            host for host in self.hosts if host != LOCALHOST and not _is_literal(host)
        )

    def expected(self, scenario: Scenario, environ: Mapping[str, str], paths: Paths) -> Expected:
        """Returns what is expected; `paths` are those that the installed programs use."""
        return replace(
            self._expected(scenario, environ),
            greetings=frozenset(self._greetings()),
            places=frozenset({str(paths.socket)}),
            programs=frozenset({sys.executable, str(typist.entry() or sys.executable)}),
            shells=frozenset({typist.shell() or sys.executable}) if scenario is Scenario.COMMANDS else frozenset(),
        )

    def _expected(self, scenario: Scenario, environ: Mapping[str, str]) -> Expected:
        match scenario:
            case Scenario.AS_IT_STANDS:
                return self._as_it_stands(environ)
            case Scenario.OFFLINE:
                return Expected()
            case Scenario.DENIED:  # a renewal asks no consent
                return Expected(fixed=self._fixed(self._gets()), besides=_RENEWAL, must_speak=True)
            case Scenario.DO_NOT_TRACK:
                return Expected(fixed=self._fixed(self._gets()), must_speak=True)
            case Scenario.COMMANDS:
                purposes = frozenset({Purpose.USAGE_STATISTICS.value, *_COMMANDED})
                besides = _RENEWAL | {Purpose.CRASH_REPORTS.value}
                return Expected(fixed=self._fixed(self._gets()), purposes=purposes, besides=besides, must_speak=True)
            case Scenario.ALLOWED:
                purposes = frozenset(purpose.value for purpose in CONSENT_BASED)
                return Expected(fixed=self._fixed(self._gets()), purposes=purposes, besides=_RENEWAL, must_speak=True)

    def reports(self) -> Iterator[Report]:
        """Yields everything posted, as `sent/` keeps it, or kept it before a command removed it."""
        places = (self._folder / typist.SENT_ASIDE, self._paths.sent)
        files = {name: place / name for place in places for name in server_copy.FILES.names(place)}
        for name, file in files.items():
            if name.endswith(".request"):
                text = server_copy.FILES.read(file, max_bytes=_MAX_SENT_BYTES)
                sealed = Sealed.decode(text or b"")
                headers = dict(sealed.headers)
                data = documented.post(
                    sealed.url,
                    sealed.body,
                    accept=headers.get("Accept", ""),
                    content_type=headers.get("Content-Type", ""),
                )
                yield Report(purpose=sealed.purpose, requests=frozenset(self._requests(sealed.url, data)))

    def _gets(self) -> tuple[str, ...]:
        """Returns the words of every GET that this server's license needs."""
        installed = (server_copy.FILES.read(path, max_bytes=_MAX_SENT_BYTES) for path in self._licenses())
        text = next((text for text in installed if text is not None), None)
        try:
            held = None if text is None else bundle_document.verify(text, self._root, now=None)
        except Untrusted:  # of a newer root, or refused by the agent too
            held = None
        return tuple(dict.fromkeys((*FIXED_GETS, *map(status_word, bundle_document.shards(held, self._root)))))

    def _licenses(self) -> tuple[Path, Path]:
        return self._paths.bundle, self._paths.license

    def _read_settings(self) -> tuple[Settings, AgentError | None]:
        try:
            return settings.load(server_copy.FILES, self._paths), None
        except Misconfigured as refused:
            return Settings(), refused

    def _as_it_stands(self, environ: Mapping[str, str]) -> Expected:
        """Returns what the gate permits of this server's own word, before anything is collected."""
        sources = gate_inputs.GateSources(
            settings=self._settings,
            refused=self._refused,
            signals=LocalOptOuts(server_copy.FILES, self._paths, environ).read(),
            consent=LocalConsents(server_copy.FILES, self._paths).read(),
            notice=resources.installed_notice(),
            root=self._root,
        )
        allowed = {purpose for purpose in Purpose if sources.permits(purpose)}
        return Expected(
            fixed=self._fixed(word for word in self._gets() if EVERY_GET[word].purpose in allowed),
            purposes=frozenset(purpose.value for purpose in CONSENT_BASED if purpose in allowed),
            besides=_RENEWAL if Purpose.LICENSE_RENEWAL in allowed else frozenset(),
            may_fail=True,
        )

    def _fixed(self, words: Iterable[str]) -> tuple[frozenset[CapturedRequest], ...]:
        groups = []
        for word in words:
            places = gate_inputs.destinations(EVERY_GET[word].purpose, self._settings, self._root)
            groups.append(
                frozenset(each for place in places for each in self._requests(*documented.fixed_get(word, place)))
            )
        return tuple(group for group in groups if group)

    def _greetings(self) -> Iterator[tuple[str, int, bytes]]:
        """Yields what each host may be greeted with, at each of its addresses."""
        for host in self.hosts:
            shape = tls_greeting.reference(host)
            for address in self._addresses(host):
                yield from ((address, port, shape) for port in self.ports)

    def _addresses(self, host: str) -> tuple[str, ...]:
        return self.addresses.get(host, _LOOPBACK if host == LOCALHOST else (host,))

    def _requests(self, url: str, data: bytes) -> Iterator[CapturedRequest]:
        """Yields the same bytes at each address that the URL's host has here."""
        parts = urlsplit(url)
        for address in self._addresses(parts.hostname or ""):
            yield CapturedRequest(
                address=address, port=_port(parts.scheme, parts.port), data=data, tls=parts.scheme == "https"
            )


def _port(scheme: str, port: int | None) -> int:
    return port or (443 if scheme == "https" else 80)


def _is_literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            return bool(socket.inet_pton(family, host))
    return False
