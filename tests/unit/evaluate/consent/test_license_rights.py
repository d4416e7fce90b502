"""A right over license data: signed by the activation key, carried like every request, told and erased for real."""

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from fixtures.authority.authority_records import answer_of, everywhere, receipt_of
from fixtures.authority.authority_server import JOSE, JSON, Served, serving
from fixtures.authority.customer import Customer
from fixtures.authority.vendor import DAY, URL, Vendor, vendor
from fixtures.data.catalog_bodies import CATALOG
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codec.base64url import base64url, unbase64url
from opanel_agent.core.documents import signed_request as requests
from opanel_agent.core.documents.receipt import Receipt
from opanel_agent.core.documents.signed_request import RequestKind, Right
from opanel_agent.core.errors import NotPermitted, Untrusted
from opanel_agent.core.wire.message import Sealed, head
from opanel_authority.books import line_codec
from opanel_authority.cli import main as cli
from opanel_authority.documents.issue import Issued
from opanel_authority.requests import reports, rights

MINE, OTHERS = "server a", "server b"


def asked(made: Vendor, issued: Issued, right: Right, machine: str = MINE, **changes: Any) -> bytes:
    return made.request(issued, RequestKind.RIGHTS, machine, components={}, right=right, **changes)


def use(made: Vendor, request: bytes) -> tuple[Receipt, dict[str, Any]]:
    token = rights.license_right(made.authority, CATALOG, request, now=made.now).body
    return receipt_of(made, request, token), answer_of(token)


def refused(made: Vendor, request: bytes) -> str:
    with pytest.raises(NotPermitted) as caught:
        use(made, request)
    return caught.value.detail


def sealed(frame: dict[str, Any]) -> bytes:
    return unbase64url(frame["result"]["request"])


# ---- the agent's half, with a real authority at the other end


@pytest.fixture
def customer(tmp_path: Path) -> Customer:
    made = Customer(vendor(tmp_path))
    made.install(made.vendor.issue().text)
    frame = made.agent.run("activate")
    assert frame["ok"], frame["error"]
    return made


def last(agent: Simulated) -> Sealed:
    return agent.network.sent[-1]


@pytest.mark.parametrize("right", list(Right))
def test_each_right_leaves_as_it_was_shown_and_its_receipt_is_kept(customer: Customer, right: Right) -> None:
    agent = customer.agent
    shown = agent.run("rights", kind=right, license=True, text="Sözleşme no 7.", preview=True)["result"]
    sent_before = len(agent.network.sent)
    frame = agent.run("rights", kind=right, license=True, text="Sözleşme no 7.", confirm=shown["id"])
    assert frame["ok"], frame["error"]
    out = last(agent)
    assert len(agent.network.sent) == sent_before + 1
    assert (head(out).decode(), out.body.decode()) == (shown["head"], shown["body"])
    assert (out.url, dict(out.headers)["Content-Type"]) == (URL + "/v1/rights", JOSE)
    claims = requests.verify(out.body)
    assert (claims.kind, claims.right, claims.text, claims.components) == (
        RequestKind.RIGHTS,
        right,
        "Sözleşme no 7.",
        {},
    )
    result = agent.run("receipts")["result"]
    (owed,) = result["owed"]
    assert (owed["license"], owed["kind"], owed["reports"], owed["due"]) == (True, right, 0, frame["result"]["due"])
    assert owed["due"] == agent.clock.wall_s // DAY * DAY + 30 * DAY  # a text is for a person
    assert [each["sub"] for each in result["receipts"]] == [hashlib.sha256(out.body).hexdigest()]
    copy = agent.run("sent", id=shown["id"])["result"]
    assert (copy["body"], copy["reply_status"]) == (shown["body"], 202)
    kinds = [
        each["kind"] for each in agent.run("history")["result"]["entries"] if each["data"].get("id") == shown["id"]
    ]
    assert {"RequestAttempted", "RequestAnswered", "ReceiptKept"} <= {*kinds}


def test_the_same_request_is_the_same_bytes_until_it_is_answered(customer: Customer) -> None:
    agent = customer.agent
    bodies = []
    for options in ({"preview": True}, {}, {"preview": True}):
        frame = agent.run("rights", kind="rectify", license=True, **options)
        assert frame["ok"], frame["error"]
        bodies.append(agent.run("rights", kind="rectify", license=True, preview=True)["result"]["body"])
    assert len({*bodies}) == 1
    other = agent.run("rights", kind="rectify", license=True, text="başka", preview=True)["result"]
    assert other["body"] not in bodies
    assert len(agent.run("receipts")["result"]["owed"]) == 2


