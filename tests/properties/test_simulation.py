"""A server's life, drawn at random from a seed: whatever happens, some things never do.

Each life is a hundred events on a fake clock, disk, machine and network, with one pass of evaluate after each. What must
hold is told as sentences in `Life`; a failing run names its seed in the test's id.
"""

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from fixtures import signing
from fixtures.simulated.fake_machine import FULL
from fixtures.simulated.fake_network import ok
from fixtures.simulated.memory_files import Stopped
from fixtures.simulated.simulated_agent import PATHS, SETTINGS, STATUS_URL, Simulated
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.purposes import CONSENT_BASED
from opanel_agent.core.documents import bundle as bundle_document
from opanel_agent.core.documents import signed_request
from opanel_agent.core.errors import AgentError, Misconfigured, Storage, Unavailable, Untrusted
from opanel_agent.core.license.verdict import State
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_agent.system.storage import resources

EVENTS = 80
SEEDS = range(8)
FIXED = {"/v1/status.jwt", "/v1/roots.jws", "/v1/advisories.jws"}
CONSENT = """schema = 1
notice = "{notice}"
do_not_track = {dnt}
[purposes.usage_statistics]
allow = {allow}
hold = "{hold}"
"""
CATALOG = resources.load_catalog()
FREE = {"required": False, "within_days": 0, "min_p": 0, "seats": 1}
LEVEL = {"run": 1, "change": 2, "create": 4, "paid_features": 8}


