"""A service that never holds a root key: requests, signatures made elsewhere, and servers that follow."""

import contextlib
import json
import os
import pty
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fixtures.authority.customer import activated
from fixtures.authority.vendor import RESELLER, Vendor
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.documents import root as roots
from opanel_agent.core.documents.root import Destination
from opanel_agent.core.errors import AgentError, Usage
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.jose.keys import PublicKey
from opanel_agent.core.units import DAY_S
from opanel_authority import authority as home
from opanel_authority.authority import Authority
from opanel_authority.cli.main import main
from opanel_authority.documents import delegate, keys, root_claims, root_request
from opanel_authority.documents.claims import DelegationTerms
from opanel_authority.documents.keys import PrivateKey, Role

URL = "http://127.0.0.1:8470"


@dataclass
class Ceremony:
    """`service` is the machine that runs; `media` is where the root's keys are, each in a folder of its own."""

    service: Path
    media: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *words: object, status: int = 0) -> dict[str, Any]:
        """One command; its result, or the error that ended it."""
        self.capsys.readouterr()
        assert main([*map(str, words), "--json"]) == status, self.capsys.readouterr()
        shown = json.loads(self.capsys.readouterr().out)
        result: dict[str, Any] = shown["result"] if status == 0 else shown["errors"][0]
        return result

    def here(self, *words: object, status: int = 0) -> dict[str, Any]:
        return self.run(*words, "--dir", self.service, status=status)

    def key(self, name: str) -> Path:
        """A root key in a folder of its own; its public half."""
        self.run("root", "key", "-o", self.media / name)
        return self.media / name / "public.jwk"

    def thumbprint(self, name: str) -> str:
        return keys.load(self.media / name / "key.pem", Role.ROOT).public.kid

    def signed(self, request: Path, *names: str) -> list[Path]:
        return [Path(self.run(*self.sign(request, name))["signature"]) for name in names]

    def sign(self, request: Path, name: str) -> list[object]:
        output = self.media / f"{request.stem}.{name}.jws"
        return ["root", "sign", request, "--key", self.media / name / "key.pem", "-o", output]

    def begin(self, threshold: int = 2) -> Path:
        """A service whose first root waits for its signatures."""
        halves = [word for name in "abc" for word in ("--root-public-key", self.key(name))]
        self.run("init", self.service, "--url", URL, "--region", "tr", "--threshold", threshold, *halves)
        return self.service / "root-1.request"

    def ask(self, *words: object) -> Path:
        request = self.media / "next.request"
        self.here("root", "request", "-o", request, *words)
        return request

    def follow(self, request: Path, *names: str) -> dict[str, Any]:
        return self.here("root", "assemble", request, *self.signed(request, *names))

    @property
    def authority(self) -> Authority:
        return home.open_home(self.service)