def test_what_is_answered_is_asked_anew(customer: Customer) -> None:
    agent = customer.agent
    for number in (1, 2):
        assert agent.run("rights", kind="access", license=True)["ok"]
        owed = agent.run("receipts")["result"]["owed"]
        assert len(owed) == number
        assert all(each["answered_at"] is not None for each in owed)


def test_what_is_held_comes_back_to_be_read(customer: Customer) -> None:
    frame = customer.agent.run("rights", kind="access", license=True)
    (held,) = frame["result"]["answer"]["held"]
    assert (held["seat"], held["ended"], len(held["requests"])) == (0, None, 1)


def test_a_copy_that_is_gone_or_damaged_is_not_sent_again(customer: Customer) -> None:
    agent = customer.agent
    first = agent.run("rights", kind="object", license=True, preview=True)["result"]
    agent.files.put(PATHS.held / first["id"], b"damaged")
    second = agent.run("rights", kind="object", license=True, preview=True)["result"]
    assert second["id"] != first["id"]


def test_under_do_not_track_it_is_for_a_file(customer: Customer) -> None:
    agent = customer.agent
    agent.opt_outs.set_signals(do_not_track=True)
    before = len(agent.network.sent)
    frame = agent.run("rights", kind="erase", license=True)
    assert (frame["ok"], frame["result"]["sent"], len(agent.network.sent)) == (True, False, before)
    assert requests.verify(sealed(frame)).right is Right.ERASE


def test_a_server_that_cannot_prove_whose_it_is_is_told_what_to_do(customer: Customer) -> None:
    agent = customer.agent
    agent.files.take_away(PATHS.activation_key)
    frame = agent.run("rights", kind="access", license=True, preview=True)
    assert (frame["ok"], frame["error"]["detail"]) == (False, "rights_no_key")
    assert agent.files.read(PATHS.activation_key, max_bytes=64) is None  # and none was made for it


@pytest.mark.parametrize(
    ("options", "detail"),
    [
        ({"ids": ["usage-0123456789abcdef"]}, "rights_license_ids"),
        ({"kind": "forget"}, "rights_kind"),
        ({"text": "😀"}, "rights_text"),
    ],
)
def test_what_cannot_be_asked_is_refused_here(customer: Customer, options: dict[str, Any], detail: str) -> None:
    before = len(customer.agent.network.sent)
    frame = customer.agent.run("rights", **{"kind": "erase", "license": True, **options})
    assert (frame["ok"], frame["error"]["detail"]) == (False, detail)
    assert len(customer.agent.network.sent) == before


def test_without_a_license_there_is_nothing_to_ask_for(tmp_path: Path) -> None:
    frame = Customer(vendor(tmp_path)).agent.run("rights", kind="access", license=True)
    assert (frame["ok"], frame["error"]["detail"]) == (False, "license_needed")


# ---- the authority's half


@pytest.fixture
def made(tmp_path: Path) -> Vendor:
    return vendor(tmp_path)


def test_access_tells_all_that_is_held_of_this_installation_and_nothing_of_another(made: Vendor) -> None:
    issued = made.issue(seats=2)
    request = made.request(issued, RequestKind.ACTIVATION, MINE)
    line = made.answer(request).body.decode()
    mine = made.bundle(issued, line).activation
    assert mine is not None
    others = made.activate(issued, OTHERS)
    receipt, x = use(made, asked(made, issued, Right.ACCESS))
    assert (receipt.kind, receipt.due) == ("access", receipt.iat)  # that is the answer
    assert x == {
        "found": 1,
        "held": [
            {
                "activation": mine.jti,
                "seat": 0,
                "key": signing.signer(MINE).public.kid,
                "since": made.now,
                "ended": None,
                "ended_at": None,
                "salt": base64url(signing.SALT),
                "components": {name: base64url(digest) for name, digest in signing.COMPONENTS.items()},
                "status_entry": mine.status.idx,
                "requests": [hashlib.sha256(request).hexdigest()],
            }
        ],
    }
    assert others.jti not in json.dumps(x)


def test_what_a_receipt_cannot_hold_a_person_sends(made: Vendor) -> None:
    issued = made.issue()
    for _ in range(12):
        made.activate(issued)
        made.now += 11 * DAY
    receipt, x = use(made, asked(made, issued, Right.ACCESS))
    assert (x["found"], 0 < len(x["held"]) < 12, receipt.due > receipt.iat) == (12, True, True)
    shown = reports.received_one(made.authority, receipt.jti)
    activations: Any = shown["activations"]
    assert len(activations) == 12
    assert x["held"] == activations[: -1 - len(x["held"]) : -1]
    token = rights.settle(made.authority, receipt.jti, now=made.now).body
    assert answer_of(token) == x


