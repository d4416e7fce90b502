"""Lives of servers by kind, drawn from a seed: honest ones, which must keep what they have, and cheats, who gain little.

Each kind is a function of a life (`Life`: an agent, its draws, and what it noted after each pass). An honest kind names the
worst state that it ever comes to, a cheating one for how many days it may have everything permitted after it should not.
`table` lives them and returns the rows; `tests/bench/lives.py` prints them, and `test_lives_by_kind` holds them.
"""

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from fixtures import signing
from fixtures.authority.market import Market
from fixtures.authority.vendor import URL
from fixtures.signing import DAY, NOW
from fixtures.simulated.fake_machine import FULL
from fixtures.simulated.fake_network import ok
from fixtures.simulated.memory_files import Stopped
from fixtures.simulated.simulated_agent import PATHS, ROOTS_URL, STATUS_URL, Simulated
from fixtures.unreadable import refuse_to_read
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.purposes import POLICIES, Purpose
from opanel_agent.core.documents import signed_request
from opanel_agent.core.errors import AgentError, Storage, Unavailable, Unreadable
from opanel_agent.core.license import binding
from opanel_agent.core.license.states import PERMITS, State
from opanel_agent.core.values import replace
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_agent.system.machine import LocalMachine
from opanel_authority.lifecycle import changes
from opanel_authority.lifecycle.changes import Change
from properties.maintenance import KINDS as MACHINES
from properties.maintenance import Host, reinstalled

HOUR: Final = 3600
STALE_DAYS: Final = 30
GRACE_DAYS: Final = 14
AGE_DAYS: Final = 25  # of a cheat's license when it is suspended
WITHIN_DAYS: Final = 7
_SUSPENDED_STEP_DAYS: Final = 11
FREE: Final = {"required": False, "within_days": 0, "min_p": 0, "seats": 1}
BOUND: Final = {"required": True, "within_days": WITHIN_DAYS, "min_p": 1, "seats": 1}
LONG: Final[dict[str, Any]] = {
    "iat": NOW - 500 * DAY,
    "nbf": NOW - 500 * DAY,
    "may": signing.may(max_term_days=4000, issue_until=NOW + 800 * DAY),
    "exp": NOW + 2000 * DAY,
}
OTHER_HARDWARE: Final = {
    "dmi_product_uuid": "99999999-1111-2222-3333-444444444445",
    "boot_disk": "wwn-0x999",
    "cloud_instance_id": "i-0ffffffff1",
}
SHARED: Final = {"dmi_product_uuid": "03000200-0400-0500-0006-000700080009", "boot_disk": "qm00001"}
OWN_FILES: Final = (PATHS.state, PATHS.clock, PATHS.schedule, PATHS.status_list)
WORST_FIRST: Final = tuple(State)  # as the table of states has them; `grace` and `active` are the last


def license_(**claims: Any) -> bytes:
    terms = {"iat": NOW - DAY, "nbf": NOW - DAY, "exp": NOW + 900 * DAY, "activation": FREE, **claims}
    return signing.lines(signing.delegation(**LONG), signing.license(**terms))


def activated(sealed: Sealed) -> Reply:
    """The authority's activation of what asks, with the quorum that it signs for these components."""
    asked = signed_request.verify(sealed.body)
    k, p = binding.quorum(asked.components)
    bind = signing.bind(components=asked.components, salt=asked.salt, k=k, p=p)
    token = signing.activation(bind=bind, cnf={"jkt": asked.jwk.kid}, exp=NOW + 900 * DAY)
    return ok(token, "application/jose")