@pytest.fixture
def ceremony(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ceremony:
    keys.make_directory(tmp_path / "media")
    return Ceremony(service=tmp_path / "service", media=tmp_path / "media", capsys=capsys)


@pytest.fixture
def begun(ceremony: Ceremony) -> Ceremony:
    request = ceremony.begin()
    ceremony.follow(request, "a", "c")
    return ceremony


def test_the_first_root_is_signed_where_its_keys_are(ceremony: Ceremony) -> None:
    request = ceremony.begin()
    assert not list(ceremony.service.glob("keys/root-*"))
    error = ceremony.here("resellers", status=78)
    assert "cannot find root.jws" in error["title"]
    (one,) = ceremony.signed(request, "a")
    error = ceremony.here("root", "assemble", request, one, status=78)
    assert "1 of the 2 signatures" in error["title"]
    assert not (ceremony.service / "root.jws").exists()
    assert ceremony.here("root", "assemble", request, one, *ceremony.signed(request, "b"))["seq"] == 1
    root = roots.first((ceremony.service / "root.jws").read_bytes())
    assert {key.kid for key in root.keys["root"]} == {ceremony.thumbprint(name) for name in "abc"}
    assert ceremony.here("health")["healthy"]
    assert ceremony.here("root", "assemble", request, one, *ceremony.signed(request, "c"), status=64)[
        "title"
    ].startswith("cannot write a first root")


def test_a_service_without_a_root_key_lives_through_every_rotation(begun: Ceremony, tmp_path: Path) -> None:
    made = Vendor(authority=begun.authority, now=begun.authority.root.iat)
    delegate.delegate(
        made.authority, DelegationTerms(name=RESELLER, email="a@b.example"), tmp_path / "reseller", now=made.now
    )
    customer = activated(made, at=made.now)
    steps: list[tuple[list[object], str]] = [
        (["--rotate", "status", "--rotate", "activation"], "ab"),
        (["--add-root-key", begun.key("d"), "--remove-root-key", begun.thumbprint("a")], "bc"),
        (["--rotate", "issuer", "--compromised"], "cd"),
        (["--threshold", "3"], "bcd"),
        (
            ["--controller-name", "Yeni A.Ş.", "--controller-address", "Ankara", "--controller-email", "k@v.example"],
            "bcd",
        ),
    ]
    for number, (words, names) in enumerate(steps, start=2):
        assert begun.follow(begun.ask(*words), *names)["seq"] == number
    root = begun.authority.root
    assert (root.threshold, root.controller and root.controller.name) == (3, "Yeni A.Ş.")
    assert {key.kid for key in root.keys["root"]} == {begun.thumbprint(name) for name in "bcd"}
    customer.check()
    assert customer.agent.run("tick")["answer"]["root"]["seq"] == 6
    customer.install(made.issue().text)
    assert customer.agent.run("activate")["ok"]
    assert customer.check()["reasons"] == ["ok"]
    assert not list(begun.service.glob("keys/root-*"))


def test_both_thresholds_are_counted(begun: Ceremony) -> None:
    request = begun.ask("--add-root-key", begun.key("d"), "--remove-root-key", begun.thumbprint("a"))
    error = begun.here("root", "assemble", request, *begun.signed(request, "a", "d"), status=78)
    assert "1 of the 2 signatures that the root keys of the old root owe" in error["title"]
    error = begun.here("root", "assemble", request, *begun.signed(request, "a", "b"), status=78)
    assert "1 of the 2 signatures that the root keys of the new root owe" in error["title"]
    assert begun.authority.root.seq == 1
    assert begun.follow(request, "a", "b", "d")["of_no_use_any_more"] == [begun.thumbprint("a")]


def test_the_same_key_counts_once(begun: Ceremony) -> None:
    request = begun.ask("--rotate", "receipt")
    (one,) = begun.signed(request, "a")
    assert "1 of the 2" in begun.here("root", "assemble", request, one, one, status=78)["title"]


def test_what_is_shown_is_what_is_signed(begun: Ceremony) -> None:
    request = begun.ask("--mirror", "eu=https://cdn.example", "--threshold", "3")
    shown = begun.run("root", "show", request)
    assert {(row["what"], row["before"], row["now"]) for row in shown["changed"]} == {
        ("threshold", "2", "3"),
        ("mirrors", f"tr={URL}", "eu=https://cdn.example"),
    }
    (one,) = begun.signed(request, "a")
    envelope = root_request.decode(request.read_bytes())
    line = one.read_text().strip().encode()
    assert begun.run("root", "show", request)["digest"] == envelope.digest == shown["digest"]
    assert jws.parse(line, max_bytes=10**6).payload == envelope.payload
    error = begun.run(*begun.sign(request, "b"), "--digest", "0" * 64, status=64)
    assert shown["digest"] in error["title"]
    assert begun.run(*begun.sign(request, "b"), "--digest", shown["digest"].upper())["digest"] == shown["digest"]
    begun.follow(request, "a", "b", "c")
    assert begun.run("root", "show", begun.service / "roots.jws")["digest"] == shown["digest"]


def test_a_key_that_no_root_names_signs_nothing(begun: Ceremony) -> None:
    request = begun.ask("--rotate", "status")
    begun.key("stranger")
    assert "it is no root key" in begun.run(*begun.sign(request, "stranger"), status=64)["title"]
    stranger = keys.load(begun.media / "stranger" / "key.pem", Role.ROOT)
    payload = root_request.decode(request.read_bytes()).payload
    forged = begun.media / "forged.jws"
    forged.write_text(stranger.sign_payload(Typ.ROOT, payload) + "\n")
    assert "key_unknown" in begun.here("root", "assemble", request, forged, status=64)["title"]


def test_a_signature_over_another_root_is_refused(begun: Ceremony) -> None:
    first = begun.ask("--rotate", "status")
    (one,) = begun.signed(first, "a")
    second = begun.ask("--rotate", "status")
    assert "a signature over another root" in begun.here("root", "assemble", second, one, status=64)["title"]


def test_a_request_that_another_root_overtook_is_outdated(begun: Ceremony) -> None:
    old = begun.media / "old.request"
    begun.here("root", "request", "-o", old, "--rotate", "receipt")
    begun.follow(begun.ask("--rotate", "status"), "a", "b")
    error = begun.here("root", "assemble", old, *begun.signed(old, "a", "b"), status=64)
    assert error["title"] == "cannot install root 2: there is one already"


def test_a_root_without_its_role_key_is_not_installed(begun: Ceremony) -> None:
    request = begun.media / "next.request"
    (made,) = begun.here("root", "request", "-o", request, "--rotate", "status")["new_keys"]
    Path(made).rename(begun.media / "lost.pem")
    signatures = begun.signed(request, "a", "b")
    error = begun.here("root", "assemble", request, *signatures, status=78)
    assert "cannot install a root whose status key" in error["title"]
    assert begun.authority.root.seq == 1
    (begun.media / "lost.pem").rename(made)
    assert begun.here("root", "assemble", request, *signatures)["seq"] == 2


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["--threshold", "4"], 64, "cannot have 4 of 3 root keys"),
        (["--threshold", "1"], 64, "cannot have 1 of 3 root keys"),
        (["--mirror", "eu=http://cdn.example"], 64, "cannot use http://cdn.example"),
        (["--mirror", "https://cdn.example"], 64, "is not region=url"),
        (["--authority-url", "a b=https://cdn.example"], 65, "member_value"),
        (["--remove-root-key", "nobody"], 64, "cannot use nobody"),
        (["--remove-root-key", "-" + "A" * 42], 64, "cannot use -AAAA"),  # as one thumbprint of 64 begins
        (["--days", "0"], 65, "member_value"),
        (["--rotate", "root"], 64, "invalid choice"),
    ],
)
def test_what_no_agent_would_follow_is_not_asked_for(
    begun: Ceremony, words: list[str], status: int, sentence: str
) -> None:
    before = sorted(begun.service.rglob("*"))
    request = begun.media / "wrong.request"
    assert (
        sentence in begun.here("root", "request", "-o", request, "--rotate", "status", *words, status=status)["title"]
    )
    assert not request.exists()
    assert sorted(begun.service.rglob("*")) == before, "nor was a key made"