@pytest.mark.parametrize("right", [Right.OBJECT, Right.RECTIFY, Right.RESTRICT])
def test_everything_else_is_recorded_for_a_person(made: Vendor, right: Right) -> None:
    issued = made.issue()
    activation = made.activate(issued)
    request = asked(made, issued, right, text="Yeni sunucunun özetidir.")
    receipt, x = use(made, request)
    assert (receipt.kind, x) == (right, {"found": 1})
    assert receipt.due == made.now // DAY * DAY + 30 * DAY
    assert use(made, request)[0] == receipt
    shown: Any = reports.received_one(made.authority, receipt.jti)
    assert (shown["text"], [each["activation"] for each in shown["activations"]]) == (
        "Yeni sunucunun özetidir.",
        [activation.jti],
    )
    answer = receipt_of(made, request, rights.settle(made.authority, receipt.jti, now=made.now).body)
    assert (answer.due, answer.jti) == (answer.iat, receipt.jti)


def test_an_erasure_keeps_what_holds_a_seat_and_says_so(made: Vendor) -> None:
    issued = made.issue()
    gone, runs = made.activate(issued), made.activate(issued)
    receipt, x = use(made, asked(made, issued, Right.ERASE))
    assert (receipt.due, x["found"], x["ground"]) == (receipt.iat, 2, "GDPR 6(1)(b), KVKK m.5/2-c")
    assert x["kept"][:2] == [f"license {issued.jti}", f"activation {runs.jti}"]
    _, held = use(made, asked(made, issued, Right.ACCESS))
    assert [each["activation"] for each in held["held"]] == [runs.jti]
    assert made.status(gone.status.idx) == 3
    with pytest.raises(NotPermitted) as caught:  # it counts as before: there is only nothing newer to give
        made.renew(issued)
    assert caught.value.detail == "renewal_not_yet"


def test_an_erasure_with_a_text_is_done_and_still_for_a_person(made: Vendor) -> None:
    issued = made.issue()
    made.activate(issued)
    runs = made.activate(issued)
    receipt, _ = use(made, asked(made, issued, Right.ERASE, text="Yedeklerde de."))
    assert receipt.due > receipt.iat
    shown: Any = reports.received_one(made.authority, receipt.jti)
    assert [each["activation"] for each in shown["activations"]] == [runs.jti]


def test_what_was_erased_is_not_brought_back_by_an_old_copy(made: Vendor) -> None:
    issued = made.issue()
    activation, release = made.request(issued, RequestKind.ACTIVATION), made.request(issued, RequestKind.RELEASE)
    made.answer(activation)
    made.answer(release)
    request = asked(made, issued, Right.ERASE)
    use(made, request)
    for copy in (activation, release):
        with pytest.raises(NotPermitted) as caught:
            made.answer(copy)
        assert caught.value.detail == "activation_ended"
    assert use(made, request)[1]["found"] == 1  # the same request is answered again
    assert refused(made, asked(made, issued, Right.ACCESS)) == "not_activated_here"
    assert made.activate(issued).seat == 0


def test_an_erasure_does_not_buy_more_moves(made: Vendor) -> None:
    issued = made.issue()
    for number in range(4):
        made.activate(issued, f"server {number}")
    for number in range(3):
        assert use(made, asked(made, issued, Right.ERASE, f"server {number}"))[1]["found"] == 1
        assert refused(made, asked(made, issued, Right.ACCESS, f"server {number}")) == "not_activated_here"
    with pytest.raises(NotPermitted) as caught:
        made.activate(issued, "server 5")
    assert caught.value.detail == "seats_taken"


def test_an_old_move_is_erased_whole(made: Vendor) -> None:
    issued = made.issue()
    made.activate(issued, MINE)
    made.activate(issued, OTHERS)
    made.now += 31 * DAY
    use(made, asked(made, issued, Right.ERASE))
    with contextlib.closing(sqlite3.connect(made.authority.directory / "authority.sqlite")) as books:
        assert books.execute("SELECT count(*) FROM activations").fetchone() == (1,)


def test_only_the_key_of_an_activation_of_that_license_is_answered(made: Vendor) -> None:
    issued, another = made.issue(), made.issue()
    made.activate(issued)
    assert refused(made, asked(made, issued, Right.ACCESS, OTHERS)) == "not_activated_here"
    assert refused(made, asked(made, another, Right.ACCESS)) == "not_activated_here"
    assert refused(made, asked(made, issued, Right.ERASE, license_sha256="0" * 64)) == "license_elsewhere"
    assert refused(made, asked(made, issued, Right.ERASE, key_sha256="0" * 64)) == "key_unknown"
    assert refused(made, made.request(issued, RequestKind.RELEASE)) == "kind_elsewhere"
    with pytest.raises(NotPermitted):
        made.answer(asked(made, issued, Right.ACCESS))
    stranger = signing.request(
        by=signing.signer(OTHERS), kind=RequestKind.RIGHTS, right=Right.ACCESS, jwk=signing.signer(MINE).public
    )
    with pytest.raises(Untrusted):
        use(made, stranger)
    with pytest.raises(Untrusted) as caught:
        use(made, asked(made, issued, Right.ACCESS, text="two\nlines"))
    assert caught.value.detail in {"fields_refused", "member_value"}


