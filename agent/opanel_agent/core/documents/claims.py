"""Defines the claims that several documents share: contacts, status references, ranges, day counts, the validity span.

Each reader takes its members from a `codec.reader.Members` and raises Untrusted
(`member_missing`, `member_type`, `member_value`) with the object's path.
Registered claims have their meaning from RFC 7519 section 4.1 (`nbf`, `exp`),
the status reference from draft-ietf-oauth-status-list section 6.2.
"""

from typing import Final

from opanel_agent.core.codec.reader import Members
from opanel_agent.core.values import frozen

JTI: Final = r"[A-Za-z0-9_-]{8,64}"
SHA256_HEX: Final = r"[0-9a-f]{64}"
URI: Final = r"[!-~]{1,255}"
MAX_DAYS: Final = 36_500
EMAIL: Final = r"[!-?A-~]{1,64}@[!-?A-~]{1,189}"
_PHONE: Final = r"\+?[0-9][0-9 ()/.-]{2,39}"
WEB: Final = r"https?://[!-~]{1,247}"


@frozen
class Contact:
    """Holds the ways to reach somebody, of which at least one is given."""

    email: str | None
    phone: str | None
    url: str | None


@frozen
class StatusRef:
    """Names a document's entry in a status list (draft-ietf-oauth-status-list section 6.2).

    `uri` is the list's name, which the root of trust confirms; it is never
    fetched. `idx` counts from 0.
    """

    idx: int
    uri: str


@frozen
class Range:
    """Holds a half-open range of integers: start <= n < end."""

    start: int
    end: int

    def __contains__(self, number: int) -> bool:
        return self.start <= number < self.end

    def within(self, other: "Range") -> bool:
        """Tells whether every number of this range is in the other one."""
        return other.start <= self.start and self.end <= other.end


def read_contact(members: Members) -> Contact:
    """Returns the contact members of an object:

    `email`, `phone` and `url`, each optional.

    Raises Untrusted where all three are missing: every license state but
    `active` must be able to say whom to call. The patterns admit what can be
    printed and dialled, not every address of RFC 5322.
    """
    contact = Contact(
        email=members.text("email", pattern=EMAIL) if members.has("email") else None,
        phone=members.text("phone", pattern=_PHONE) if members.has("phone") else None,
        url=members.text("url", pattern=WEB) if members.has("url") else None,
    )
    if contact.email is contact.phone is contact.url is None:
        raise members.refuse("email")
    return contact


def read_status(claims: Members) -> StatusRef:
    """Returns the status reference of a document.

    Shape: {status: {status_list: {idx, uri}}}.
    """
    status = claims.members("status")
    entry = status.members("status_list")
    ref = StatusRef(idx=entry.integer("idx"), uri=entry.text("uri", pattern=URI))
    entry.end()
    status.end()
    return ref


def read_range(members: Members, name: str) -> Range:
    """Returns a range.

    Shape: [start, end] with start < end; an empty range would permit nothing
    and is refused.
    """
    match members.value(name):
        case [start, end] if type(start) is int and type(end) is int and start < end:
            return Range(start=start, end=end)
        case _:
            raise members.refuse(name)


def read_days(members: Members, name: str) -> int:
    """Returns a number of days, 0 to MAX_DAYS: a hundred years, so that no sum of times overflows 2^53 seconds."""
    return members.integer(name, high=MAX_DAYS)


def read_span(claims: Members) -> tuple[int, int]:
    """Returns `nbf` and `exp` in seconds. Raises Untrusted unless nbf < exp."""
    nbf, exp = claims.integer("nbf"), claims.integer("exp")
    if nbf >= exp:
        raise claims.refuse("exp")
    return nbf, exp
