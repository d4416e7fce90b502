"""Private keys: files that only their owner can read, one role each, and signatures that the agent's code takes."""

import base64
import json
import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from fixtures.authority.vendor import vendor
from opanel_agent.core.errors import Bug, Misconfigured
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Typ
from opanel_authority.cli.main import main
from opanel_authority.documents import key_encryption, keys
from opanel_authority.documents.keys import SIGNS, PrivateKey, Role


def saved(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "status.pem"
    keys.save(PrivateKey.make(Role.STATUS), path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(Misconfigured) as caught:
        keys.load(path, Role.STATUS)
    return caught.value.detail


def test_a_key_is_read_back_and_nobody_else_can(tmp_path: Path) -> None:
    key = PrivateKey.make(Role.STATUS)
    path = tmp_path / "keys" / "status.pem"
    before = os.umask(0)
    try:
        keys.save(key, path)
    finally:
        os.umask(before)
    assert keys.load(path, Role.STATUS).public == key.public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = saved(tmp_path)
    path.chmod(mode)
    assert refusal(path) == "key_readable"


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o770])
def test_a_directory_that_others_enter_is_refused(tmp_path: Path, mode: int) -> None:
    path = saved(tmp_path)
    path.parent.chmod(mode)
    assert refusal(path) == "key_readable"
    with pytest.raises(Misconfigured):
        keys.save(PrivateKey.make(Role.STATUS), path.parent / "another.pem")


@pytest.mark.root
def test_somebody_elses_key_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    os.chown(path, 12345, -1)
    assert refusal(path) == "key_owner"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    path = saved(tmp_path)
    link = path.with_name("link.pem")
    link.symlink_to(path)
    assert refusal(link) == "key_file_type"


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    keys.make_directory(tmp_path / "keys")
    os.mkfifo(tmp_path / "keys" / "status.pem", 0o600)
    assert refusal(tmp_path / "keys" / "status.pem") == "key_file_type"


def test_what_is_no_ed25519_key_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    for wrong in (
        b"",
        b"\xff" * 100,
        X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ):
        path.write_bytes(wrong)
        assert refusal(path) == "key_unreadable"


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        keys.save(PrivateKey.make(Role.STATUS), path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("role", list(Role))
def test_a_key_signs_only_what_its_role_signs(role: Role) -> None:
    key = PrivateKey.make(role)
    for typ in Typ:
        if typ in SIGNS[role]:
            token = key.sign(typ, {"ver": 1}).encode()
            jws.parse(token, max_bytes=1024).open({key.public.kid: key.public}, typ)
        else:
            with pytest.raises(Bug):
                key.sign(typ, {"ver": 1})


def test_requests_are_signed_by_agents_only() -> None:
    assert not any(Typ.REQUEST in typs for typs in SIGNS.values())


def test_a_key_shows_its_thumbprint_only() -> None:
    key = PrivateKey.make(Role.ISSUER)
    assert repr(key) == f"PrivateKey(role='issuer', kid='{key.public.kid}')"


def test_under_a_passphrase_keys_are_written_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passphrase_file = tmp_path / "passphrase"
    passphrase_file.write_text("correct horse\n")
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, str(passphrase_file))
    path = saved(tmp_path)
    assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    kept = keys.load(path, Role.STATUS)
    assert keys.load(path, Role.STATUS).public == kept.public
    passphrase_file.write_text("wrong")
    assert refusal(path) == "passphrase_wrong"
    passphrase_file.write_text(" \n")
    assert refusal(path) == "passphrase_empty"
    monkeypatch.delenv(keys.PASSPHRASE_VARIABLE)
    assert refusal(path) == "passphrase_missing"


