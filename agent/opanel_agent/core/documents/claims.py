"""Pieces that several documents share: who may be called, which entry of the status list, a half-open range."""

import re
from dataclasses import dataclass
from typing import Final

from opanel_agent.core.codec.reader import Members

JTI: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")
SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}")
URI: Final = re.compile(r"[!-~]{1,255}")
MAX_DAYS: Final = 36_500
EMAIL: Final = re.compile(r"[!-?A-~]{1,64}@[!-?A-~]{1,189}")
_PHONE: Final = re.compile(r"\+?[0-9][0-9 ()/.-]{2,39}")
WEB: Final = re.compile(r"https?://[!-~]{1,247}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How to reach somebody; at least one way is given."""

    email: str | None
    phone: str | None
    url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRef:
    """A document's entry in the status list (IETF Token Status List section 6.2): `uri` is the list's name."""

    idx: int
    uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """start <= n < end."""

    start: int
    end: int

    def __contains__(self, number: int) -> bool:
        return self.start <= number < self.end

    def within(self, other: "Range") -> bool:
        return other.start <= self.start and self.end <= other.end


def read_contact(said: Members) -> Contact:
    """The contact members of an object; every state but `active` must be able to say whom to call."""
    contact = Contact(
        email=said.text("email", pattern=EMAIL) if said.has("email") else None,
        phone=said.text("phone", pattern=_PHONE) if said.has("phone") else None,
        url=said.text("url", pattern=WEB) if said.has("url") else None,
    )
    if contact.email is contact.phone is contact.url is None:
        raise said.refuse("email")
    return contact


def read_status(claims: Members) -> StatusRef:
    """Shape: {status: {status_list: {idx, uri}}}."""
    status = claims.members("status")
    entry = status.members("status_list")
    ref = StatusRef(idx=entry.integer("idx"), uri=entry.text("uri", pattern=URI))
    entry.end()
    status.end()
    return ref


def read_range(said: Members, name: str) -> Range:
    """Shape: [start, end], start < end."""
    match said.value(name):
        case [start, end] if type(start) is int and type(end) is int and start < end:
            return Range(start=start, end=end)
        case _:
            raise said.refuse(name)


def read_days(said: Members, name: str) -> int:
    return said.integer(name, high=MAX_DAYS)


def read_span(claims: Members) -> tuple[int, int]:
    """`nbf` and `exp`, in this order in time."""
    nbf, exp = claims.integer("nbf"), claims.integer("exp")
    if nbf >= exp:
        raise claims.refuse("exp")
    return nbf, exp
