"""The log of changes: whatever a command changes stands in it with who typed it, when, what it was, and why."""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import select, text

from fixtures import signing
from fixtures.authority import vendor as vendors
from fixtures.authority.vendor import RESELLER, URL, Vendor
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_authority.authority import open_home
from opanel_authority.books.tables import META_DATA
from opanel_authority.cli import main as command_line
from opanel_authority.documents import delegate
from opanel_authority.documents.claims import DelegationTerms
from opanel_authority.lifecycle import api_keys, webhooks
from opanel_authority.lifecycle.changed_by import ChangedBy
from opanel_authority.lifecycle.webhooks import Event

Typed = tuple[str | Path, ...]
WHY: Final = "as the letter of 3 May asks"
ADVICE: Final = {"severity": "low", "title": {"tr": "Başlık", "en": "Title"}, "body": {"tr": "Metin", "en": "Text"}}
# They work on files of another machine, with no directory of an authority: there is no log to write to.
NO_DIRECTORY: Final = {"root key", "root sign", "reseller-key", "sign"}
RUNS_ON: Final = {"serve"}  # what it changes, it logs at the act
REMOTE: Final = "remote "  # of the service's books: api/test_authority_remote.py


def draft() -> bytes:
    claims = signing.release_claims()
    return dumps({name: value for name, value in claims.items() if name not in {"ver", "iss"}})


