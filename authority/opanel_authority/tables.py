"""The tables of the books, and nothing else. `store` and `inbox` are what reads and writes them.

No column holds an address, and what came in as a report or a rights request is dated by its day. Those rows are kept in
the order of random ids (WITHOUT ROWID), so that not even their place tells which came first.
"""

from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, Text

META_DATA = MetaData()
facts = Table("facts", META_DATA, Column("name", String(32), primary_key=True), Column("value", String(128)))
pools = Table(
    "pools",
    META_DATA,
    Column("first", Integer, primary_key=True),
    Column("end", Integer, nullable=False),
    Column("owner", String(64), nullable=False, index=True),
    Column("drawn", Integer, nullable=False),
)
entries = Table(
    "entries",
    META_DATA,
    Column("idx", Integer, primary_key=True),
    Column("status", Integer, nullable=False, index=True),
    Column("changed_at", Integer, nullable=False),
)
delegations = Table(
    "delegations",
    META_DATA,
    Column("jti", String(64), primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("idx", Integer, ForeignKey("entries.idx"), nullable=False, unique=True),
    Column("directory", Text, nullable=False),
    Column("text", Text, nullable=False),
)
licenses = Table(
    "licenses",
    META_DATA,
    Column("id", String(64), primary_key=True),
    Column("delegation", String(64), ForeignKey("delegations.jti"), nullable=False, index=True),
    Column("key_sha256", String(64), nullable=False, unique=True),
    Column("slot", Integer, nullable=False),
    Column("idx", Integer, ForeignKey("entries.idx"), nullable=False, unique=True),
)
editions = Table(
    "editions",
    META_DATA,
    Column("number", Integer, primary_key=True),
    Column("jti", String(64), nullable=False, unique=True),
    Column("license", String(64), ForeignKey("licenses.id"), nullable=False, index=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("iat", Integer, nullable=False),
    Column("text", Text, nullable=False),
)
activations = Table(
    "activations",
    META_DATA,
    Column("number", Integer, primary_key=True),  # their order; two can have one `iat`
    Column("jti", String(64), nullable=False, unique=True),
    Column("license", String(64), ForeignKey("licenses.id"), nullable=False, index=True),
    Column("jkt", String(64), nullable=False),
    Column("seat", Integer, nullable=False),
    Column("idx", Integer, ForeignKey("entries.idx"), nullable=False, unique=True),
    Column("iat", Integer, nullable=False),
    Column("line", Text, nullable=False),
    Column("ended", String(16)),
    Column("ended_at", Integer),
)
answers = Table(
    "answers",
    META_DATA,
    Column("request_sha256", String(64), primary_key=True),
    Column("activation", String(64), ForeignKey("activations.jti"), nullable=False),
)
published = Table(
    "published",
    META_DATA,
    Column("name", String(32), primary_key=True),
    Column("iat", Integer, nullable=False),
    Column("token", Text, nullable=False),
)
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
    Column("exp", Integer, nullable=False),
    Column("line", Text, nullable=False),
)
