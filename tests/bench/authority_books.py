"""Books with many licenses, for measuring: what issue and activation would have written, signed and all, in minutes.

usage: PYTHONPATH=tests python tests/bench/authority_books.py DIR N [SUSPENDED] [DATABASE]

DIR/vendor is then an authority whose only reseller has sold N licenses, each with one activation; SUSPENDED of them (0.01,
when not said) are suspended. DATABASE is a PostgreSQL URL; without it the books are SQLite in DIR. Every line has the
signature of its key over its own claims and stands under its own slot and entry: the service cannot tell it from what it
issued itself.
"""

import hashlib
import multiprocessing
import os
import random
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fixtures.authority.vendor import RESELLER, URL, Vendor
from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.documents.activation import DIGEST_BYTES, SALT_BYTES
from opanel_agent.core.documents.delegation import Delegation
from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.license import license_key
from opanel_agent.core.units import DAY_S
from opanel_authority import authority as authority_home
from opanel_authority.authority import Authority, RootTerms
from opanel_authority.books import line_codec
from opanel_authority.books.repositories.license_repository import SAFE_S
from opanel_authority.books.status_allocation import VENDOR, Pool
from opanel_authority.books.tables import activations, answers, changes, delegations, editions, licenses, pools
from opanel_authority.documents import claims, delegate, publish
from opanel_authority.documents.claims import DelegationTerms, LicenseTerms
from opanel_authority.documents.keys import PrivateKey, Role
from opanel_authority.requests.licensing import ACTIVATION_DAYS