class Desk:
    """A vendor's directory with a license that is activated on one machine, and what commands are typed with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: Vendor = vendors.vendor(folder, now=int(time.time()) - 100)
        self.license = self.made.issue(order_id="o1")
        self.activation = self.made.activate(self.license).jti

    @property
    def directory(self) -> Path:
        return self.folder / "vendor"

    def run(self, *typed: str | Path) -> int:
        first, *rest = map(str, typed)
        return command_line.main([*first.split(), *rest])

    def here(self, *typed: str | Path) -> None:
        assert self.run(*typed, "--dir", self.directory) == 0

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def new(self, name: str) -> Path:
        return self.folder / name

    def log(self, directory: Path | None = None) -> list[dict[str, Any]]:
        """The newest first."""
        with open_home(directory or self.directory).store.reading() as books:
            return [*books.changes(limit=1000)]

    def dump(self) -> dict[str, list[Any]]:
        """Every row of the books."""
        with self.made.authority.store.reading() as books:
            return {
                table.name: sorted(map(tuple, books.connection.execute(select(table))), key=repr)
                for table in META_DATA.sorted_tables
            }


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def _other(desk: Desk) -> None:
    terms = DelegationTerms(name="Other", email="a@b.example")
    delegate.delegate(desk.made.authority, terms, desk.new("other"), now=desk.made.now)


def _resume(desk: Desk) -> Typed:
    desk.here("suspend", "o1")
    return ("resume", "o1")


def _transfer(desk: Desk) -> Typed:
    _other(desk)
    return ("transfer", "o1", "--to", "Other", "-o", desk.new("moved"))


def _assemble(desk: Desk) -> Typed:
    desk.here("root request", "--rotate", "receipt", "-o", desk.new("request"))
    for number in "12":
        key = desk.directory / "keys" / f"root-{number}.pem"
        assert desk.run("root sign", desk.new("request"), "--key", key, "-o", desk.new(f"signature {number}")) == 0
    return ("root assemble", desk.new("request"), desk.new("signature 1"), desk.new("signature 2"))


def _restore(desk: Desk) -> Typed:
    desk.here("backup", desk.new("copy"))
    for path in desk.directory.glob("authority.sqlite*"):
        path.unlink()
    return ("restore", desk.new("copy"))


def _upgrade(desk: Desk) -> Typed:
    with desk.made.authority.store.transaction() as books:
        for statement in (
            *(f"ALTER TABLE webhooks DROP COLUMN {name}" for name in ("previous_secret", "previous_until", "inside")),
            *(f"DROP INDEX ix_licenses_{name}" for name in ("slot", "entry")),
            "DROP INDEX ix_activations_live",
            "ALTER TABLE licenses DROP COLUMN networks",
            "DROP TABLE free_numbers",
            "UPDATE alembic_version SET version_num = '0001'",
        ):
            books.connection.execute(text(statement))
    return ("upgrade",)


def _purge(desk: Desk) -> Typed:
    desk.here("retention", "--changes", "0")
    return ("purge",)


def _revoke_key(desk: Desk) -> Typed:
    made = api_keys.make(
        desk.made.authority, name="a", reseller=RESELLER, scopes=api_keys.SCOPES, now=desk.made.now, actor="test"
    )
    return ("revoke-api-key", made.id)


def _webhook(command: str) -> Callable[[Desk], Typed]:
    def typed(desk: Desk) -> Typed:
        who, made = ChangedBy(actor="test"), desk.made
        hook = webhooks.add(
            made.authority, URL, reseller=None, events=(Event.ISSUED,), now=made.now, who=who, inside=True
        )
        return (command, hook)

    return typed


def _answer(desk: Desk) -> Typed:
    request = desk.made.request(desk.license, RequestKind.ACTIVATION, "server b", iat=int(time.time()))
    return ("answer", desk.write("sent", request), "-o", desk.new("reply"))


# command -> what is typed, and the act that the log names
CHANGING: Final[dict[str, tuple[Callable[[Desk], Typed], str]]] = {
    "init": (lambda desk: ("init", desk.new("fresh"), "--url", URL, "--region", "tr"), "init"),
    "rotate": (lambda _desk: ("rotate", "receipt"), "install_root"),
    "root request": (
        lambda desk: ("root request", "--rotate", "receipt", "-o", desk.new("request")),
        "request_root",
    ),
    "root assemble": (_assemble, "install_root"),
    "release sign": (
        lambda desk: ("release sign", desk.write("draft", draft()), "-o", desk.new("release")),
        "sign_release",
    ),
    "issue": (lambda desk: ("issue", "--as", RESELLER, "-o", desk.new("b")), "issue"),
    "renew": (lambda desk: ("renew", "o1", "-o", desk.new("b")), "renew"),
    "suspend": (lambda _desk: ("suspend", "o1"), "suspend"),
    "resume": (_resume, "resume"),
    "revoke": (lambda _desk: ("revoke", "o1"), "revoke"),
    "supersede": (lambda desk: ("supersede", desk.activation), "supersede"),
    "change": (lambda desk: ("change", "o1", "--seats", "3", "-o", desk.new("b")), "change"),
    "renewal-on": (lambda _desk: ("renewal-on", "o1"), "renewal_on"),
    "renewal-off": (lambda _desk: ("renewal-off", "o1"), "renewal_off"),
    "lift-move-limit": (lambda _desk: ("lift-move-limit", "o1"), "lift_move_limit"),
    "networks": (lambda _desk: ("networks", "o1", "192.0.2.0/24"), "set_networks"),
    "transfer": (_transfer, "transfer"),
    "bulk": (
        lambda desk: ("bulk", desk.write("orders", "order_id\n7\n"), "--as", RESELLER, "-o", desk.new("out")),
        "issue",
    ),
    "delegate": (lambda desk: ("delegate", "New", "--email", "a@b.example", "-o", desk.new("his")), "delegate"),
    "reseller": (lambda _desk: ("reseller", RESELLER, "--days", "900"), "change_delegation"),
    "relocate": (lambda desk: ("relocate", RESELLER, desk.new("reseller")), "relocate"),
    "api-key": (lambda _desk: ("api-key", "billing", "--as", RESELLER), "make_api_key"),
    "revoke-api-key": (_revoke_key, "revoke_api_key"),
    "webhook": (lambda _desk: ("webhook", URL, "--as", RESELLER), "add_webhook"),
    "test-webhook": (_webhook("test-webhook"), "test_webhook"),
    "rotate-webhook": (_webhook("rotate-webhook"), "rotate_webhook"),
    "remove-webhook": (_webhook("remove-webhook"), "remove_webhook"),
    "restore": (_restore, "restore"),
    "retention": (lambda _desk: ("retention", "--licenses", "400"), "retention"),
    "encrypt-keys": (
        lambda desk: ("encrypt-keys", "--new-passphrase", desk.write("passphrase", "correct horse\n")),
        "encrypt_key",
    ),
    "upgrade": (_upgrade, "upgrade"),
    "answer": (_answer, "answer"),
    "purge": (_purge, "purge"),
    "clock": (lambda _desk: ("clock", "--accept"), "accept_clock"),
    "advise": (lambda desk: ("advise", desk.write("advice", json.dumps(ADVICE))), "advise"),
    "publish": (lambda desk: ("publish", desk.new("www")), "publish"),
}
READING: Final[dict[str, Callable[[Desk], Typed]]] = {
    "list": lambda _desk: ("list",),
    "show": lambda _desk: ("show", "o1"),
    "export": lambda desk: ("export", "-o", desk.new("all.csv")),
    "log": lambda _desk: ("log",),
    "audit": lambda _desk: ("audit",),
    "resellers": lambda _desk: ("resellers",),
    "api-keys": lambda _desk: ("api-keys",),
    "webhooks": lambda _desk: ("webhooks",),
    "webhook-deliveries": _webhook("webhook-deliveries"),
    "received": lambda _desk: ("received",),
    "backup": lambda desk: ("backup", desk.new("copy")),
    "health": lambda _desk: ("health",),
    "root show": lambda desk: ("root show", desk.directory / "root.jws"),
    "release show": lambda desk: ("release show", desk.new("release")),
}


def commands(parser: argparse.ArgumentParser, group: str = "") -> Iterator[tuple[str, bool]]:
    """Every command of the command line, and whether its row says that it changes something."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                if inner.get_default("command") is None:
                    yield from commands(inner, f"{group}{name} ")
                else:
                    yield group + name, inner.get_default("logs_a_change")


