"""Tables of the books. `repository`, `repositories` and `search` read and write them.

No column holds an address, and reports and rights requests are dated by their day. Their rows are kept in the order of
random ids (WITHOUT ROWID in SQLite), so that not even their place tells which came first.

Times are seconds since the epoch in BigInteger: a license may end after 2038. A status entry is a global number: shard
times 2^20 plus the index in the shard (`status_allocation`).
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

META_DATA = MetaData()
# The newest of migrations/versions: what Alembic's table says of a database that this code reads and writes.
VERSION: Final = "0004"
MAX_NUMBER: Final = 2**63 - 1  # of every column of numbers, in both engines
facts = Table("facts", META_DATA, Column("name", String(32), primary_key=True), Column("value", Text))

# ---- the status list

pools = Table(
    "pools",
    META_DATA,
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("end", BigInteger, nullable=False),
    Column("owner", String(64), nullable=False, index=True),
    Column("drawn", BigInteger, nullable=False),
)
status_chunks = Table(
    "status_chunks",
    META_DATA,
    Column("number", Integer, primary_key=True, autoincrement=False),  # entry // 4096
    Column("bits", LargeBinary, nullable=False),
)
shards = Table(
    "shards",
    META_DATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("changes", BigInteger, nullable=False),  # how many changes of status there were
    Column("signed_changes", BigInteger, nullable=False),  # how many of them the token tells
    Column("iat", BigInteger, nullable=False),
    Column("kid", String(64), nullable=False),
    Column("token", Text, nullable=False),
)

# ---- delegations

delegations = Table(
    "delegations",
    META_DATA,
    Column("number", Integer, primary_key=True),
    Column("jti", String(32), nullable=False, unique=True),  # of the first version; what people call it by
    Column("name", String(128), nullable=False, unique=True),
    Column("idx", BigInteger, nullable=False),
    Column("status", Integer, nullable=False),
    Column("directory", Text, nullable=False),
    Column("version", Integer, nullable=False),  # the newest of delegation_versions
    Column("slots_drawn", BigInteger, nullable=False),
)
delegation_versions = Table(
    "delegation_versions",
    META_DATA,
    Column("number", Integer, primary_key=True),
    Column("delegation", Integer, ForeignKey("delegations.number"), nullable=False, index=True),
    Column("jti", String(32), nullable=False, unique=True),
    Column("text", Text, nullable=False),
    Column("replaced_key", Integer, nullable=False),  # 1: its key was stolen; what it signed is signed anew
)

# ---- licenses

licenses = Table(
    "licenses",
    META_DATA,
    Column("id", String(32), primary_key=True),  # jti of the first edition
    Column("delegation", Integer, ForeignKey("delegations.number"), nullable=False),
    Column("key_sha256", String(64), nullable=False, unique=True),
    Column("slot", BigInteger),  # NULL: another license has it now
    Column("idx", BigInteger),  # as slot
    Column("status", Integer, nullable=False),
    Column("renews", Integer, nullable=False),
    Column("order_id", String(128)),
    Column("created", BigInteger, nullable=False),
    Column("ends", BigInteger, nullable=False),  # exp of the newest edition
    Column("free_at", BigInteger, nullable=False),  # when no agent can hold an edition as valid any more
    Column("moves_since", BigInteger, nullable=False),  # moves before that do not count: the reseller lifted the limit
    Column("networks", Text),  # CIDR, a space between them; NULL: from everywhere
    Index("ix_licenses_created", "delegation", "created"),
    Index("ix_licenses_free", "free_at"),
    Index("ix_licenses_status", "status", "delegation", "created"),
    Index("ix_licenses_order", "order_id", "delegation", unique=True),
)
# What is free again is found without passing the licenses whose slot and entry were given away before.
_HAS_SLOT, _HAS_ENTRY = licenses.c.slot.is_not(None), licenses.c.idx.is_not(None)
Index(
    "ix_licenses_slot",
    *(licenses.c.delegation, licenses.c.status, licenses.c.free_at),
    sqlite_where=_HAS_SLOT,
    postgresql_where=_HAS_SLOT,
)
Index(
    "ix_licenses_entry",
    *(licenses.c.delegation, licenses.c.free_at),
    sqlite_where=_HAS_ENTRY,
    postgresql_where=_HAS_ENTRY,
)
editions = Table(
    "editions",
    META_DATA,
    Column("number", Integer, primary_key=True),
    Column("jti", String(32), nullable=False, unique=True),
    Column("license", String(32), ForeignKey("licenses.id"), nullable=False, index=True),
    Column("version", Integer, ForeignKey("delegation_versions.number"), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("line", LargeBinary, nullable=False),  # line_codec
)
former_entries = Table(
    "former_entries",
    META_DATA,
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
    Column("license", String(32), ForeignKey("licenses.id"), nullable=False, index=True),
)
free_numbers = Table(  # of licenses that were erased
    "free_numbers",
    META_DATA,
    Column("kind", String(8), primary_key=True),  # entry, slot
    Column("owner", String(64), primary_key=True),  # as in pools; of a slot the delegation's number
    Column("number", BigInteger, primary_key=True, autoincrement=False),
)
activations = Table(
    "activations",
    META_DATA,
    Column("number", Integer, primary_key=True),  # their order; two can have one `iat`
    Column("jti", String(32), nullable=False, unique=True),
    Column("license", String(32), ForeignKey("licenses.id"), nullable=False, index=True),
    Column("jkt", String(64), nullable=False),
    Column("seat", Integer, nullable=False),
    Column("idx", BigInteger, nullable=False),
    Column("iat", BigInteger, nullable=False),
    Column("line", LargeBinary, nullable=False),
    Column("ended", String(16)),
    Column("ended_at", BigInteger),
)
_LIVE = activations.c.ended.is_(None)
Index("ix_activations_live", activations.c.seat, sqlite_where=_LIVE, postgresql_where=_LIVE)  # they are counted
answers = Table(
    "answers",
    META_DATA,
    Column("request_sha256", String(64), primary_key=True),
    Column("activation", String(32), ForeignKey("activations.jti"), nullable=False, index=True),
    sqlite_with_rowid=False,
)
changes = Table(
    "changes",
    META_DATA,
    Column("number", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("act", String(32), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("subject", String(64), nullable=False, index=True),
    Column("delegation", Integer),
    Column("reason", Text),
    Index("ix_changes_delegation", "delegation", "number"),
)

reservations = Table(
    "reservations",
    META_DATA,
    Column("jti", String(32), primary_key=True),
    Column("delegation", Integer, ForeignKey("delegations.number"), nullable=False),
    Column("slot", BigInteger, nullable=False),
    Column("idx", BigInteger, nullable=False),
    Column("order_id", String(128)),
    Column("at", BigInteger, nullable=False),
)

# ---- the management API

api_keys = Table(
    "api_keys",
    META_DATA,
    Column("id", String(16), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("delegation", Integer, ForeignKey("delegations.number")),  # NULL: the vendor's
    Column("scopes", String(256), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("revoked", BigInteger),
    Column("used_on", BigInteger),  # day since 1970, UTC
)
idempotent_replies = Table(
    "idempotent_replies",
    META_DATA,
    Column("api_key", String(16), ForeignKey("api_keys.id"), nullable=False),
    Column("idempotency_key", String(128), nullable=False),
    Column("request_sha256", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("at", BigInteger, nullable=False, index=True),
    UniqueConstraint("api_key", "idempotency_key"),
)
webhooks = Table(
    "webhooks",
    META_DATA,
    Column("id", String(32), primary_key=True),
    Column("delegation", Integer, ForeignKey("delegations.number")),
    Column("url", Text, nullable=False),
    Column("secret", String(64), nullable=False),
    Column("previous_secret", String(64)),  # what it was before, for who has not taken the new one yet
    Column("previous_until", BigInteger),
    Column("events", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("inside", Integer, nullable=False),  # 1: the vendor typed it here; it need not be a public address
)
deliveries = Table(
    "deliveries",
    META_DATA,
    Column("number", Integer, primary_key=True),
    Column("webhook", String(32), ForeignKey("webhooks.id"), nullable=False, index=True),
    Column("body", Text, nullable=False),
    Column("due", BigInteger, index=True),  # NULL: delivered or given up
    Column("tries", Integer, nullable=False),
    Column("outcome", String(64)),
)

# ---- what came in by consent or by right, and advisories

reports = Table(
    "reports",
    META_DATA,
    Column("id", String(32), primary_key=True),  # the receipt's jti
    Column("sha256", String(64), nullable=False, unique=True),
    Column("erasure", String(64), nullable=False, index=True),
    Column("purpose", String(32), nullable=False),
    Column("day", Integer, nullable=False),  # since 1970, UTC
    Column("due", Integer, nullable=False, index=True),  # a day too: when it is erased at the latest
    Column("restricted", Integer, nullable=False),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)
rights = Table(
    "rights",
    META_DATA,
    Column("id", String(32), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("day", Integer, nullable=False),
    Column("due", Integer, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("found", Integer, nullable=False),
    Column("means", Text, nullable=False),  # ids of reports or activations, where a person must look at them
    Column("text", Text),
    sqlite_with_rowid=False,
)
refused = Table(
    "refused",
    META_DATA,
    Column("digest", String(64), primary_key=True),
    Column("day", Integer, nullable=False),
    sqlite_with_rowid=False,
)
advisories = Table(
    "advisories",
    META_DATA,
    Column("seq", Integer, primary_key=True),
    Column("jti", String(64), nullable=False, unique=True),
    Column("exp", BigInteger, nullable=False),
    Column("line", Text, nullable=False),
)