def typed(folder: Path, words: list[object], *lines: str) -> tuple[int, str]:
    """One command at a terminal at which these lines are typed; its exit status, and what was seen there."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execv(sys.executable, [sys.executable, "-m", "opanel_authority", *map(str, words)])  # noqa: S606
    seen, waiting = b"", [*lines]
    with contextlib.suppress(OSError):  # a terminal that nobody holds any more ends so
        while part := os.read(terminal, 4096):
            seen += part
            if waiting and seen.rstrip().endswith(b":") and seen.count(b": ") > len(lines) - len(waiting):
                os.write(terminal, waiting.pop(0).encode() + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()


@pytest.mark.slow
def test_a_passphrase_may_be_typed(begun: Ceremony) -> None:
    make = ["root", "key", "-o", begun.media / "typed", "--ask-passphrase"]
    assert typed(begun.media, make, "correct horse", "battery staple")[0] == 64
    assert typed(begun.media, make, "", "")[0] == 64
    status, seen = typed(begun.media, make, "correct horse", "correct horse")
    assert status == 0, seen
    assert "horse" not in seen
    assert keys.is_encrypted(begun.media / "typed" / "key.pem")
    request = begun.ask("--add-root-key", begun.media / "typed" / "public.jwk")
    sign = [*begun.sign(request, "typed"), "--ask-passphrase"]
    assert "without a passphrase" in begun.run(*begun.sign(request, "typed"), status=78)["title"]
    assert typed(begun.media, sign, "wrong")[0] == 78
    assert typed(begun.media, sign, "correct horse")[0] == 0
    signatures = [begun.media / "next.typed.jws", *begun.signed(request, "a", "b")]
    assert begun.here("root", "assemble", request, *signatures)["seq"] == 2


def test_a_key_has_one_place_in_a_root(begun: Ceremony) -> None:
    error = begun.here(
        "root", "request", "-o", begun.media / "r", "--add-root-key", begun.media / "a/public.jwk", status=64
    )
    assert error["title"] == "cannot make a root in which a key is named twice"


def _request() -> root_request.RootRequest:
    signers: dict[Role, Sequence[PublicKey]] = {
        role: [PrivateKey.make(role).public] for role in Role if role is not Role.RESELLER
    }
    signers[Role.ROOT] = [PrivateKey.make(Role.ROOT).public for _ in range(2)]
    place = Destination(url=URL, region="tr")
    claims = root_claims.first("V", place, signers, root_claims.RootChange(), now=10 * DAY_S)
    return root_request.requested(claims)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"kind": "license"},
        {"digest": "0" * 64},
        {"payload": "e30"},
        {"payload": "W10"},
        {"payload": 1},
        {"roots": ["x"]},
        {"roots": "x"},
        {"more": 1},
    ],
)
def test_what_is_no_request_is_refused(change: dict[str, Any]) -> None:
    good = json.loads(_request().encode())
    assert root_request.decode(json.dumps(good).encode()) == root_request.decode(_encoded(good))
    with pytest.raises(Usage, match="root_request_unreadable"):
        root_request.decode(_encoded(good | change))


def _encoded(request: dict[str, Any]) -> bytes:
    return json.dumps(request, separators=(",", ":")).encode()


def test_a_payload_that_does_not_follow_is_refused() -> None:
    """The digest fits, the number does not: a first root that says that it is the second."""
    asked = _request()
    later = root_request.RootRequest(payload=dumps({**asked.claims, "seq": 2}))
    with pytest.raises(AgentError, match="root_request_unreadable"):
        root_request.decode(later.encode())
