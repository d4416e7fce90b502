"""Who asks the management API, told by an API key; and what its handlers share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import NotPermitted
from opanel_authority.api.limits import Limiter
from opanel_authority.authority import Authority
from opanel_authority.lifecycle import api_keys
from opanel_authority.lifecycle.api_keys import Holder
from opanel_authority.lifecycle.changes import ChangedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class Managed:
    """What the handlers need; as `app.Served`."""

    authority: Authority
    now: Callable[[], int]
    elapsed: Callable[[], float]
    log: Callable[[str], None]
    wrong_keys: Limiter


class NoKey(Exception):
    """No API key, or none that opens anything."""


_BEARER: Final = HTTPBearer(
    scheme_name="apiKey", bearerFormat="opk_…", description="Of `opanel-authority api-key`", auto_error=False
)


def requires(managed: Managed, scope: str) -> Any:  # noqa: ANN401 - FastAPI's marker of a dependency
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


def who(holder: Holder, reason: str | None = None) -> ChangedBy:
    return ChangedBy(actor=f"api:{holder.name}", reason=reason, delegation=holder.delegation)