class Life:
    """One server and what it noted: the states after its passes, and how long it had everything permitted."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)  # noqa: S311 - drawn the same twice on purpose
        self.agent = Simulated(seed=seed)
        self.agent.network.on("POST", f"{signing.ENDPOINT}/v1/activations", activated)
        self.entries: dict[int, int] = {}
        self.states: set[State] = set()
        self.create_s = 0  # since `counts`
        self.posts = 0
        self.counted = False

    def counts(self) -> None:
        """What is noted from here on is the result of this life."""
        self.counted = True

    def noted(self, intent: str = "tick") -> dict[str, Any]:
        """One pass, its state noted. A pass that fails as a whole leaves no state."""
        license_part: dict[str, Any] = self.agent.run(intent)["answer"]["license"]
        if self.counted:
            self.states.add(State(license_part["state"]))
        return license_part

    def lists(self) -> dict[str, Any]:
        """The authority publishes, and the server hears it."""
        self.agent.publish(self.entries)
        return self.noted("refresh")

    def days(self, count: int, each: Callable[[], object] = lambda: None, *, listed: bool = True) -> None:
        """So many days, with a pass in each: `each` happens first, then the clock goes on. Permits are counted."""
        for _ in range(count):
            each()
            self.agent.clock.advance(DAY)
            license_ = self.lists() if listed else self.noted()
            if self.counted and license_["permits"]["create"]:
                self.create_s += DAY

    def block(self) -> None:
        for url in (STATUS_URL, ROOTS_URL):
            self.agent.network.on("GET", url, Unavailable(Reason.UNREACHABLE_TCP, "simulated"))

    def lose_some(self) -> None:
        self.lose(*self.draw.sample(OWN_FILES, self.draw.randint(1, len(OWN_FILES))))

    def lose(self, *paths: Path) -> None:
        for path in paths:
            self.agent.files.take_away(path)


# ---- honest servers


def wrong_clock_at_the_first_start(life: Life) -> None:
    """Ahead by days or years, for seconds or hours; then it is set right."""
    wrong_s = life.draw.choice([30, HOUR, 84 * HOUR])
    life.agent.clock.wall_s = NOW + life.draw.choice([8, 10, 365, 3650]) * DAY
    life.agent.install(license_())
    life.noted()
    life.agent.clock.advance(wrong_s)
    life.agent.clock.wall_s = NOW + wrong_s
    life.lists()
    life.agent.install(license_())
    life.counts()
    life.days(45)


def wrong_clock_later(life: Life) -> None:
    """Ahead or behind, for hours to days, while no mirror is reached; then it is set right."""
    life.agent.install(license_())
    life.lists()
    life.counts()
    hours = life.draw.choice([1, 30, 84])
    life.block()
    life.agent.clock.wall_s += life.draw.choice([-400, -2, 2, 8, 365, 3650]) * DAY
    for _ in range(12):
        life.agent.clock.advance(hours * HOUR // 12)
        life.noted()
    life.agent.clock.wall_s = NOW + hours * HOUR // 12 * 12
    life.days(45)


def lost_files(life: Life) -> None:
    """Files of the state are gone, any of them, time and again."""
    life.agent.install(license_())
    life.lists()
    life.counts()
    life.days(30, lambda: life.lose_some() if life.draw.random() < 0.3 else None)


def a_license_of_tomorrow(life: Life) -> None:
    """Next year's license, or one of a reseller whose clock is fast, is installed while this year's is good."""
    begins_s = life.draw.choice([301, 600, DAY, 20 * DAY])
    life.agent.install(license_(iat=NOW - 300 * DAY, nbf=NOW - 300 * DAY, exp=NOW + 21 * DAY))
    life.lists()
    life.counts()
    ahead = min(begins_s, DAY)
    life.agent.install(license_(jti="license-2", iat=NOW - 60 + ahead, nbf=NOW + begins_s))
    life.noted()
    life.days(40)


def maintenance(life: Life) -> None:
    """A part of the machine is another now and then; whoever is told to activate does."""
    life.agent.install(license_(activation=BOUND))
    assert life.agent.run("activate")["ok"]
    life.lists()
    life.counts()
    for _ in range(8):
        part = life.draw.choice(sorted(FULL))
        life.agent.machine.parts = {**life.agent.machine.parts, part: _another(life.draw, FULL[part])}
        if life.noted()["next_action"]["code"] == "activate":
            assert life.agent.run("activate")["ok"]
        life.days(4)


def maintenance_of_hardware(life: Life) -> None:
    """A machine as its files show it, and one change under it, of those that leave it the same."""
    _maintained(life, same=True)


def nothing_of_the_platform_left(life: Life) -> None:
    """A change that leaves no platform-borne part; whoever is told to activate does, and keeps the seat."""
    _maintained(life, same=False)


def _maintained(life: Life, *, same: bool) -> None:
    kind = life.draw.choice(
        [each for each in MACHINES.values() if each.same is same and each.change is not reinstalled]
    )
    with tempfile.TemporaryDirectory() as folder:
        host = Host(Path(folder))
        kind.lay(host)
        life.agent.world = replace(life.agent.world, machine=LocalMachine({}, host.root))
        life.agent.install(license_(activation={**BOUND, "min_p": 0}))
        assert life.agent.run("activate")["ok"]
        life.lists()
        life.counts()
        kind.change(host)
        if life.noted()["next_action"]["code"] == "activate":
            assert life.agent.run("activate")["ok"]
        life.days(20)


def parts_unreadable_for_days(life: Life) -> None:
    """Any parts of the machine, or the key, cannot be read for hours to days, time and again; nobody does anything."""
    _unreadable(life, [HOUR, 20 * HOUR, 3 * DAY, 6 * DAY])
    assert not any(each.url.endswith("/v1/activations") for each in life.agent.network.sent[life.posts :])


def parts_unreadable_for_weeks(life: Life) -> None:
    """The same for weeks to months; whoever is told to activate does."""
    _unreadable(life, [8 * DAY, 13 * DAY, 20 * DAY, 60 * DAY])


def _unreadable(life: Life, lasting_s: list[int]) -> None:
    life.agent.install(license_(activation={**BOUND, "min_p": 0}))
    assert life.agent.run("activate")["ok"]
    life.lists()
    life.posts = len(life.agent.network.sent)
    life.counts()
    for _ in range(4):
        unread = life.draw.sample(sorted(FULL), life.draw.randint(1, len(FULL)))
        life.agent.machine.unread = frozenset(unread)
        if life.draw.random() < 0.3:
            refuse_to_read(life.agent.files, PATHS.activation_key, "EIO")
        ends_s = life.agent.clock.wall_s + life.draw.choice(lasting_s)
        while life.agent.clock.wall_s < ends_s:
            life.agent.clock.advance(min(DAY, ends_s - life.agent.clock.wall_s))
            if life.lists()["next_action"]["code"] == "activate":
                assert life.agent.run("activate")["ok"]
        life.agent.machine.unread, life.agent.files.fault = frozenset(), None
        life.days(life.draw.randint(1, 5))


def a_value_known_as_shared_since(life: Life) -> None:
    """The activation was made by a version that did not know some of this machine's values to be every machine's."""
    junk = {name: value for name, value in SHARED.items() if life.draw.random() < 0.6}
    life.agent.machine.parts = {**FULL, **junk}

    def of_an_earlier_version(sealed: Sealed) -> Reply:
        asked = signed_request.verify(sealed.body)
        signed = {name: binding.digest(asked.salt, name, binding.canonical(name, junk[name])) for name in junk}
        components = {**asked.components, **signed}
        k, p = binding.quorum(components)
        bind = signing.bind(components=components, salt=asked.salt, k=k, p=p)
        return ok(signing.activation(bind=bind, cnf={"jkt": asked.jwk.kid}, exp=NOW + 900 * DAY), "application/jose")

    life.agent.network.on("POST", f"{signing.ENDPOINT}/v1/activations", of_an_earlier_version)
    life.agent.install(license_(activation={**BOUND, "min_p": 0}))
    assert life.agent.run("activate")["ok"]
    life.counts()
    life.days(20)


def _another(draw: random.Random, value: str) -> str:
    """The same form with other digits."""
    return "".join(draw.choice("0123456789") if each.isdigit() else each for each in value)


def off_for_months(life: Life) -> None:
    """A server that is off for days to months, and starts again."""
    life.agent.install(license_())
    life.lists()
    life.counts()
    for _ in range(4):
        life.agent.clock.reboot(off_s=life.draw.choice([HOUR, 27 * HOUR, 60 * HOUR, 20 * DAY, 90 * DAY]))
        life.agent.publish({})
        life.noted("start")
        life.agent.clock.advance(2 * HOUR)
        life.noted()
        life.days(3)


def no_mirror_for_weeks(life: Life) -> None:
    life.agent.install(license_())
    life.lists()
    life.counts()
    life.block()
    life.days(life.draw.randint(1, STALE_DAYS - 2), listed=False)
    life.days(5)


def full_disk(life: Life) -> None:
    """It takes nothing for days, and is mended."""
    life.agent.install(license_())
    life.lists()
    life.counts()

    def full(step: str, path: Any) -> None:
        if step in {"create", "write", "make_dir"}:
            raise Storage(Fault.DISK_FULL, "disk_full", file=str(path))

    life.agent.files.fault = full
    life.days(life.draw.randint(1, 12))
    life.agent.files.fault = None
    life.days(5)


def unreadable_files(life: Life) -> None:
    """One file of the state cannot be read, each few days another."""
    life.agent.install(license_())
    life.lists()
    life.counts()
    for _ in range(6):
        bad = life.draw.choice([*OWN_FILES, PATHS.ledger, PATHS.activation_key, PATHS.last_settings])

        def fault(step: str, path: Any, bad: Any = bad) -> None:
            if step == "read" and path == bad:
                raise Unreadable(Fault.IO_FAILED, "read_failed", file=str(path), errno="EIO")

        life.agent.files.fault = fault
        life.days(3)
        life.agent.files.fault = None
        life.days(2)


def killed_passes(life: Life) -> None:
    """Passes are killed at any step, and the power fails with it."""
    life.agent.install(license_())
    life.lists()
    life.counts()
    for _ in range(20):
        life.agent.files.stop_at(life.draw.randrange(40))
        try:
            life.days(1)
        except (Stopped, AgentError):
            life.agent.files.crash(keep=life.draw.random() < 0.5)
        life.agent.files.stop_at(10**9)
        life.noted()


# ---- cheats


def _suspended(life: Life, status: int) -> None:
    """A license that the list has called `status` for so long that it counts; from here on no list is heard."""
    issued = NOW - AGE_DAYS * DAY
    life.agent.install(license_(iat=issued, nbf=issued, stale_days=STALE_DAYS, grace_days=GRACE_DAYS))
    life.lists()
    life.entries = {signing.LICENSE_IDX: status}
    for later_s in (HOUR, 2 * HOUR, 73 * HOUR):
        life.agent.clock.advance(later_s)
        answered = life.lists()
    assert not answered["permits"]["create"]
    life.counts()
    life.block()


def deletes_some_files(life: Life) -> None:
    """Suspended or revoked; files of the state are deleted daily, but never state and list together."""
    _suspended(life, life.draw.choice([1, 2]))
    gone = life.draw.choice([(PATHS.state,), (PATHS.status_list,), (PATHS.clock,), (PATHS.state, PATHS.clock)])
    life.days(50, lambda: life.lose(*gone), listed=False)


def deletes_all_that_tells(life: Life) -> None:
    """Suspended or revoked; everything that says so is deleted daily, and no mirror is reached."""
    _suspended(life, life.draw.choice([1, 2]))
    life.days(50, lambda: life.lose(*OWN_FILES), listed=False)


def winds_the_clock_back(life: Life) -> None:
    """Without a list from the beginning; the clock is set back daily, and files are deleted."""
    life.agent.install(license_(iat=NOW - DAY, nbf=NOW - DAY, stale_days=STALE_DAYS, grace_days=GRACE_DAYS))
    life.lists()
    life.block()
    life.days(STALE_DAYS + GRACE_DAYS, listed=False)
    life.counts()

    def back() -> None:
        life.agent.clock.wall_s -= life.draw.choice([0, HOUR, DAY, 40 * DAY])

    life.days(50, back, listed=False)


def puts_a_backup_back(life: Life) -> None:
    """The whole state of the first day is put back daily, in one boot."""
    life.agent.install(license_(stale_days=STALE_DAYS, grace_days=GRACE_DAYS))
    life.lists()
    backup = life.agent.files.snapshot()
    life.block()

    def back() -> None:
        life.agent.files.restore(backup, PATHS.state_dir)

    life.days(STALE_DAYS + GRACE_DAYS, back, listed=False)
    life.counts()
    life.days(50, back, listed=False)


def puts_a_backup_back_at_each_boot(life: Life) -> None:
    """The same, with a reboot each day: nothing on the machine says that time has passed but its wall clock."""
    life.agent.install(license_(stale_days=STALE_DAYS, grace_days=GRACE_DAYS))
    life.lists()
    backup = life.agent.files.snapshot()
    life.block()

    def back() -> None:
        life.agent.clock.reboot(off_s=60)
        life.agent.files.restore(backup, PATHS.state_dir)
        life.agent.clock.wall_s = NOW

    life.days(STALE_DAYS + GRACE_DAYS, back, listed=False)
    life.counts()
    life.days(50, back, listed=False)


def never_activates(life: Life) -> None:
    """A license that must be activated is not; the state is deleted every few days."""
    life.agent.install(license_(iat=NOW, nbf=NOW, activation=BOUND, grace_days=GRACE_DAYS))
    life.counts()
    life.days(60, lambda: life.lose(PATHS.state) if life.draw.random() < 0.2 else None)


def runs_a_copied_disk(life: Life) -> None:
    """A disk of another machine; the state is deleted every few days."""
    life.agent.install(license_(iat=NOW, nbf=NOW, activation=BOUND))
    assert life.agent.run("activate")["ok"]
    life.agent.machine.parts = {**FULL, **OTHER_HARDWARE}
    life.counts()
    life.days(60, lambda: life.lose(PATHS.state) if life.draw.random() < 0.2 else None)


def hides_its_hardware(life: Life) -> None:
    """A copied disk on a machine whose parts can now and then not be read; the state is deleted every few days."""
    life.agent.install(license_(iat=NOW, nbf=NOW, activation=BOUND))
    assert life.agent.run("activate")["ok"]
    life.agent.machine.parts = {**FULL, **OTHER_HARDWARE}
    life.counts()

    def hide() -> None:
        hidden = life.draw.choice([(), OTHER_HARDWARE, tuple(life.draw.sample(sorted(FULL), 4))])
        life.agent.machine.unread = frozenset(hidden)
        if life.draw.random() < 0.2:
            life.lose(PATHS.state)

    life.days(60, hide)


def activates_anew_while_suspended(life: Life) -> None:
    """A real authority suspends the license; from then on no list is heard, and this server asks for all that may help.

    It has what its last list gave it, and not a day more: each activation is refused, after an exchange or a release, too.
    """
    with tempfile.TemporaryDirectory() as folder:
        market = Market(Path(folder))
        issued = market.vendor.issue(stale_days=STALE_DAYS, grace_days=GRACE_DAYS)
        life.agent = market.server("cheat")
        life.agent.install(issued.text.encode())
        assert life.agent.run("activate")["ok"]
        life.agent.run("refresh")
        changes.change(market.vendor.authority, Change.SUSPEND, issued.jti, now=market.vendor.now + 1)
        for path in POLICIES[Purpose.LICENSE_STATUS].paths:
            life.agent.network.on("GET", URL + path, Unavailable(Reason.UNREACHABLE_TCP, "simulated"))
        tries = (
            lambda: life.agent.run("activate"),
            lambda: life.agent.run("exchange", key=issued.key) and life.agent.run("activate"),
            lambda: life.agent.install(issued.text.encode()) and life.agent.run("activate"),
            lambda: life.agent.run("release") and life.agent.run("activate"),
        )
        for day in range(0, 2 * (STALE_DAYS + GRACE_DAYS), _SUSPENDED_STEP_DAYS):
            assert not life.draw.choice(tries)()["ok"]
            if day == STALE_DAYS + GRACE_DAYS:
                life.counts()
            market.pass_time(_SUSPENDED_STEP_DAYS * DAY)
            life.create_s += _SUSPENDED_STEP_DAYS * DAY * (life.noted()["permits"]["create"] and life.counted)


class Kind(NamedTuple):
    """A kind of life. `worst`: of an honest one. `gain_days`: most days with everything permitted, of a cheating one."""

    live: Callable[[Life], None]
    worst: State | None = None
    gain_days: int | None = None


KINDS: Final = (
    Kind(wrong_clock_at_the_first_start, worst=State.ACTIVE),
    Kind(wrong_clock_later, worst=State.ACTIVE),
    Kind(lost_files, worst=State.ACTIVE),
    Kind(a_license_of_tomorrow, worst=State.ACTIVE),
    Kind(maintenance, worst=State.GRACE),
    Kind(maintenance_of_hardware, worst=State.ACTIVE),
    Kind(nothing_of_the_platform_left, worst=State.GRACE),
    Kind(parts_unreadable_for_days, worst=State.ACTIVE),
    Kind(parts_unreadable_for_weeks, worst=State.GRACE),
    Kind(a_value_known_as_shared_since, worst=State.ACTIVE),
    Kind(off_for_months, worst=State.ACTIVE),
    Kind(no_mirror_for_weeks, worst=State.ACTIVE),
    Kind(full_disk, worst=State.ACTIVE),
    Kind(unreadable_files, worst=State.ACTIVE),
    Kind(killed_passes, worst=State.ACTIVE),
    Kind(deletes_some_files, gain_days=0),
    Kind(activates_anew_while_suspended, gain_days=0),
    # What is at hand is the license alone, which says how long it holds without a list.
    Kind(deletes_all_that_tells, gain_days=STALE_DAYS + GRACE_DAYS - AGE_DAYS),
    Kind(winds_the_clock_back, gain_days=0),
    Kind(puts_a_backup_back, gain_days=0),
    # Root may show every boot the same day: nothing at hand contradicts it.
    Kind(puts_a_backup_back_at_each_boot, gain_days=50),
    Kind(never_activates, gain_days=WITHIN_DAYS + GRACE_DAYS),
    Kind(runs_a_copied_disk, gain_days=14),
    Kind(hides_its_hardware, gain_days=14),
)


class Row(NamedTuple):
    """What lives of one kind came to: `worst` of the honest, `gain_days` of the cheats, each beside its bound."""

    kind: Kind
    lives: int
    worst: State | None
    gain_days: int | None

    @property
    def holds(self) -> bool:
        """Returns whether every life stayed within the bound of its kind."""
        if self.kind.worst is not None and self.worst is not None:
            return WORST_FIRST.index(self.worst) >= WORST_FIRST.index(self.kind.worst)
        return self.kind.gain_days is not None and self.gain_days is not None and self.gain_days <= self.kind.gain_days


def row(kind: Kind, seeds: range) -> Row:
    """Lives a kind with each seed."""
    lives = [Life(seed) for seed in seeds]
    for life in lives:
        kind.live(life)
    if kind.worst is None:
        return Row(kind, len(lives), None, max(life.create_s for life in lives) // DAY)
    return Row(kind, len(lives), min((state for life in lives for state in life.states), key=WORST_FIRST.index), None)


def table(lives: int) -> Iterator[Row]:
    """Yields the row of each kind."""
    return (row(kind, range(1, lives + 1)) for kind in KINDS)


assert all(PERMITS[state] == PERMITS[State.ACTIVE] for state in (State.GRACE, State.ACTIVE))