class Life:
    """One server, and what was true of it after the last pass."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)  # noqa: S311 - drawn the same twice on purpose
        self.agent = Simulated(seed=seed)
        self.removed = True
        self.licensed = False
        self.before: dict[str, Any] | None = None
        self.documents_before: tuple[bytes | None, ...] = ()
        self.machine_before: dict[str, str] = {}
        self.entries: dict[int, int] = {}
        self.story: list[str] = []
        self.agent.network.on("POST", signing.ENDPOINT + "/v1/activations", activation_reply)
        for purpose in CONSENT_BASED:
            self.agent.network.on("POST", f"{signing.ENDPOINT}/v1/reports/{purpose}", _receipt)
        self.backup = self.agent.files.snapshot()

    # what happens

    def time_passes(self) -> None:
        self.agent.clock.advance(self.draw.choice([1, 600, 3600, 20_000, 90_000, 9 * 86_400]))

    def reboots(self) -> None:
        self.agent.clock.reboot(off_s=self.draw.choice([30, 4000, 40 * 86_400]))

    def wall_clock_is_wound(self) -> None:
        self.agent.clock.wall_s = max(
            10**9, self.agent.clock.wall_s + self.draw.choice([-86_400 * 400, -50, 50, 86_400 * 400])
        )

    def authority_publishes(self) -> None:
        indexes = (signing.LICENSE_IDX, signing.ACTIVATION_IDX, signing.DELEGATION_IDX)
        self.entries = {idx: self.draw.choice([0, 0, 0, 1, 2, 3]) for idx in indexes}
        self.agent.publish(self.entries)

    def authority_says_it_again(self) -> None:
        self.agent.clock.advance(3600)
        self.agent.publish(self.entries)

    def authority_insists(self) -> None:
        self.authority_publishes()
        self.is_refreshed()
        self.authority_says_it_again()
        self.is_refreshed()

    def machine_stays_another(self) -> None:
        self.machine_changes()
        for _ in range(3):
            self.run("tick", {})
            self.agent.clock.advance(6 * 86_400)

    def nothing_objects_any_more(self) -> None:
        self.agent.opt_outs.set_signals()
        self.settings_mend()
        self.agent.files.take_away(PATHS.consent_dir / "fleet.toml")

    def network_fails(self) -> None:
        code = self.draw.choice(
            [Reason.UNREACHABLE_DNS, Reason.UNREACHABLE_TCP, Reason.TLS_UNTRUSTED, Reason.SERVER_ERROR]
        )
        garbage = ok(self.draw.randbytes(300), "application/statuslist+jwt")
        failure = Unavailable(code, "simulated")
        self.agent.network.on("GET", STATUS_URL, garbage if self.draw.random() < 0.5 else failure)

    def license_comes(self) -> None:
        terms: dict[str, Any] = {"activation": FREE} if self.draw.random() < 0.5 else {}
        days = self.draw.choice([1, 40, 335])
        if self.draw.random() < 0.2:
            terms["nbf"] = self.agent.clock.wall_s + 5 * signing.DAY
        text = signing.lines(
            signing.delegation(), signing.license(iat=signing.NOW, exp=signing.NOW + days * signing.DAY, **terms)
        )
        if self.run("bundle", _b64(text))["ok"]:
            self.removed, self.licensed = False, True

    def junk_comes(self) -> None:
        good = signing.bundle(activated=False)
        cut = self.draw.randrange(len(good))
        junk = self.draw.choice(
            [good[:cut], good[:cut] + b"A" + good[cut + 1 :], self.draw.randbytes(200), b"", good * 30]
        )
        if junk.strip() != good.strip():
            assert not self.run("bundle", _b64(junk))["ok"]

    def is_activated(self) -> None:
        self.run("activate", {})

    def is_removed(self) -> None:
        self.removed = True
        self.run("remove", {})

    def machine_changes(self) -> None:
        kept = self.draw.sample(sorted(FULL), self.draw.randrange(len(FULL) + 1))
        self.agent.machine.parts = {name: FULL[name] for name in kept}

    def machine_is_itself(self) -> None:
        self.agent.machine.parts = dict(FULL)

    def opt_out_flips(self) -> None:
        self.agent.opt_outs.set_signals(do_not_track=self.draw.random() < 0.4, offline=self.draw.random() < 0.4)

    def settings_break(self) -> None:
        broken = self.draw.choice([b"schema = 2", b"schema = 1\nshell = 1", b"\xff", b"schema = 1\nadvisories = 1"])
        self.agent.files.put(PATHS.settings, broken)

    def settings_mend(self) -> None:
        self.agent.files.put(PATHS.settings, SETTINGS)

    def disk_fails(self) -> None:
        self.agent.files.stop_at(self.draw.randrange(1, 30), Storage(Fault.DISK_FULL, "disk_full"))

    def power_fails(self) -> None:
        self.agent.files.stop_at(self.draw.randrange(1, 30))

    def is_refreshed(self) -> None:
        self.run("refresh", {})

    def administrator_allows(self) -> None:
        hold = self.draw.choice(["0h", "1h", "72h"])
        text = CONSENT.format(allow="true", hold=hold, notice=resources.installed_notice(), dnt="false")
        # Each time a new grant: the same yes in the same words counts no more after a withdrawal (ADR 29).
        self.write_consent(
            text + f'[granted]\nby = "Administrator {len(self.story)}"\nrole = "owner"\non = "2026-11-29"\n'
        )

    def administrator_answers_an_old_notice(self) -> None:
        self.write_consent(CONSENT.format(allow="true", hold="0h", notice="2020-01-01", dnt="false"))

    def administrator_denies(self) -> None:
        self.write_consent(CONSENT.format(allow="false", hold="0h", notice=resources.installed_notice(), dnt="false"))

    def administrator_mistypes(self) -> None:
        self.write_consent(CONSENT.format(allow='"true"', hold="0h", notice=resources.installed_notice(), dnt="false"))

    def administrator_asks_not_to_be_tracked_there(self) -> None:
        self.write_consent(CONSENT.format(allow="true", hold="0h", notice=resources.installed_notice(), dnt="true"))

    def write_consent(self, text: str) -> None:
        self.agent.files.put(PATHS.consent, text.encode())
        self.run("narrowed", {})

    def policy_comes_or_goes(self) -> None:
        path = PATHS.consent_dir / "fleet.toml"
        if self.agent.files.exists(path):
            self.agent.files.take_away(path)
        else:
            self.agent.files.put(path, b"schema = 1\n[purposes.usage_statistics]\nallow = false\n")

    def is_previewed(self) -> None:
        self.run("preview", {"purpose": "usage_statistics"})

    def ledger_is_damaged(self) -> None:
        kept = self.agent.files.read(PATHS.ledger, max_bytes=10**7) or b""
        self.agent.files.put(PATHS.ledger, kept[: len(kept) // 2] + b"rot\n", mode=0o600)

    def ledger_is_reviewed(self) -> None:
        self.run("review", {})

    def machine_is_cloned(self) -> None:
        self.agent.machine.parts = {**FULL, "machine_id": f"{self.draw.randrange(16**8):032x}"}

    def backup_is_made(self) -> None:
        self.backup = self.agent.files.snapshot()

    def state_is_restored_from_backup(self) -> None:
        """What was said since lies in /etc, which the backup of the state does not bring back."""
        self.agent.files.restore(self.backup, PATHS.state_dir)
        self.licensed = False  # the backup may be older than the license
        self.before = None

    # one pass, and what must hold after it

    def run(self, intent: str, extra: dict[str, Any]) -> dict[str, Any]:
        sent_before = len(self.agent.network.sent)
        try:
            frame = self.agent.run(intent, **extra)
        except Misconfigured:
            # No settings can be read and none were kept (a backup from before the first pass): nobody to trust.
            assert self.agent.files.read(PATHS.settings, max_bytes=10**4) != SETTINGS, self.story
            assert len(self.agent.network.sent) == sent_before, self.story
            return {"ok": False, "error": None}
        except (Stopped, Storage) as stopped:
            self.agent.files.crash()
            self.story.append(f"  {intent}: {type(stopped).__name__}")
            self.holds_about_requests(sent_before)
            self.holds_about_reports(sent_before)
            return {"ok": False, "error": None}
        self.agent.files.stop_at(10**9)  # a failure that was due later does not hit this test's own reading
        self.story.append(f"  {intent}: {frame['answer']['license']['state']} {frame['answer']['license']['reasons']}")
        self.holds_about_requests(sent_before)
        self.holds_about_reports(sent_before)
        self.holds_about_states(frame)
        return frame

    def holds_about_requests(self, sent_before: int) -> None:
        """Offline: nothing left. Do-not-track: only the fixed GETs. Refused settings: nothing."""
        sent = self.agent.network.sent[sent_before:]
        signals = self.agent.opt_outs.signals
        if signals.offline or self.agent.files.read(PATHS.settings, max_bytes=10**4) != SETTINGS:
            assert sent == [], self.story
        if signals.do_not_track:
            assert all(s.method == "GET" and s.url.removeprefix(signing.MIRROR) in FIXED for s in sent), self.story

    def holds_about_reports(self, sent_before: int) -> None:
        """A report left: the yes was durable and recorded, nothing objected, and every field was declared."""
        for sealed in self.agent.network.sent[sent_before:]:
            if sealed.purpose not in CONSENT_BASED:
                continue
            consent = self.agent.files.read(PATHS.consent, max_bytes=10**5) or b""
            assert b"allow = true" in consent, self.story
            assert resources.installed_notice().encode() in consent, self.story
            assert b"do_not_track = true" not in consent, self.story
            assert not self.agent.files.exists(PATHS.consent_dir / "fleet.toml"), self.story
            assert CATALOG.check(sealed.purpose, sealed.body) == (), self.story
            recorded = self.agent.files.durable(PATHS.ledger) or b""
            given, attempted = recorded.find(b'"ConsentGiven"'), recorded.rfind(sealed.id.encode())
            assert 0 <= given < attempted, self.story
            self.story.append("  report left")

    def holds_about_states(self, frame: dict[str, Any]) -> None:
        now = frame["answer"]["license"]
        documents, machine = self.documents(), dict(self.agent.machine.parts)
        assert now["permits"]["run"], self.story
        assert 1 <= frame["next_run_s"] <= 86_400, self.story
        if self.before is not None:
            self.never_better_for_nothing(now, documents, machine)
            self.never_worse_for_nothing(now, documents)
        self.never_lost(now)
        self.before, self.documents_before, self.machine_before = now, documents, machine

    def never_better_for_nothing(
        self, now: dict[str, Any], documents: tuple[bytes | None, ...], machine: dict[str, str]
    ) -> None:
        """More is permitted only by a document, by `nbf` reached, or by facts of the machine that match again."""
        assert self.before is not None
        if level(now) <= level(self.before):
            return
        why = {
            "document": documents != self.documents_before,
            "nbf": self.before["state"] == "not_yet_valid",
            "machine": self.before["state"] == "wrong_machine" and machine != self.machine_before,
        }
        assert any(why.values()), self.story

    def never_worse_for_nothing(self, now: dict[str, Any], documents: tuple[bytes | None, ...]) -> None:
        """Less is permitted only by a document (or its removal), or when effective time went on."""
        assert self.before is not None
        if level(now) >= level(self.before):
            return
        assert documents != self.documents_before or now["as_of"] > self.before["as_of"], self.story

    def never_lost(self, now: dict[str, Any]) -> None:
        """A bundle once good is found good again, from its bytes, until it is removed."""
        if self.removed or not self.licensed:
            return
        assert now["state"] != "unlicensed", self.story
        text = self.agent.files.read(PATHS.bundle, max_bytes=10**6)
        assert text is not None, self.story
        bundle_document.verify(text, signing.trusted_root(), now=None)

    def documents(self) -> tuple[bytes | None, ...]:
        files = self.agent.files
        return tuple(files.read(path, max_bytes=10**6) for path in (PATHS.bundle, PATHS.status_list, PATHS.roots))


HAPPENS: tuple[Callable[[Life], None], ...] = (
    *(Life.time_passes,) * 6,
    *(Life.authority_publishes,) * 3,
    *(Life.authority_says_it_again,) * 3,
    *(Life.is_refreshed,) * 6,
    *(Life.license_comes,) * 2,
    *(Life.is_activated,) * 2,
    *(Life.settings_mend,) * 2,
    *(Life.machine_is_itself,) * 2,
    *(Life.authority_insists,) * 3,
    *(Life.nothing_objects_any_more,) * 4,
    *(Life.machine_stays_another,) * 2,
    Life.reboots,
    Life.wall_clock_is_wound,
    Life.network_fails,
    Life.junk_comes,
    Life.is_removed,
    Life.machine_changes,
    Life.opt_out_flips,
    Life.settings_break,
    Life.disk_fails,
    Life.power_fails,
    *(Life.administrator_allows,) * 4,
    *(Life.administrator_denies,) * 2,
    Life.administrator_answers_an_old_notice,
    Life.administrator_mistypes,
    Life.administrator_asks_not_to_be_tracked_there,
    Life.policy_comes_or_goes,
    Life.is_previewed,
    Life.ledger_is_damaged,
    *(Life.ledger_is_reviewed,) * 2,
    Life.machine_is_cloned,
    Life.backup_is_made,
    Life.state_is_restored_from_backup,
)


def level(license_: dict[str, Any]) -> int:
    return sum(LEVEL[name] for name, permitted in license_["permits"].items() if permitted)


def _b64(text: bytes) -> dict[str, str]:
    from opanel_agent.core.codec.base64url import base64url

    return {"document": base64url(text)}


def _receipt(sealed: Sealed) -> Reply:
    return ok(signing.receipt(sealed.body, kind=sealed.purpose), "application/jose", status=202)


def activation_reply(sealed: Sealed) -> Reply:
    asked = signed_request.verify(sealed.body)
    token = signing.activation(
        bind=signing.bind(components=asked.components, salt=asked.salt), cnf={"jkt": asked.jwk.kid}
    )
    return ok(token, "application/jose")


@cache
def live(seed: int) -> tuple[str, ...]:
    """The story of one life, held to its sentences as it goes."""
    return _live(seed)


def _live(seed: int) -> tuple[str, ...]:
    life = Life(seed)
    life.license_comes()
    for _ in range(EVENTS):
        event = life.draw.choice(HAPPENS)
        life.story.append(event.__name__)
        event(life)
        life.run("tick", {})
    return tuple(life.story)


@pytest.mark.parametrize("seed", [SEEDS[0], *(pytest.param(seed, marks=pytest.mark.slow) for seed in SEEDS[1:])])
def test_a_life(seed: int) -> None:
    live(seed)


@pytest.mark.once  # 40 more lives are the same on every interpreter
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140))
def test_many_lives(seed: int) -> None:
    live(seed)


@pytest.mark.once
@pytest.mark.slow
def test_many_lives_see_every_state() -> None:
    lines = "\n".join(line for seed in range(100, 140) for line in live(seed))
    assert [state for state in State if f": {state} " not in lines] == []
    assert sum(_reports(seed) for seed in range(100, 140)) >= 10


@pytest.mark.slow
def test_the_lives_see_every_state_and_are_no_idyll() -> None:
    """What the invariants are held against must be worth it."""
    lines = "\n".join(line for seed in SEEDS for line in live(seed))
    for state in ("active", "grace", "unlicensed"):
        assert f": {state} " in lines, state
    assert "Stopped" in lines
    assert "Storage" in lines
    assert any(_reports(seed) for seed in SEEDS)


def _reports(seed: int) -> int:
    return sum(line == "  report left" for line in live(seed))


def test_a_life_is_the_same_for_the_same_seed() -> None:
    assert live(3) == _live(3)


def test_the_invariants_can_fail() -> None:
    """Each sentence, against a pass that breaks it."""
    life = Life(1)
    life.license_comes()
    life.is_refreshed()
    active = {"state": "active", "permits": dict.fromkeys(LEVEL, True), "as_of": 10}
    expired = {"state": "expired", "permits": {**dict.fromkeys(LEVEL, False), "run": True}, "as_of": 10}
    life.documents_before, life.machine_before = life.documents(), dict(life.agent.machine.parts)
    life.before = expired
    with pytest.raises(AssertionError):
        life.never_better_for_nothing(active, life.documents_before, life.machine_before)
    life.before = active
    with pytest.raises(AssertionError):
        life.never_worse_for_nothing(expired, life.documents_before)
    life.removed, life.licensed = False, True
    with pytest.raises(AssertionError):
        life.never_lost({"state": "unlicensed"})
    life.agent.files.put(PATHS.bundle, b"rot", mode=0o600)
    with pytest.raises((AssertionError, Untrusted)):
        life.never_lost(active)
    life.agent.opt_outs.set_signals(offline=True)
    with pytest.raises(AssertionError):
        life.holds_about_requests(0)
    life.agent.network.sent.append(
        Sealed(id="usage-1", purpose="usage_statistics", method="POST", url="", headers=(), body=b"")
    )
    with pytest.raises(AssertionError):
        life.holds_about_reports(0)


def test_an_error_crosses_the_pipe_whole() -> None:
    error = Unavailable(Reason.SERVER_ERROR, "status_unexpected", status=500)
    again = AgentError.from_json(error.to_json())
    assert (type(again), again.code, again.detail, again.values) == (
        Unavailable,
        error.code,
        error.detail,
        error.values,
    )
