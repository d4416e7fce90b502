"""One pass of evaluate after another on a fake disk, clock and network: a license's whole life, and what never happens."""

import time
from typing import Any

import pytest

from fixtures import signing
from fixtures.simulated.fake_network import ok
from fixtures.simulated.simulated_agent import ADVISORIES_URL, PATHS, ROOT_FILE, ROOTS_URL, STATUS_URL, Simulated
from opanel_agent import messages
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents import signed_request
from opanel_agent.core.errors import Bug, Misconfigured, Unavailable
from opanel_agent.core.wire.message import Reply, Sealed, head
from opanel_agent.system import log

ACTIVATIONS = signing.ENDPOINT + "/v1/activations"
JOSE = "application/jose"
ISSUED = signing.NOW - 3600
FREE = signing.lines(
    signing.delegation(),
    signing.license(iat=ISSUED, activation={"required": False, "within_days": 0, "min_p": 0, "seats": 1}),
)
DUE = signing.lines(signing.delegation(), signing.license(iat=ISSUED))


@pytest.fixture
def agent() -> Simulated:
    return Simulated()


def activate(agent: Simulated) -> None:
    """The authority's side: signs exactly the components that the request brought."""

    def answer(sealed: Sealed) -> Reply:
        asked = signed_request.verify(sealed.body)
        token = signing.activation(
            bind=signing.bind(components=asked.components, salt=asked.salt), cnf={"jkt": asked.jwk.kid}
        )
        return ok(token, JOSE)

    agent.network.on("POST", ACTIVATIONS, answer)


def test_a_new_server_is_unlicensed_and_says_what_to_do(agent: Simulated) -> None:
    license_ = agent.license()
    assert license_["state"] == "unlicensed"
    assert license_["permits"] == {"run": True, "change": False, "create": False, "paid_features": False}
    assert license_["next_action"]["code"] == "install_license"
    assert license_["next_action"]["tr"] != license_["next_action"]["en"]


def test_the_journal_hears_by_when_something_new_is_needed(agent: Simulated) -> None:
    with log.kept() as lines:
        agent.install(DUE)
        agent.run("tick")
    (fields,) = [fields for event, _, fields in lines if event == "license_warning"]
    day = time.strftime("%Y-%m-%d", time.gmtime(int(str(fields["until"]))))
    expected = f"The state of the license will change on {day} if nothing is done: activation_due."
    assert (
        messages.translate_event("license_warning", "en", {name: str(value) for name, value in fields.items()})
        == expected
    )


def test_where_there_is_no_day_to_tell_the_journal_hears_of_none(agent: Simulated) -> None:
    agent.install(FREE)
    agent.files.put(
        PATHS.import_dir / "status.jwt", signing.status_list({signing.LICENSE_IDX: 2}, iat=signing.NOW - 7200)
    )
    with log.kept() as lines:
        license_ = agent.license()
    assert (license_["state"], license_["warnings"][0]["end"]) == ("grace", None)
    assert [event for event, _, _ in lines if event == "license_warning"] == []


def test_a_start_asks_nothing_of_the_world(agent: Simulated) -> None:
    agent.run("start")
    assert agent.network.sent == []


def test_a_bundle_is_verified_without_a_request(agent: Simulated) -> None:
    frame = agent.install(DUE)
    assert frame["ok"], frame["error"]
    license_ = frame["answer"]["license"]
    assert (license_["state"], license_["reasons"][0]) == ("active", "activation_due")
    assert license_["features"] == ["backup", "mail"]
    assert license_["limits"] == {"accounts": 100}
    assert license_["reseller"]["name"] == "Örnek Hosting"
    assert license_["reseller"]["controller"] is None
    assert agent.network.sent == []


def test_activation_is_shown_and_then_those_very_bytes_leave(agent: Simulated) -> None:
    activate(agent)
    agent.install(DUE)
    shown = agent.run("activate", preview=True)["result"]
    assert agent.network.sent == []
    frame = agent.run("activate", confirm=shown["id"])
    assert frame["ok"], frame["error"]
    (sealed,) = agent.network.sent
    assert sealed.body.decode() == shown["body"]
    assert head(sealed).decode() == shown["head"]
    assert frame["answer"]["license"]["state"] == "active"
    assert frame["answer"]["license"]["reasons"] == ["ok"]


