"""Bodies of the management API, as its OpenAPI document describes them.

Written for pydantic 1.10 (Debian 12) and 2 alike: constraints that both spell the same way, options as class arguments.
"""

from pydantic import BaseModel, Field

from opanel_authority.lifecycle.listing import LicenseState


class Order(BaseModel, extra="forbid"):
    """What is sold. What is left out is the delegation's own value, or the usual one as far as it reaches."""

    order_id: str | None = Field(
        None, min_length=1, max_length=128, description="The reseller's own id: one order, one sale"
    )
    reseller: str | None = Field(None, description="For the vendor's keys: whose license it is")
    tier: str | None = Field(None, max_length=64)
    features: list[str] | None = None
    limits: dict[str, int] = Field({}, description="Such as accounts: 100")
    days: int | None = Field(None, ge=1, le=36_500)
    seats: int = Field(1, ge=1, le=100_000)
    grace_days: int | None = Field(None, ge=0, le=36_500)
    stale_days: int | None = Field(None, ge=0, le=36_500)
    within_days: int = Field(14, ge=0, le=36_500)
    min_p: int = Field(0, ge=0, le=16)
    activation: bool = True
    renews: bool = Field(default=True, description="False: a trial, or a prepaid term")
    networks: list[str] = Field([], description="CIDR: only from there; none for everywhere")
    reason: str | None = Field(None, max_length=500, description="Why, for the change log")


class Terms(BaseModel, extra="forbid"):
    """What changes after the sale; null stays as it is."""

    tier: str | None = Field(None, max_length=64)
    features: list[str] | None = None
    limits: dict[str, int] | None = None
    seats: int | None = Field(None, ge=1, le=100_000)
    days: int | None = Field(
        None, ge=1, le=36_500, description="Another term from now on; else to the end that was paid for"
    )
    renews: bool | None = None
    networks: list[str] | None = Field(None, description="CIDR: only from there; [] for everywhere")
    reason: str | None = Field(None, max_length=500)


class Why(BaseModel, extra="forbid"):
    """Why, for the change log."""

    reason: str | None = Field(None, max_length=500)


class Renewal(BaseModel, extra="forbid"):
    """For how long; as long as the last term where it is null."""

    days: int | None = Field(None, ge=1, le=36_500)
    extend: bool = Field(default=False, description="Add what is left of the last term: who pays early loses nothing")
    reason: str | None = Field(None, max_length=500)


class Transfer(BaseModel, extra="forbid"):
    """To whom."""

    reseller: str
    reason: str | None = Field(None, max_length=500)


class Sold(BaseModel):
    """A license for its buyer. The key is told to whoever issues and to nobody later."""

    id: str
    license_key: str
    bundle: str = Field(description="What `opanel-agent license install` takes as a file")
    issued_before: bool
    warnings: list[str]


class EditionBody(BaseModel):
    """A newer edition of a license."""

    id: str
    bundle: str


class Seat(BaseModel):
    """An activation that holds a seat; `since` in seconds since the epoch."""

    id: str
    seat: int
    since: int


class LicenseBody(BaseModel):
    """Times in seconds since the epoch."""

    id: str
    key_digits: str = Field(description="The first 8 hex digits of the key's SHA-256, as `doctor --report` shows them")
    reseller: str
    order_id: str | None = None
    state: LicenseState
    renews: bool
    created: int
    ends: int
    tier: str
    features: list[str]
    limits: dict[str, int]
    seats: int
    networks: list[str]


class LicenseDetail(LicenseBody):
    """A license with its seats; `edition` is the id of the newest edition, other activations are only counted."""

    activations: list[Seat]
    ended_activations: int
    edition: str


class Licenses(BaseModel):
    """`next_cursor` is null on the last page."""

    items: list[LicenseBody]
    next_cursor: str | None = None


class ChangeRow(BaseModel):
    """A row of the change log; `at` in seconds since the epoch, `subject` the id of what was changed."""

    number: int
    at: int
    actor: str
    act: str
    kind: str
    subject: str
    reason: str | None = None


class Changes(BaseModel):
    """The newest first; `next_before` is null on the last page."""

    items: list[ChangeRow]
    next_before: int | None = None


class ProblemBody(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str | None = None
    fields: list[str] | None = None