SUSPENDED: Final = 0.01
ROOM: Final = 1 << 16  # slots and entries that are left for what is measured
TABLES: Final = (licenses, editions, activations, answers, changes)
YEAR_S: Final = 365 * DAY_S  # over which they were sold
_BATCH: Final = 2_000
_TERMS: Final = LicenseTerms()
_COMPONENTS: Final = ("agent_key", "boot_disk", "dmi_product_uuid", "machine_id", "root_fs_uuid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """What every license of the books has in common."""

    authority: Authority
    reseller: Delegation
    number: int
    version: int
    seller: PrivateKey
    activator: PrivateKey
    entries: Pool
    seats: Pool
    count: int
    now: int

    def rows(self, numbers: range) -> dict[str, list[dict[str, Any]]]:
        """The rows of these licenses, by table."""
        made: dict[str, list[dict[str, Any]]] = {table.name: [] for table in TABLES}
        for number in numbers:
            key, jti, seat = delegate.new_license_key(), secrets.token_hex(16), secrets.token_hex(16)
            own = claims.license_(self.reseller, _TERMS, self.now)
            idx, seat_idx = self.entries.entry(number), self.seats.entry(number)
            own |= {"jti": jti, "sub": key, "slot": number, "status": claims.status(self.authority, idx)}
            line, exp = signed(self.seller, Typ.LICENSE, own), self.now + YEAR_S
            made["licenses"].append(
                {
                    "id": jti,
                    "delegation": self.number,
                    "key_sha256": license_key.digest(key),
                    "slot": number,
                    "idx": idx,
                    "status": 0,
                    "renews": 1,
                    "order_id": f"o{number}",
                    "created": self.now - (self.count - number) * YEAR_S // self.count,
                    "ends": exp,
                    "free_at": exp + 14 * DAY_S + SAFE_S,
                    "moves_since": 0,
                    "networks": None,
                }
            )
            sha256 = hashlib.sha256(line.encode()).hexdigest()
            made["editions"].append(
                {"jti": jti, "license": jti, "version": self.version, "sha256": sha256, "line": line_codec.pack(line)}
            )
            jkt = base64url(secrets.token_bytes(32))
            packed = line_codec.pack(signed(self.activator, Typ.ACTIVATION, self._activation(key, seat, jkt, seat_idx)))
            made["activations"].append(
                {"jti": seat, "license": jti, "jkt": jkt, "seat": 0, "idx": seat_idx, "iat": self.now, "line": packed}
            )
            made["answers"].append({"request_sha256": secrets.token_hex(32), "activation": seat})
            made["changes"].append(
                {
                    "at": self.now,
                    "actor": "command:root",
                    "act": "issue",
                    "kind": "license",
                    "subject": jti,
                    "delegation": self.number,
                    "reason": None,
                }
            )
        return made

    def _activation(self, key: str, jti: str, jkt: str, idx: int) -> dict[str, Json]:
        digests: dict[str, Json] = {name: base64url(secrets.token_bytes(DIGEST_BYTES)) for name in _COMPONENTS}
        return {
            "ver": 1,
            "iss": self.authority.root.sub,
            "jti": jti,
            "sub": key,
            "iat": self.now,
            "nbf": self.now,
            "exp": self.now + ACTIVATION_DAYS * DAY_S,
            "bind": {"salt": base64url(secrets.token_bytes(SALT_BYTES)), "k": 3, "p": 1, "components": digests},
            "cnf": {"jkt": jkt},
            "seat": 0,
            "status": claims.status(self.authority, idx),
        }


def signed(key: PrivateKey, typ: Typ, body: dict[str, Json]) -> str:
    """As `PrivateKey.sign`, but not verified again: a million of them."""
    signing_input = jws.signing_input(typ, key.public.kid, dumps(body))
    return jws.assemble(signing_input, key.secret.sign(signing_input)).decode("ascii")


def made_books(
    directory: Path, count: int, *, suspended: float = SUSPENDED, database: str | None = None, now: int
) -> Vendor:
    """An authority in `directory`/vendor whose books have `count` licenses."""
    terms = RootTerms(name="OPanel", url=URL, region="tr", database=database)
    authority = authority_home.init(directory / "vendor", terms, now=now)
    room = count + ROOM
    sells = DelegationTerms(name=RESELLER, email="destek@ornek.example", slots=room, status_entries=room)
    delegate.delegate(authority, sells, directory / "reseller", now=now)
    chance = random.Random(7)  # noqa: S311 - the same licenses in every run
    with authority.store.pooled():
        sale = _sale(authority, count, now)
        for made in _signed(sale, count):
            with authority.store.transaction() as books:
                stopped = [row for row in made["licenses"] if chance.random() < suspended]
                for row in stopped:
                    row["status"] = int(Status.SUSPENDED)
                for table in TABLES:
                    books.connection.execute(table.insert(), made[table.name])
                books.set_statuses({row["idx"]: int(Status.SUSPENDED) for row in stopped})
        publish.current_status_list(authority, now=now)
    return Vendor(authority=authority, now=now)


def _sale(authority: Authority, count: int, now: int) -> Sale:
    """Gives the reseller's slots and entries out, and as many of the vendor's for activations."""
    with authority.store.transaction() as books:
        row = books.delegation(name=RESELLER)
        assert row is not None
        order_key = bytes.fromhex(books.fact("status_order_key") or "")
        run = books.connection.execute
        range_ = run(pools.select().where(pools.c.owner == row.jti)).one()
        run(pools.update().where(pools.c.owner == row.jti).values(drawn=count))
        run(delegations.update().where(delegations.c.number == row.number).values(slots_drawn=count))
        first, end = books.new_range(VENDOR, count)
        run(pools.update().where(pools.c.first == first).values(drawn=count))
        return Sale(
            authority=authority,
            reseller=delegate.last(authority, row.text),
            number=row.number,
            version=row.version,
            seller=delegate.key_of(row),
            activator=authority.key(Role.ACTIVATION),
            entries=Pool(key=order_key, start=range_.first, end=range_.end),
            seats=Pool(key=order_key, start=first, end=end),
            count=count,
            now=now,
        )


def _signed(sale: Sale, count: int) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """The rows of each batch, made by as many processes as there are cores."""
    batches = (range(start, min(count, start + _BATCH)) for start in range(0, count, _BATCH))
    global _SALE  # noqa: PLW0603 - forked processes inherit it: keys cannot be pickled
    _SALE = sale
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as workers:
        yield from workers.imap(_rows, batches)


_SALE: Sale


def _rows(numbers: range) -> dict[str, list[dict[str, Any]]]:
    return _SALE.rows(numbers)


def main() -> None:
    directory, count, *more = sys.argv[1:]
    begun = time.monotonic()
    suspended = float(more[0]) if more else SUSPENDED
    database = more[1] if len(more) > 1 else None
    made_books(Path(directory), int(count), suspended=suspended, database=database, now=int(time.time()))
    sys.stdout.write(f"{count} licenses in {time.monotonic() - begun:.0f} s\n")


if __name__ == "__main__":
    main()
