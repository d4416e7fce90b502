"""What a root says: the first one, and the next from the one before it and what is asked otherwise.

Nothing here judges what an agent admits: the agent's own verifier does, on a root with the same claims that throwaway keys
sign (`require_acceptable`). So a mistake surfaces before anybody carries a request to the place where the root's keys are.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.purposes import FIXED, Purpose
from opanel_agent.core.documents import root as roots
from opanel_agent.core.documents.controller import Controller, Mechanism
from opanel_agent.core.documents.root import Destination, Root
from opanel_agent.core.errors import Usage
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.jose.keys import PublicKey
from opanel_agent.core.units import DAY_S
from opanel_agent.core.wire import endpoints
from opanel_authority.documents.keys import PrivateKey, Role

MAX_KEYS: Final = 16
LEAST_THRESHOLD: Final = 2
_POSTED: Final = tuple(purpose for purpose in Purpose if purpose not in FIXED)  # the fixed GETs go to mirrors

Claims = dict[str, Json]
Keys = Mapping[Role, Sequence[PublicKey]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RootChange:
    """What the next root says otherwise than the one before it; what is not given stays. `days` until it expires.

    - `keys`: of each role that is named all keys from this root on, the one that signs first.
    - `threshold`: how many root keys sign; `release_threshold`: how many of the role `release` sign a release.
    - `mirrors`: where the static files lie; `authority`: where everything else is posted. Each replaces all before.
    - `controller`, `transfers` by region, `ip_retention_days`: what the notice tells people.
    """

    days: int = 1825
    keys: Keys = field(default_factory=dict)
    threshold: int | None = None
    release_threshold: int | None = None
    mirrors: Sequence[Destination] = ()
    authority: Sequence[Destination] = ()
    controller: Controller | None = None
    transfers: Mapping[str, Mechanism] = field(default_factory=dict)
    ip_retention_days: int | None = None


def first(name: str, place: Destination, keys: Keys, change: RootChange, *, now: int) -> Claims:
    """Returns the claims of the first root. `place` is where agents reach the authority and its static files."""
    return {
        "ver": 1,
        "iss": name,
        "sub": name,
        "iat": now,
        "exp": now + change.days * DAY_S,
        "seq": 1,
        "threshold": LEAST_THRESHOLD if change.threshold is None else change.threshold,
        "keys": _jwks(keys, 1 if change.release_threshold is None else change.release_threshold),
        "status_uri": f"{place.url}/v1/status.jwt",
        "endpoints": _posted(change.authority or [place]),
        "mirrors": _places(change.mirrors or [place]),
        **_notice(change.controller, change.transfers, change.ip_retention_days),
    }


def following(old: Root, change: RootChange, *, now: int) -> Claims:
    """Returns the claims of the root after `old`."""
    release_threshold = old.release_threshold or 1 if change.release_threshold is None else change.release_threshold
    days_kept = old.ip_retention_days if change.ip_retention_days is None else change.ip_retention_days
    kept = {purpose: _places(there) for purpose, there in old.endpoints.items()}
    return {
        "ver": 1,
        "iss": old.iss,
        "sub": old.sub,
        "iat": now,
        "exp": now + change.days * DAY_S,
        "seq": old.seq + 1,
        "threshold": old.threshold if change.threshold is None else change.threshold,
        "keys": _jwks(
            {**{Role(role): of_role for role, of_role in old.keys.items()}, **change.keys}, release_threshold
        ),
        "status_uri": old.status_uri,
        "endpoints": kept | _posted(change.authority) if change.authority else kept,
        "mirrors": _places(change.mirrors or old.mirrors),
        **_notice(change.controller or old.controller, {**old.transfers, **change.transfers}, days_kept),
    }


def require_acceptable(claims: Claims) -> None:
    """Raises Usage or Untrusted for claims that no agent would accept, whoever signed them."""
    keys = keys_by_role(claims)
    threshold, count = cast("int", claims["threshold"]), len(keys[Role.ROOT.value])
    require_threshold(threshold, count)
    _require_release_threshold(claims, len(keys.get(Role.RELEASE.value, ())))
    for place in _every_place(claims):
        if not endpoints.admissible(place["url"]):
            raise Usage(Fault.USAGE, "url_inadmissible", url=place["url"])
    numbers = [cast("dict[str, str]", key)["x"] for of_role in keys.values() for key in of_role]
    if len(set(numbers)) != len(numbers):
        raise Usage(Fault.USAGE, "root_key_twice")
    trial = [PrivateKey.make(Role.ROOT) for _ in range(count)]
    stand_ins: Json = [dict(key.public.jwk()) for key in trial]
    tried: Json = {**claims, "keys": {**cast("Claims", claims["keys"]), Role.ROOT.value: stand_ins}}
    roots.first(signed(dumps(tried), trial[:threshold]))


def require_threshold(threshold: int, count: int) -> None:
    """Raises Usage unless so many of `count` root keys may sign a root."""
    if not LEAST_THRESHOLD <= threshold <= count <= MAX_KEYS:
        raise Usage(Fault.USAGE, "threshold_range", threshold=threshold, keys=count)


def _require_release_threshold(claims: Claims, count: int) -> None:
    """Raises Usage for a threshold, asked for or as before, that the release keys cannot meet.

    After a theft one key is left. That one signs alone from then on is somebody's decision, never a consequence.
    """
    if count:
        threshold = cast("dict[str, dict[str, int]]", claims["keys"])[Role.RELEASE.value]["threshold"]
        if not 1 <= threshold <= count:
            raise Usage(Fault.USAGE, "release_threshold_range", threshold=threshold, keys=count)


def keys_by_role(claims: Claims) -> dict[str, list[Json]]:
    """Returns the keys of a root's claims by role, an array each; in the claims `release` has a threshold beside its own."""
    return {
        role: cast("list[Json]", of_role["keys"] if isinstance(of_role, dict) else of_role)
        for role, of_role in cast("Claims", claims["keys"]).items()
    }


def signed(payload: bytes, signers: Collection[PrivateKey]) -> bytes:
    """Returns a root: the same payload on a line for each signer."""
    return "".join(signer.sign_payload(Typ.ROOT, payload) + "\n" for signer in signers).encode("ascii")


def _every_place(claims: Claims) -> list[dict[str, str]]:
    posted = cast("dict[str, list[dict[str, str]]]", claims["endpoints"])
    mirrors = cast("list[dict[str, str]]", claims["mirrors"])
    return [*mirrors, *(place for places in posted.values() for place in places)]


def _jwks(keys: Keys, release_threshold: int) -> Json:
    """Returns the claim `keys`: an array for each role, and for `release` an object with its own threshold."""
    claim: Claims = {role.value: [dict(key.jwk()) for key in of_role] for role, of_role in keys.items()}
    if Role.RELEASE.value in claim:
        claim[Role.RELEASE.value] = {"threshold": release_threshold, "keys": claim[Role.RELEASE.value]}
    return claim


def _posted(there: Sequence[Destination]) -> dict[str, Json]:
    return {purpose.value: _places(there) for purpose in _POSTED}


def _places(there: Collection[Destination]) -> Json:
    return [{"url": each.url.rstrip("/"), "region": each.region} for each in there]


def _notice(controller: Controller | None, transfers: Mapping[str, Mechanism], ip_retention_days: int | None) -> Claims:
    """Returns the claims for the notice: those that are named."""
    named: Claims = {} if controller is None else {"controller": controller.claim()}
    if transfers:
        named["transfers"] = {region: mechanism.value for region, mechanism in transfers.items()}
    return named if ip_retention_days is None else {**named, "ip_retention_days": ip_retention_days}
