"""Keys on tokens: SoftHSM signs roots, delegations, lists and licenses, and what is wrong with a URI is named."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.authority.soft_token import SoftTokens, soft_tokens
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.errors import AgentError, Bug, Misconfigured
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Typ
from opanel_authority import authority as home
from opanel_authority.cli.main import main
from opanel_authority.documents import keys, token_key
from opanel_authority.documents.keys import PrivateKey, Role

ONLINE = ("issuer", "activation", "status", "receipt", "advisory", "release")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftTokens]:
    with soft_tokens(tmp_path_factory.mktemp("softhsm"), "kök 1", "root 2", "service") as made:
        for label in ("kök 1", "root 2"):
            made.make_key(label, "root")
        for name in (*ONLINE, "reseller", "next", "twice", "twice"):
            made.make_key("service", name)
        made.make_other_key("service", "rsa")
        yield made


def run(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == status, capsys.readouterr()
    shown = json.loads(capsys.readouterr().out)
    result: dict[str, Any] = shown["result"] if status == 0 else shown["errors"][0]
    return result


def refusal(uri: str) -> str:
    with pytest.raises(AgentError) as caught:
        PrivateKey.on_token(Role.STATUS, uri)
    return caught.value.detail


def test_a_key_on_a_token_signs_what_agents_take(tokens: SoftTokens) -> None:
    key = PrivateKey.on_token(Role.STATUS, tokens.uri("service", "status"))
    token = key.sign(Typ.STATUS_LIST, {"iat": 1}).encode()
    jws.parse(token, max_bytes=1024).open({key.public.kid: key.public}, Typ.STATUS_LIST)
    with pytest.raises(Bug, match="token_key_bytes"):
        key.pem()


def test_an_authority_without_a_key_file(
    tokens: SoftTokens, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every key is on a token: the root's are never where the service is."""
    service, media = tmp_path / "service", tmp_path / "media"
    keys.make_directory(media)
    halves: list[object] = []
    for number, label in enumerate(("kök 1", "root 2"), start=1):
        uri = tokens.uri(label, "root")
        run(capsys, "root", "key", "--key", uri, "-o", media / str(number))
        halves += ["--root-public-key", media / str(number) / "public.jwk"]
    chosen = [word for role in ONLINE for word in ("--role-key", f"{role}={tokens.uri('service', role)}")]
    run(capsys, "init", service, "--url", "https://lic.example", "--region", "tr", *halves, *chosen)

    def follow(request: Path) -> dict[str, Any]:
        made = []
        for number, label in enumerate(("kök 1", "root 2"), start=1):
            made.append(media / f"{request.stem}-{number}.jws")
            run(capsys, "root", "sign", request, "--key", tokens.uri(label, "root"), "-o", made[-1])
        return run(capsys, "root", "assemble", request, *made, "--dir", service)

    assert follow(service / "root-1.request")["seq"] == 1
    here = ["--dir", service]
    run(
        capsys,
        "delegate",
        "R",
        "--email",
        "a@b.example",
        "-o",
        tmp_path / "r",
        *here,
        "--key",
        tokens.uri("service", "reseller"),
    )
    run(capsys, "issue", "--as", "R", "-o", tmp_path / "1.jws", *here)
    asked = run(
        capsys,
        "root",
        "request",
        "-o",
        media / "2.request",
        "--role-key",
        f"status={tokens.uri('service', 'next')}",
        *here,
    )
    assert [Path(path).suffix for path in asked["new_keys"]] == [".uri"]
    assert follow(media / "2.request")["seq"] == 2
    run(capsys, "publish", tmp_path / "www", *here)
    assert run(capsys, "health", *here)["healthy"]
    authority = home.open_home(service)
    bundles.verify((tmp_path / "1.jws").read_bytes(), authority.root, now=authority.root.iat + 60)
    assert (
        jws.parse((tmp_path / "www/v1/status.jwt").read_bytes(), max_bytes=10**6).kid
        == authority.root.keys["status"][0].kid
    )
    assert sorted({path.suffix for path in (*(service / "keys").iterdir(), *(tmp_path / "r").iterdir())}) == [
        ".jws",
        ".uri",
    ]
    assert {path.stat().st_mode & 0o777 for path in (service / "keys").iterdir()} == {0o600}