def test_what_left_is_kept_byte_for_byte_and_marked_before_it_left(agent: Simulated) -> None:
    marks: list[tuple[str, ...]] = []
    activate(agent)
    agent.install(DUE)
    script = agent.network._script["POST", ACTIVATIONS][0]

    def watching(sealed: Sealed) -> Reply:
        agent.files.crash()  # what was not durable before the connection is lost
        marks.append(agent.files.names(PATHS.sent))
        reply = script(sealed)  # type: ignore[operator]
        assert isinstance(reply, Reply)
        return reply

    agent.network.on("POST", ACTIVATIONS, watching)
    assert agent.run("activate")["ok"]
    ((attempted, request),) = marks
    assert (attempted.rpartition(".")[2], request.rpartition(".")[2]) == ("attempted", "request")
    kept = agent.files.read(PATHS.sent / request, max_bytes=10**6)
    assert kept == agent.network.sent[0].encode()


def test_an_unanswered_activation_is_the_same_request_the_second_time(agent: Simulated) -> None:
    agent.install(DUE)
    first = agent.run("activate")
    assert first["error"]["code"] == "unreachable_tcp"
    assert first["answer"]["license"]["state"] == "active"
    agent.run("activate")
    before, again = agent.network.sent
    assert before == again


def test_another_machines_activation_is_refused(agent: Simulated) -> None:
    agent.network.on("POST", ACTIVATIONS, ok(signing.activation(), JOSE))
    agent.install(DUE)
    frame = agent.run("activate")
    assert frame["error"]["code"] == "machine_mismatch"
    assert frame["answer"]["license"]["reasons"][0] == "activation_due"


@pytest.mark.parametrize("signal", ["do_not_track", "offline"])
def test_an_opt_out_gives_the_activation_to_carry_instead(agent: Simulated, signal: str) -> None:
    agent.install(DUE)
    agent.opt_outs.set_signals(**{signal: True})
    frame = agent.run("activate")
    assert frame["ok"]
    assert frame["result"]["sent"] is False
    assert frame["result"]["request"]
    assert frame["result"]["why"][0]["reason"] == {"do_not_track": "opt_out", "offline": "offline"}[signal]
    assert agent.network.sent == []