def test_every_command_says_whether_it_changes_something() -> None:
    table = {name: changes for name, changes in commands(command_line._parser()) if not name.startswith(REMOTE)}
    assert {name for name, changes in table.items() if changes} == CHANGING.keys()
    assert {name for name, changes in table.items() if not changes} == {*READING, *NO_DIRECTORY, *RUNS_ON}


@pytest.mark.parametrize("name", CHANGING)
def test_what_a_command_changes_stands_in_the_log(name: str, desk: Desk) -> None:
    typed, act = CHANGING[name]
    arguments = typed(desk)
    directory = desk.new("fresh") if name == "init" else desk.directory
    there: Typed = () if name == "init" else ("--dir", directory)
    assert desk.run(*arguments, *there, "--reason", WHY) == 0
    mine = [row for row in desk.log(directory) if row["reason"] == WHY]
    assert act in {row["act"] for row in mine}
    for row in mine:
        assert row["actor"].startswith("command:")
        assert abs(row["at"] - time.time()) < 600
        assert row["subject"]


@pytest.mark.parametrize("name", READING)
def test_a_command_that_changes_nothing_leaves_every_row_as_it_was(name: str, desk: Desk) -> None:
    if name == "release show":
        desk.here("release sign", desk.write("draft", draft()), "-o", desk.new("release"))
    arguments = READING[name](desk)
    before = desk.dump()
    desk.run(*arguments, "--dir", desk.directory)
    assert desk.dump() == before


def test_a_change_that_changes_nothing_is_none(desk: Desk) -> None:
    desk.here("publish", desk.new("www"))
    before = desk.log()
    desk.here("publish", desk.new("www"), "--reason", WHY)
    desk.here("upgrade", "--reason", WHY)
    assert desk.log() == before


def test_the_log_says_which_root_and_which_keys_changed(desk: Desk) -> None:
    desk.here("rotate", "status", "--compromised", "--reason", WHY)
    assert [(row["act"], row["subject"]) for row in desk.log() if row["kind"] == "root"] == [
        ("install_root", "root 2 status"),
        ("install_root", "root 1 activation,advisory,issuer,receipt,release,root,status"),
    ]


@pytest.mark.slow
def test_an_encrypted_key_is_named_and_a_reseller_s_stands_with_him(desk: Desk) -> None:
    desk.here("encrypt-keys", "--new-passphrase", desk.write("passphrase", "correct horse\n"))
    rows = [row for row in desk.log() if row["act"] == "encrypt_key"]
    with desk.made.authority.store.reading() as books:
        reseller = books.delegation(name=RESELLER)
    assert reseller is not None
    assert {row["subject"] for row in rows if row["kind"] == "key"} == {
        *("activation", "advisory", "issuer", "receipt", "release", "root-1", "root-2", "root-3", "status")
    }
    assert [row["subject"] for row in rows if row["kind"] == "delegation"] == [reseller.jti]