# ---- real processes


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("authority")
    with serving(directory, vendor(directory, now=int(time.time()))) as running:
        yield running


def test_erased_is_gone_from_every_file_and_the_running_license_goes_on(served: Served) -> None:
    made, directory = served.vendor, served.log.parent
    issued = made.issue()
    released = made.request(
        issued, RequestKind.ACTIVATION, salt=b"planted salt 016", components={"machine_id": b"planted machine!"}
    )
    release = made.request(issued, RequestKind.RELEASE)
    runs = made.request(issued, RequestKind.ACTIVATION, OTHERS)
    for path, request in (("activations", released), ("releases", release), ("activations", runs)):
        assert served.ask("POST", f"/v1/{path}", request, JOSE).status == 200
    traces = [
        signing.signer(MINE).public.kid,
        base64url(b"planted salt 016"),
        hashlib.sha256(released).hexdigest(),
        hashlib.sha256(release).hexdigest(),
    ]

    def found() -> list[str]:
        """What is held: in the rows, and inside of the signed lines there."""
        data = everywhere(directory)
        with contextlib.closing(sqlite3.connect(directory / "vendor" / "authority.sqlite")) as books:
            lines = [row[0] for row in books.execute("SELECT line FROM activations")]
        opened = b"".join(unbase64url(line_codec.unpack(line).split(".")[1]) for line in lines if line)
        return [trace for trace in traces if trace.encode() in data + opened]

    assert found() == traces
    person = served.ask("POST", "/v1/rights", asked(made, issued, Right.RECTIFY), JOSE)
    assert (person.status, person.headers["content-type"]) == (202, JOSE)
    reply = served.ask("POST", "/v1/rights", asked(made, issued, Right.ERASE), JOSE)
    assert (reply.status, answer_of(reply.body)["found"]) == (202, 1)
    assert found() == []
    assert served.signed("/v1/renewals", issued, RequestKind.RENEWAL, OTHERS).problem == "not_yet"
    again = served.ask("POST", "/v1/rights", asked(made, issued, Right.ACCESS), JOSE)
    assert (again.status, again.problem) == (409, "superseded")


def test_each_form_has_its_own_content_type(served: Served) -> None:
    made = served.vendor
    issued = made.issue()
    assert served.signed("/v1/activations", issued, RequestKind.ACTIVATION).status == 200
    request = asked(made, issued, Right.ACCESS)
    assert served.ask("POST", "/v1/rights", request, JSON).status == 400
    assert served.ask("POST", "/v1/rights", b'{"kind":"access","schema":1}', JOSE).status == 400
    assert served.ask("POST", "/v1/rights", request, "text/plain").status == 415
    assert served.signed("/v1/activations", issued, RequestKind.RIGHTS, right=Right.ACCESS).status == 403
    assert served.ask("POST", "/v1/rights", made.request(issued, RequestKind.RELEASE), JOSE).status == 403


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b'{"kind":"access","text":"a"}', ["schema"]),
        (b'{"kind":"rights","schema":1}', ["kind"]),
        (b'{"kind":"erase","right":"erase","schema":1,"ver":1}', ["right", "ver"]),
    ],
)
def test_what_only_a_signed_request_says_is_refused_without_a_signature(
    served: Served, body: bytes, fields: list[str]
) -> None:
    reply = served.ask("POST", "/v1/rights", body, JSON)
    assert (reply.status, json.loads(reply.body)["fields"]) == (400, fields)


def test_a_request_that_came_as_a_file_is_answered_as_one(
    customer: Customer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Written by a server under do-not-track, answered by the authority's command, taken up by the server."""
    agent = customer.agent
    agent.opt_outs.set_signals(do_not_track=True)
    (tmp_path / "request.jwt").write_bytes(sealed(agent.run("rights", kind="rectify", license=True)))
    directory = str(customer.vendor.authority.directory)
    command = ["answer", str(tmp_path / "request.jwt"), "--dir", directory, "-o", str(tmp_path / "answer.jwt")]
    assert cli.main(command) == 0
    capsys.readouterr()
    frame = agent.run("bundle", document=base64url((tmp_path / "answer.jwt").read_bytes()))
    assert frame["ok"], frame["error"]
    (owed,) = agent.run("receipts")["result"]["owed"]
    assert (owed["license"], owed["answered_at"] is not None) == (True, True)
    assert cli.main(["received", "--dir", directory]) == 0
    assert "rectify" in capsys.readouterr().out