def test_offline_means_no_request_at_all(agent: Simulated) -> None:
    agent.install(FREE)
    agent.opt_outs.set_signals(offline=True)
    for _ in range(60):
        agent.clock.advance(signing.DAY // 2)
        agent.run("tick")
    frame = agent.run("refresh")
    assert frame["error"]["code"] == "offline"
    assert agent.network.sent == []


def test_do_not_track_leaves_the_fixed_gets_and_nothing_else(agent: Simulated) -> None:
    agent.opt_outs.set_signals(do_not_track=True)
    assert agent.run("refresh")["ok"]
    assert [sealed.url for sealed in agent.network.sent] == [ROOTS_URL, STATUS_URL, ADVISORIES_URL]


def test_of_each_fixed_get_the_latest_is_kept(agent: Simulated) -> None:
    agent.run("refresh")
    agent.clock.advance(60)
    agent.run("refresh")
    words = ("advisories", "roots", "status")
    assert agent.files.names(PATHS.sent) == tuple(f"{word}.{end}" for word in words for end in ("attempted", "reply"))
    kept = agent.files.read(PATHS.sent / "status.reply", max_bytes=10**6)
    assert kept is not None
    assert Reply.decode(kept).sent_head == head(agent.network.sent[-2])


def test_a_settings_file_that_is_refused_denies_every_request_and_the_answer_stands(agent: Simulated) -> None:
    agent.install(FREE)
    agent.files.put(PATHS.settings, b"schema = 1\nshell = 1\n")
    frame = agent.run("refresh")
    assert frame["error"]["kind"] == "Misconfigured"
    assert (frame["error"]["code"], frame["error"]["detail"]) == ("settings_refused", "toml_unknown")
    assert (frame["error"]["values"]["line"], frame["error"]["values"]["name"]) == (2, "shell")
    assert agent.run("activate")["error"] == frame["error"]
    license_ = frame["answer"]["license"]
    assert (license_["state"], license_["reasons"]) == ("active", ["settings_refused"])
    assert agent.network.sent == []


def test_without_a_root_there_is_no_verdict_but_a_cure(agent: Simulated) -> None:
    agent.files.put(PATHS.settings, b'schema = 1\ntrust_root = "/nowhere/root.jws"\n')
    with pytest.raises(Misconfigured) as caught:
        agent.run("tick")
    assert caught.value.detail == "root_absent"
    assert caught.value.values == {"file": "/nowhere/root.jws"}


def test_suspension_warns_first_and_holds_after_a_second_list(agent: Simulated) -> None:
    agent.install(FREE)
    assert agent.run("refresh")["answer"]["license"]["state"] == "active"
    agent.clock.advance(60)
    agent.publish({signing.LICENSE_IDX: 2})
    seen_at = agent.clock.wall_s
    license_ = agent.run("refresh")["answer"]["license"]
    assert (license_["state"], license_["reasons"][0]) == ("grace", "suspended")
    assert license_["until"] == seen_at + 44 * signing.DAY, (
        "a second list has no date; without any list the license ends then"
    )
    assert license_["permits"]["create"] is True
    assert license_["next_action"]["code"] == "contact_reseller"
    agent.clock.advance(3600)
    assert agent.license()["state"] == "grace"  # no second list, no suspension
    agent.publish({signing.LICENSE_IDX: 2})
    assert agent.run("refresh")["answer"]["license"]["state"] == "suspended"
    agent.clock.advance(60)
    agent.publish({})
    assert agent.run("refresh")["answer"]["license"]["state"] == "active"


def test_after_a_sighting_it_looks_every_quarter_of_an_hour(agent: Simulated) -> None:
    agent.install(FREE)
    agent.publish({signing.LICENSE_IDX: 2})
    assert agent.run("refresh")["next_run_s"] <= 900


def test_an_older_list_is_refused_and_the_newer_goes_on_ruling(agent: Simulated) -> None:
    agent.install(FREE)
    agent.publish({signing.LICENSE_IDX: 2})
    agent.run("refresh")
    agent.publish({}, iat=agent.clock.wall_s - 60)
    frame = agent.run("refresh")
    assert frame["result"]["asked"][1]["code"] == "chain_invalid"
    assert frame["answer"]["license"]["state"] == "grace"


@pytest.mark.parametrize(
    "answer",
    [
        ok(b"<html>please log in</html>", "application/statuslist+jwt"),
        ok(b"", "application/statuslist+jwt"),
        Unavailable(Reason.SERVER_ERROR, "status_unexpected"),
        Unavailable(Reason.CAPTIVE_PORTAL, "wrong_type"),
        Unavailable(Reason.TLS_UNTRUSTED, "certificate_untrusted"),
    ],
)
def test_a_failed_check_is_a_reason_and_never_a_state(agent: Simulated, answer: Any) -> None:
    agent.install(FREE)
    agent.run("refresh")
    agent.network.on("GET", STATUS_URL, answer)
    frame = agent.run("refresh")
    license_ = frame["answer"]["license"]
    assert license_["state"] == "active"
    assert len(license_["reasons"]) == 1
    assert license_["reasons"] != ["ok"]
    assert frame["next_run_s"] <= 6 * 3600
    agent.publish({})
    agent.clock.advance(1)
    assert agent.run("refresh")["answer"]["license"]["reasons"] == ["ok"]


def test_a_fetch_that_hangs_is_planned_around_like_any_failure(agent: Simulated) -> None:
    """It was asked again every quarter of an hour, for ever."""

    def hang(word: str, *, signalled: bool) -> Reply:
        raise Bug(Reason.INTERNAL, "outlet_timeout", program="fetch")

    agent.install(FREE)
    agent.world.network.fetch = hang  # type: ignore[method-assign]
    waits = []
    for _ in range(8):
        frame = agent.run("refresh")
        waits.append(frame["answer"]["next_run"]["at"] - frame["answer"]["license"]["as_of"])
        assert frame["answer"]["license"]["reasons"] == ["internal"]
    assert max(waits) > 900


def test_advisories_wait_for_quiet_and_are_not_forgotten(agent: Simulated) -> None:
    agent.network.serve(ADVISORIES_URL, b"", "application/jose")
    frame = agent.run("start")
    ends_at = agent.clock.wall_s + 30 * signing.DAY
    while agent.clock.wall_s < ends_at:
        agent.clock.advance(frame["next_run_s"])
        frame = agent.run("tick")
    assert [sealed.url for sealed in agent.network.sent].count(ADVISORIES_URL) >= 20


def test_a_server_that_asks_for_patience_gets_it(agent: Simulated) -> None:
    agent.install(FREE)
    agent.network.on("GET", STATUS_URL, Unavailable(Reason.SERVER_ERROR, "status_unexpected", retry_after_s=7200))
    assert agent.run("refresh")["next_run_s"] >= 7200


def test_who_asks_by_hand_need_not_wait(agent: Simulated) -> None:
    agent.install(FREE)
    agent.network.on("GET", STATUS_URL, Unavailable(Reason.SERVER_ERROR, "status_unexpected", retry_after_s=7200))
    agent.run("refresh")
    before = len(agent.network.sent)
    agent.run("tick")
    assert len(agent.network.sent) == before
    assert agent.run("refresh")["ok"]
    assert len(agent.network.sent) > before


def test_an_edited_bundle_is_refused_and_the_good_one_stays(agent: Simulated) -> None:
    agent.install(FREE)
    for place in range(5, len(FREE) - 2, 41):
        edited = FREE[:place] + (b"A" if FREE[place : place + 1] != b"A" else b"B") + FREE[place + 1 :]
        frame = agent.install(edited)
        assert frame["error"]["kind"] == "Untrusted", place
        assert frame["answer"]["license"]["state"] == "active"
    assert agent.files.read(PATHS.bundle, max_bytes=10**6) == FREE


def test_a_bundle_that_rots_on_disk_gives_way_to_the_previous_one(agent: Simulated) -> None:
    agent.install(FREE)
    renewed = signing.lines(
        signing.delegation(), signing.license(iat=ISSUED, jti="license-2", exp=signing.NOW + 300 * signing.DAY)
    )
    agent.install(renewed)
    agent.files.put(PATHS.bundle, renewed[:-90], owner=0, mode=0o600)
    license_ = agent.license()
    assert license_["state"] == "active"
    assert "format_invalid" in license_["reasons"]


def test_when_no_bundle_verifies_any_more_there_are_two_weeks(agent: Simulated) -> None:
    agent.install(FREE)
    agent.files.put(PATHS.bundle, b"rot", owner=0, mode=0o600)
    license_ = agent.license()
    assert (license_["state"], license_["until"]) == ("grace", agent.clock.wall_s + 14 * signing.DAY)
    agent.clock.advance(14 * signing.DAY)
    assert agent.license()["state"] == "expired"
    agent.install(FREE)
    agent.publish({})
    assert agent.run("refresh")["answer"]["license"]["state"] == "active"


def test_removing_and_installing_again_begins_no_count_anew(agent: Simulated) -> None:
    agent.install(FREE)
    agent.publish({signing.LICENSE_IDX: 1})
    first = agent.run("refresh")["answer"]["license"]
    agent.clock.advance(3600)
    assert agent.run("remove")["answer"]["license"]["state"] == "unlicensed"
    again = agent.install(FREE)["answer"]["license"]
    assert again["until"] == first["until"]


def test_damaging_the_bundle_stops_no_count(agent: Simulated) -> None:
    agent.install(FREE)
    agent.publish({signing.LICENSE_IDX: 1})
    agent.run("refresh")
    agent.clock.advance(71 * 3600)
    agent.files.put(PATHS.bundle, b"rot", owner=0, mode=0o600)
    assert agent.license()["state"] == "grace"
    agent.clock.advance(3600)
    assert agent.license()["state"] == "revoked"


def test_a_status_key_may_begin_with_any_character(agent: Simulated) -> None:
    """A thumbprint begins with - or _ for one key in 32; the state that remembers it must stay readable."""
    keys = (signing.signer(f"status {number}") for number in range(1000))
    odd = next(key for key in keys if key.kid[0] in "-_")
    agent.files.put(ROOT_FILE, signing.root(keys=signing.role_keys(status=[odd])))
    agent.install(FREE)
    agent.network.serve(STATUS_URL, signing.status_list({}, by=odd, iat=signing.NOW), "application/statuslist+jwt")
    agent.network.serve(ROOTS_URL, signing.root(keys=signing.role_keys(status=[odd])), "application/jose")
    assert agent.run("refresh")["answer"]["license"]["reasons"] == ["ok"]
    agent.run("tick")
    assert not agent.files.exists(PATHS.state.with_name("state.json.broken"))


def test_an_activation_that_moved_and_was_then_revoked_gets_no_second_time(agent: Simulated) -> None:
    activate(agent)
    agent.install(DUE)
    agent.run("activate")
    agent.publish({signing.ACTIVATION_IDX: 3})
    first = agent.run("refresh")["answer"]["license"]
    assert (first["state"], first["reasons"][0]) == ("grace", "superseded")
    agent.clock.advance(3600)
    agent.publish({signing.ACTIVATION_IDX: 1})
    assert agent.run("refresh")["answer"]["license"]["until"] == first["until"]


def test_files_of_root_are_adopted_once_and_stay(agent: Simulated) -> None:
    agent.files.put(PATHS.license, FREE)
    assert agent.license()["state"] == "active"
    assert agent.files.exists(PATHS.license)
    agent.run("remove")
    assert agent.license()["state"] == "unlicensed"


def test_an_import_may_be_any_signed_document(agent: Simulated) -> None:
    agent.opt_outs.set_signals(offline=True)
    agent.files.put(PATHS.license, FREE)
    agent.files.put(PATHS.import_dir / "status.jwt", signing.status_list({signing.LICENSE_IDX: 2}))
    agent.files.put(PATHS.import_dir / "junk", b"\x00\xff")
    license_ = agent.license()
    assert (license_["state"], license_["reasons"][0]) == ("grace", "suspended")
    assert agent.network.sent == []


def test_broken_state_is_set_aside_and_said_not_replaced_in_silence(
    agent: Simulated, capfd: pytest.CaptureFixture[str]
) -> None:
    agent.install(FREE)
    agent.files.put(PATHS.state, b"{}", owner=0, mode=0o600)
    assert agent.license()["state"] == "active"
    assert agent.files.read(PATHS.state.with_name("state.json.broken"), max_bytes=99) == b"{}"
    assert "state_set_aside" in capfd.readouterr().err


def test_a_list_held_nowhere_grows_stale_then_ends_the_license(agent: Simulated) -> None:
    agent.install(FREE)
    agent.opt_outs.set_signals(offline=True)
    agent.clock.advance(30 * signing.DAY)
    assert agent.license()["reasons"][0] == "status_stale"
    agent.clock.advance(14 * signing.DAY)
    license_ = agent.license()
    assert (license_["state"], license_["reasons"][0]) == ("expired", "status_stale")
    assert license_["permits"] == {"run": True, "change": True, "create": False, "paid_features": False}


def test_another_region_is_never_contacted(agent: Simulated) -> None:
    agent.files.put(PATHS.settings, b'schema = 1\nregion = "tr"\ntrust_root = "/etc/opanel-agent/root.jws"\n')
    agent.install(DUE)
    asked = agent.run("refresh")["result"]["asked"]
    assert [each["code"] for each in asked] == ["destination", "destination"]
    assert agent.run("activate")["error"]["code"] == "region"
    assert agent.network.sent == []
