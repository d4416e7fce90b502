"""Who asks the management API, told by an API key; and what its handlers share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import NotPermitted, Usage
from opanel_authority.api.limits import Limiter
from opanel_authority.authority import Authority
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import DelegationRow
from opanel_authority.lifecycle import api_keys
from opanel_authority.lifecycle.api_keys import Holder
from opanel_authority.lifecycle.changed_by import ChangedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class Managed:
    """What the handlers need; as `app.Served`."""

    authority: Authority
    now: Callable[[], int]
    elapsed: Callable[[], float]
    log: Callable[[str], None]
    wrong_keys: Limiter
    webhook_tests: Limiter


class NoKey(Exception):
    """No API key, or none that opens anything."""


_BEARER: Final = HTTPBearer(
    scheme_name="apiKey", bearerFormat="opk_…", description="Of `opanel-authority api-key`", auto_error=False
)


def requires(managed: Managed, scope: str) -> Any:  # noqa: ANN401 - FastAPI's marker of a dependency
    """Makes the dependency that lets a request in by its API key, and yields the key's `Holder`.

    Raises NoKey for a key that opens nothing, NotPermitted for one without the scope, and (`rate_limited`) where all
    callers together have shown too many wrong ones.
    """

    def holder(shown: HTTPAuthorizationCredentials | None = Depends(_BEARER)) -> Holder:
        with managed.authority.store.reading() as books:
            found = None if shown is None else api_keys.holder(books, shown.credentials.strip())
        if found is None:
            managed.wrong_keys.take("wrong", managed.elapsed())
            raise NoKey
        if scope not in found.scopes:
            raise NotPermitted(Reason.NOT_PERMITTED, "scope_missing", scope=scope)
        api_keys.note_use(managed.authority, found.key_id, now=managed.now())
        return found

    return Depends(holder)


def named_seller(books: Books, holder: Holder, named: str | None) -> DelegationRow | None:
    """Returns the reseller whose key it is; with the vendor's the one that he names, or None.

    Raises NotPermitted or Usage.
    """
    if holder.delegation is not None:
        row = books.delegation(number=holder.delegation)
        if row is None or named not in (None, row.name):
            raise NotPermitted(Reason.NOT_PERMITTED, "reseller_other")
        return row
    row = None if named is None else books.delegation(name=named)
    if named is not None and row is None:
        raise Usage(Fault.USAGE, "reseller_unknown", name=named[:128])
    return row


def who(holder: Holder, reason: str | None = None) -> ChangedBy:
    """Names an API key's holder as the author of a change, for the change log."""
    return ChangedBy(actor=f"api:{holder.name}", reason=reason, delegation=holder.delegation)