def test_a_root_key_on_a_token_signs_a_rotation_here(
    tokens: SoftTokens, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = tmp_path / "a"
    run(capsys, "init", service, "--url", "https://lic.example", "--region", "tr")
    here = ["--dir", service]
    run(capsys, "root", "key", "--key", tokens.uri("root 2", "root"), "-o", tmp_path / "t")
    first, _, third = [keys.load(service / f"keys/root-{n}.pem", Role.ROOT).public.kid for n in (1, 2, 3)]
    request = tmp_path / "2.request"
    run(
        capsys,
        "root",
        "request",
        "-o",
        request,
        "--add-root-key",
        tmp_path / "t/public.jwk",
        "--remove-root-key",
        third,
        *here,
    )
    signed = [tmp_path / f"{n}.jws" for n in (1, 2)]
    for number, output in enumerate(signed, start=1):
        run(capsys, "root", "sign", request, "--key", service / f"keys/root-{number}.pem", "-o", output)
    run(capsys, "root", "assemble", request, *signed, *here)
    (service / "keys/root-2.pem").unlink()
    (tmp_path / "t/key.uri").rename(service / "keys/root-4.uri")
    assert run(capsys, "rotate", "status", "--key", tokens.uri("service", "status"), *here)["seq"] == 3
    root = home.open_home(service).root
    kids = {jws.parse(line, max_bytes=10**6).kid for line in root.lines.splitlines()}
    assert kids == {first, PrivateKey.on_token(Role.ROOT, tokens.uri("root 2", "root")).public.kid}


def test_a_reseller_moves_his_key_to_a_token(
    tokens: SoftTokens, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init", tmp_path / "a", "--url", "https://lic.example", "--region", "tr")
    here = ["--dir", tmp_path / "a"]
    run(capsys, "delegate", "R", "--email", "a@b.example", "-o", tmp_path / "r", *here)
    run(capsys, "reseller", "R", "--rekey", "--key", tokens.uri("service", "reseller"), *here)
    assert {path.name for path in (tmp_path / "r").iterdir()} == {"key.uri", "delegation.jws"}
    run(capsys, "issue", "--as", "R", "-o", tmp_path / "1.jws", *here)
    run(capsys, "reseller", "R", "--rekey", *here)
    assert {path.name for path in (tmp_path / "r").iterdir()} == {"key.pem", "delegation.jws"}


@pytest.mark.parametrize(
    "uri",
    [
        "pkcs11:token=service;object=x?module-path=/l.so&pin-value=1234",
        "pkcs11:token=service;object=x?module-path=l.so",
        "pkcs11:token=service?module-path=/l.so",
        "pkcs11:object=x?module-path=/l.so",
        "pkcs11:token=service;token=other;object=x?module-path=/l.so",
        "pkcs11:token=service;object=x;type=public?module-path=/l.so",
        "pkcs11:token=service;object=x;x-own=1?module-path=/l.so",
        "pkcs11:token=service;object=x y?module-path=/l.so",
        "pkcs11:token=service;object=x?module-path=/l.so&pin-source=|cat",
        "file:token=service;object=x?module-path=/l.so",
        "pkcs11:",
    ],
)
def test_what_is_no_uri_of_a_key_is_refused(uri: str) -> None:
    with pytest.raises(Misconfigured, match="key_uri") as caught:
        token_key.parse(uri)
    assert "1234" not in str(caught.value)


def test_a_uri_is_read_as_the_standard_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(token_key.MODULE_VARIABLE, "/usr/lib/l.so")
    read = token_key.parse(
        "pkcs11:token=The%20Software;serial=a1;object=my-key;id=%01%FF;type=private?pin-source=file:///etc/pin"
    )
    assert (read.token, read.key) == (
        {"token": b"The Software", "serial": b"a1"},
        {"object": b"my-key", "id": b"\x01\xff"},
    )
    assert (read.module, read.pin_file) == (Path("/usr/lib/l.so"), Path("/etc/pin"))


def test_what_is_not_there_is_named(tokens: SoftTokens, tmp_path: Path) -> None:
    wrong = tmp_path / "pin"
    wrong.write_text("wrong-pin")
    token_key.close_sessions()  # else no PIN is asked for
    assert refusal(tokens.uri("root 2", "root", **{"pin-source": f"file:{wrong}"})) == "pin_wrong"
    assert refusal(tokens.uri("nobody's", "root")) == "token_missing"
    assert refusal(tokens.uri("service", "nothing")) == "token_key_missing"
    assert refusal(tokens.uri("service", "twice")) == "token_key_missing"
    assert refusal(tokens.uri("service", "rsa")) == "token_key_type"
    assert refusal(tokens.uri("service", "status", **{"module-path": str(tmp_path / "none.so")})) == "token_failed"
    key = PrivateKey.on_token(Role.ROOT, tokens.uri("root 2", "root"))
    assert key.public == PrivateKey.on_token(Role.ROOT, otherwise_named(tokens)).public


def otherwise_named(tokens: SoftTokens) -> str:
    """The same key by another name of its token: the login is the token's."""
    return tokens.uri("root 2", "root").replace("pkcs11:", "pkcs11:manufacturer=SoftHSM%20project;")


# python-pkcs11 ends the search in the session that is no more once again when it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_session_that_ended_is_opened_again(tokens: SoftTokens) -> None:
    one = PrivateKey.on_token(Role.ROOT, tokens.uri("root 2", "root"))
    other = PrivateKey.on_token(Role.ROOT, otherwise_named(tokens))
    payload = b'{"ver":1}'
    before = one.sign_payload(Typ.ROOT, payload)
    assert other.sign_payload(Typ.ROOT, payload) == before
    for session in [*token_key._sessions.values()]:
        session.close()  # the first logs out, and with it the second
        assert one.sign_payload(Typ.ROOT, payload) == other.sign_payload(Typ.ROOT, payload) == before
    token_key.close_sessions()
    assert other.sign_payload(Typ.ROOT, payload) == before


def test_the_pin_comes_from_a_file_or_a_credential(
    tokens: SoftTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = tokens.uri("root 2", "root", **{"pin-source": ""})

    def fresh() -> str:
        token_key.close_sessions()  # a process that begins has none
        return PrivateKey.on_token(Role.ROOT, uri).public.kid

    with pytest.raises(Misconfigured, match="pin_missing"):
        fresh()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(Misconfigured, match="pin_missing"):
        fresh()
    (tmp_path / token_key.PIN_CREDENTIAL).write_bytes(tokens.pin_file.read_bytes())
    by_credential = fresh()
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    monkeypatch.setenv(token_key.PIN_VARIABLE, str(tokens.pin_file))
    assert fresh() == by_credential


def test_a_reference_that_others_may_replace_is_refused(tokens: SoftTokens, tmp_path: Path) -> None:
    key = PrivateKey.on_token(Role.STATUS, tokens.uri("service", "status"))
    path = tmp_path / "keys" / "status.pem"
    assert keys.save(key, path) == path.with_suffix(".uri")
    assert keys.load(path, Role.STATUS).public == key.public
    path.with_suffix(".uri").chmod(0o620)
    with pytest.raises(Misconfigured, match="key_readable"):
        keys.load(path, Role.STATUS)