def test_a_passphrase_costs_16_mib_to_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As OpenSSL reads it: scrypt with N = 2^14, r = 8, p = 5, AES-256-CBC; and no two files are alike."""
    (tmp_path / "passphrase").write_text("correct horse")
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, str(tmp_path / "passphrase"))
    key = PrivateKey.make(Role.STATUS)
    pem = key.pem()
    assert pem != key.pem()
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    asked = [openssl, "pkey", "-passin", "pass:correct horse", "-pubout", "-outform", "DER"]
    public = subprocess.run(asked, input=pem, capture_output=True, check=True).stdout
    assert public[-32:] == key.public.raw
    shown = subprocess.run([openssl, "asn1parse"], input=pem, capture_output=True, check=True).stdout.decode()
    assert [line.rpartition(":")[2] for line in shown.splitlines() if "INTEGER" in line] == ["4000", "08", "05", "20"]
    assert (":scrypt" in shown, ":aes-256-cbc" in shown) == (True, True)


@pytest.mark.parametrize("size", [1, 16, 48, 80])
def test_whatever_its_size_the_container_is_read_by_its_lengths(size: int) -> None:
    pem = key_encryption.encrypted(bytes(size), b"x")
    whole = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    long_form = whole[1] == 0x81
    assert len(whole) == (3 + whole[2] if long_form else 2 + whole[1])
    assert key_encryption.is_current(pem)


def test_files_of_before_are_encrypted_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "passphrase").write_text("correct horse")
    path = saved(tmp_path)
    key = keys.load(path, Role.STATUS)
    assert isinstance(key.secret, Ed25519PrivateKey)
    path.write_bytes(
        key.secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"correct horse"))
    )
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, str(tmp_path / "passphrase"))
    assert not keys.is_encrypted(path)
    assert keys.load(path, Role.STATUS).public == key.public
    assert [keys.encrypt(path, Role.STATUS) for _ in range(2)] == [True, False]
    assert keys.is_encrypted(path)
    assert keys.load(path, Role.STATUS).public == key.public


@pytest.mark.slow
def test_another_passphrase_takes_over_even_where_it_was_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = vendor(tmp_path, now=int(time.time()))
    here = ["--dir", str(made.authority.directory), "--json"]
    count = len([*(tmp_path / "vendor" / "keys").glob("*.pem"), tmp_path / "reseller" / "key.pem"])
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("correct horse")
    new.write_text("battery staple")
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, str(old))
    assert main(["health", *here]) == 1
    assert "status.pem is not encrypted" in capsys.readouterr().out
    assert main(["encrypt-keys", *here]) == 0
    capsys.readouterr()
    assert main(["health", *here]) == 0
    assert keys.encrypt(made.authority.directory / "keys/status.pem", Role.STATUS, b"battery staple"), (
        "one, and no more"
    )
    capsys.readouterr()
    for encrypted in (count - 1, 0):
        assert main(["encrypt-keys", "--new-passphrase", str(new), *here]) == 0
        assert len(json.loads(capsys.readouterr().out)["result"]["encrypted"]) == encrypted
    assert main(["health", *here]) == 1, "under the old one"
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, str(new))
    assert main(["health", *here]) == 0
    assert made.activate(made.issue())


def test_a_credential_of_systemd_is_the_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert keys.passphrase() is None
    (tmp_path / "opanel-authority-passphrase").write_bytes(b"correct horse\n")
    assert keys.passphrase() == b"correct horse"
    assert keys.load(saved(tmp_path), Role.STATUS)


@pytest.mark.slow
def test_keys_of_before_are_encrypted_in_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = vendor(tmp_path)
    here = ["--dir", str(made.authority.directory), "--json"]
    assert main(["encrypt-keys", *here]) == 78, "without a passphrase"
    (tmp_path / "passphrase").write_text("correct horse")
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, str(tmp_path / "passphrase"))
    files = [*(tmp_path / "vendor" / "keys").glob("*.pem"), tmp_path / "reseller" / "key.pem"]
    capsys.readouterr()
    for encrypted in (len(files), 0):
        assert main(["encrypt-keys", *here]) == 0
        assert len(json.loads(capsys.readouterr().out)["result"]["encrypted"]) == encrypted
    assert len(files) == 10
    for path in files:
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in path.read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.activate(made.issue())
