"""Checks owner and mode of every path of docs/ARCHITECTURE.md, "On disk", for `doctor`.

In a system installation root owns what the administrator writes, the agent's user what the agent writes, and the processes
that reach the network, under a user of their own, must be able to read settings and consent as well. In a user installation
all of it is one user's. Existence alone is the word of an opt-out, so nothing is asked of those files.
"""

import os
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.purposes import SHARDS
from opanel_agent.core.diagnosis import PathFacts, Rule
from opanel_agent.core.errors import Storage
from opanel_agent.core.values import frozen, replace
from opanel_agent.system.storage import installation
from opanel_agent.system.storage.file_facts import FileInspector
from opanel_agent.system.storage.paths import Paths
from opanel_agent.system.storage.settings import Settings

AGENT: Final = "opanel-agent"
COURIER: Final = "opanel-courier"
INSTALLER_PLACE: Final = Path("/opt/opanel-agent")
PACKAGE_PLACE: Final = Path("/usr/lib/opanel-agent")
MAX_DEPTH: Final = 3
Readers = Mapping[str, tuple[int, frozenset[int]]]


@frozen
class OwnershipCheck:
    """What was seen, each by its rule. `denied`: there was more that this user may not look at."""

    seen: tuple[tuple[Rule, PathFacts], ...]
    denied: bool


@frozen
class _Users:
    """`admin` writes the settings, `agent` the state; `both` and `alone` must be able to read what the former wrote."""

    admin: int
    agent: int
    agent_name: str
    admin_name: str
    both: Readers
    alone: Readers


def check_ownership(paths: Paths, settings: Settings | None, inspection: FileInspector) -> OwnershipCheck:
    """Returns every path that was seen, each with its rule. Raises Storage where the disk fails; what is denied is noted."""
    users = _users(paths, inspection)
    seen: list[tuple[Rule, PathFacts]] = []
    denied = False
    pending = deque((*_administrators(paths, settings, users), *_agents(paths, users)))
    while pending:
        rule, inside = pending.popleft()
        try:
            found = inspection.look(Path(rule.path))
            if found is None:
                continue
            seen.append((_as_it_is(rule, found), found))
            if inside and found.kind == "folder":
                pending += [(each, inside - 1) for each in _within(rule, inspection)]
        except Storage as storage:
            if storage.code is not Fault.NO_PERMISSION:
                raise
            denied = True
    return OwnershipCheck(seen=tuple(seen), denied=denied)


def _as_it_is(rule: Rule, found: PathFacts) -> Rule:
    """Returns the rule for what is there: inside of a folder, a file or a folder is right; anything else is not."""
    if rule.kind:
        return rule
    return replace(rule, kind="folder" if found.kind == "folder" else "file")


def _within(rule: Rule, inspection: FileInspector) -> Iterator[Rule]:
    for name in inspection.names(Path(rule.path)):
        label = f"{rule.label}/{name if name in OWN_NAMES else '*'}"
        yield replace(rule, path=str(Path(rule.path) / name), label=label, kind="")


def _users(paths: Paths, inspection: FileInspector) -> _Users:
    agent, courier = (inspection.user(name) if paths.system else None for name in (AGENT, COURIER))
    found = {name: who for name, who in ((AGENT, agent), (COURIER, courier)) if who is not None}
    return _Users(
        admin=paths.owner,
        agent=paths.owner if agent is None else agent[0],
        admin_name="root" if paths.system else str(paths.owner),
        agent_name=AGENT if agent is not None else str(paths.owner),
        both=found,
        alone={name: who for name, who in found.items() if name == AGENT},
    )


Ruled = tuple[Rule, int]


def program_place(code: str = installation.CODE) -> Path:
    """Returns the folder that holds all of a system installation's program."""
    return PACKAGE_PLACE if Path(os.path.realpath(code)).is_relative_to(PACKAGE_PLACE) else INSTALLER_PLACE


def _administrators(paths: Paths, settings: Settings | None, users: _Users) -> Iterator[Ruled]:
    def rule(path: Path, label: str, kind: str, *, readers: Readers = users.both, inside: int = 0) -> Ruled:
        uids = frozenset({users.admin, 0})
        made = Rule(
            path=str(path),
            label=label,
            kind=kind,
            uids=uids,
            owner=users.admin_name,
            modes=0o2755 if paths.system else 0o7755,
            readers=readers,
        )
        return made, inside

    if paths.system:
        yield rule(program_place(), "code", "folder")
    yield rule(paths.config_dir, "config", "folder")
    yield rule(paths.settings, "config/agent.toml", "file")
    yield rule(paths.consent, "config/consent.toml", "file")
    yield rule(paths.consent_dir, "config/consent.d", "folder", inside=1)
    yield rule(paths.license, "config/license.jws", "file", readers=users.alone)
    yield rule(paths.import_dir, "config/import.d", "folder", readers=users.alone, inside=1)
    yield rule(paths.withdrawals, "withdrawals", "folder")
    yield rule(paths.withdrawals_of_owner, "withdrawals/owner.json", "file")
    if settings is not None and settings.trust_root is not None:
        yield rule(settings.trust_root, "trust_root", "file")
    if settings is not None and settings.ca_file is not None:  # it is opened by its name, through links
        yield rule(Path(os.path.realpath(settings.ca_file)), "ca_file", "file")


def _agents(paths: Paths, users: _Users) -> Iterator[Ruled]:
    def rule(
        path: Path, label: str, kind: str, modes: int, *, readers: Readers | None = None, inside: int = 0
    ) -> Ruled:
        made = Rule(
            path=str(path),
            label=label,
            kind=kind,
            uids=frozenset({users.agent}),
            owner=users.agent_name,
            modes=modes,
            readers=readers or {},
        )
        return made, inside

    own: Readers = {users.agent_name: (users.agent, frozenset())}
    yield rule(paths.state_dir, "state", "folder", 0o2700, readers=own, inside=MAX_DEPTH)
    yield rule(paths.withdrawals_of_agent.parent, "withdrawals/agent", "folder", 0o755, readers=own, inside=1)
    yield rule(paths.runtime_dir, "runtime", "folder", 0o2750 if paths.system else 0o7755)
    yield rule(paths.socket, "runtime/agent.sock", "socket", 0o660)
    yield rule(paths.answer, "runtime/answer.json", "file", 0o640)
    yield rule(paths.daemon_lock, "runtime/daemon.lock", "file", 0o600)
    if paths.system:
        yield rule(paths.courier_dir, "courier", "folder", 0o700)
        yield rule(paths.fetch_socket, "courier/fetch.sock", "socket", 0o600)
        yield rule(paths.courier_socket, "courier/courier.sock", "socket", 0o600)


# Names that this code gave: the others may say something about the server.
_NAMED: Final = Paths(system=True, owner=0, config_dir=Path("c"), state_dir=Path("s"), runtime_dir=Path("r"))
OWN_NAMES: Final = frozenset(
    {
        *(
            _NAMED.bundle.name,
            _NAMED.previous_bundle.name,
            _NAMED.next_bundle.name,
            _NAMED.roots.name,
            *(_NAMED.status_shard(shard).name for shard in range(SHARDS)),
        ),
        *(_NAMED.advisories.name, _NAMED.state.name, _NAMED.schedule.name, _NAMED.clock.name, _NAMED.lock.name),
        *(_NAMED.activation_key.name, _NAMED.last_settings.name, _NAMED.last_license.name),
        *(_NAMED.ledger.name, _NAMED.export.name),
        *(_NAMED.held.name, _NAMED.sent.name, _NAMED.receipts.name, _NAMED.erasure.name, _NAMED.ready.name),
    }
)
