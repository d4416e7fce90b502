"""Defines the purposes: every request that the agent can make belongs to one, and there is no other way out.

The table `POLICIES` *is* the list: what a purpose may say, what governs it, and
what do-not-track does to it. What a report may say is declared field by field
in the catalog (`core.reporting.catalog`); the other bodies have the fields that
are named here. To add a request to the agent means to add a row here, which the
gate, the receipts and the documentation then show.

The term is that of GDPR art. 5(1)(b) and KVKK art. 4: data are collected for
specified purposes and not used for others.
"""

from enum import StrEnum, unique
from typing import Final

from opanel_agent.core.values import frozen, replace

# How many shards the status list can have, each with a GET of its own.
SHARDS: Final = 64
# The largest reply is a status list (`documents.status_list.MAX_TOKEN_BYTES`).
MAX_REPLY_BYTES: Final = 512 * 1024


@unique
class Purpose(StrEnum):
    """Names the purposes, by the words of the settings, the consent file, the ledger and the wire."""

    # The status list and the roots: what tells whether the license was revoked.
    # Fixed GETs.
    LICENSE_STATUS = "license_status"
    # Notices of security flaws, which the administrator should see. A fixed
    # GET.
    SECURITY_ADVISORIES = "security_advisories"
    # Asks for the next edition of a license in the last part of its term.
    LICENSE_RENEWAL = "license_renewal"
    # Activates or releases a license, or fetches the bundle of a license key.
    LICENSE_ACTIVATION = "license_activation"
    # The weekly report in coarse classes. By consent alone.
    USAGE_STATISTICS = "usage_statistics"
    # A scrubbed traceback of the agent itself. By consent alone.
    CRASH_REPORTS = "crash_reports"
    # Uses a right over reports that were sent, or over license data.
    DATA_RIGHTS = "data_rights"


@unique
class Basis(StrEnum):
    """Names what permits a purpose: a setting that stands, the administrator's command each time, or his consent.

    The values are shown to a person as the place of an objection.
    """

    # `[license] check` in agent.toml, true unless it says no.
    CHECK_SETTING = "[license] check"
    # `[license] renew`, likewise.
    RENEW_SETTING = "[license] renew"
    # `advisories`, likewise.
    ADVISORIES_SETTING = "advisories"
    # A person types the command, sees what would leave, and confirms; each time.
    COMMAND = "command"
    # consent.toml says yes, to the notice that is installed. Never the default.
    CONSENT = "consent"


@unique
class UnderDoNotTrack(StrEnum):
    """Names what an opt-out of tracking does to a purpose."""

    # The same bytes for everyone say nothing about this server.
    GOES_ON = "goes_on"
    DENIED = "denied"
    # The command writes the request to a file, to be carried by other ways.
    TO_FILE = "to_file"


@frozen
class PurposePolicy:
    """Holds one row of the table.

    `paths` are all that may be asked for below a base URL; `fields` all names
    that a body may have (a report's are the catalog's).
    """

    governor: Basis
    under_do_not_track: UnderDoNotTrack
    paths: frozenset[str]
    fields: frozenset[str] = frozenset()


# The claims of a signed request (`documents.signed_request`), which the gate reads
# from the very bytes that would leave.
_REQUEST_CLAIMS: Final = frozenset(
    {"ver", "iss", "iat", "jti", "kind", "key_sha256", "license_sha256", "jwk", "salt", "components", "nonce"}
)

# One row for each purpose. A body may have no name that is not in `fields`, and a
# request no path that is not in `paths`: both are closed lists, so a mistake
# elsewhere can make a request fail but not say more.
POLICIES: Final[dict[Purpose, PurposePolicy]] = {
    Purpose.LICENSE_STATUS: PurposePolicy(
        governor=Basis.CHECK_SETTING,
        under_do_not_track=UnderDoNotTrack.GOES_ON,
        paths=frozenset(
            {"/v1/status.jwt", "/v1/roots.jws", *(f"/v1/status/{shard}.jwt" for shard in range(1, SHARDS))}
        ),
    ),
    Purpose.SECURITY_ADVISORIES: PurposePolicy(
        governor=Basis.ADVISORIES_SETTING,
        under_do_not_track=UnderDoNotTrack.GOES_ON,
        paths=frozenset({"/v1/advisories.jws"}),
    ),
    Purpose.LICENSE_RENEWAL: PurposePolicy(
        governor=Basis.RENEW_SETTING,
        under_do_not_track=UnderDoNotTrack.DENIED,
        paths=frozenset({"/v1/renewals"}),
        fields=_REQUEST_CLAIMS,
    ),
    Purpose.LICENSE_ACTIVATION: PurposePolicy(
        governor=Basis.COMMAND,
        under_do_not_track=UnderDoNotTrack.TO_FILE,
        paths=frozenset({"/v1/activations", "/v1/releases", "/v1/bundles"}),
        fields=_REQUEST_CLAIMS | {"schema"},
    ),
    Purpose.USAGE_STATISTICS: PurposePolicy(
        governor=Basis.CONSENT,
        under_do_not_track=UnderDoNotTrack.DENIED,
        paths=frozenset({"/v1/reports/usage_statistics"}),
    ),
    Purpose.CRASH_REPORTS: PurposePolicy(
        governor=Basis.CONSENT,
        under_do_not_track=UnderDoNotTrack.DENIED,
        paths=frozenset({"/v1/reports/crash_reports"}),
    ),
    Purpose.DATA_RIGHTS: PurposePolicy(
        governor=Basis.COMMAND,
        under_do_not_track=UnderDoNotTrack.TO_FILE,
        paths=frozenset({"/v1/rights"}),
        fields=_REQUEST_CLAIMS | {"schema", "reveals", "right", "text"},
    ),
}

# Those that are asked for, one question each, in this order.
CONSENT_BASED: Final = tuple(purpose for purpose, terms in POLICIES.items() if terms.governor is Basis.CONSENT)
# Those that are fixed GETs, made by fetch; all others are posted by the
# courier.
FIXED: Final = frozenset({Purpose.LICENSE_STATUS, Purpose.SECURITY_ADVISORIES})


@frozen
class FixedGet:
    """Holds a GET that is the same bytes for everyone: all that `fetch` can do.

    `max_bytes` caps the reply.
    """

    purpose: Purpose
    path: str
    content_type: str
    max_bytes: int


# What fetch may ask, by the word that it is given. The reply's media type is
# compared, because a captive portal answers with 200 and a page.
FIXED_GETS: Final[dict[str, FixedGet]] = {
    "status": FixedGet(
        purpose=Purpose.LICENSE_STATUS,
        path="/v1/status.jwt",
        content_type="application/statuslist+jwt",
        max_bytes=MAX_REPLY_BYTES,
    ),
    "roots": FixedGet(
        purpose=Purpose.LICENSE_STATUS, path="/v1/roots.jws", content_type="application/jose", max_bytes=MAX_REPLY_BYTES
    ),
    "advisories": FixedGet(
        purpose=Purpose.SECURITY_ADVISORIES,
        path="/v1/advisories.jws",
        content_type="application/jose",
        max_bytes=256 * 1024,
    ),
}

# The status list's shards after the first: the same bytes for everyone who has
# one of a million documents in it (docs/adr/0027).
SHARD_GETS: Final[dict[str, FixedGet]] = {
    f"status-{shard}": replace(FIXED_GETS["status"], path=f"/v1/status/{shard}.jwt") for shard in range(1, SHARDS)
}
EVERY_GET: Final = FIXED_GETS | SHARD_GETS

# All that may be said to fetch about a fixed GET: `status` begins with the
# first mirror, `status.2` with the second. Numbers from short lists, so that
# the whole input stays one of a few words, whoever says it.
MIRRORS_TRIED: Final = 4
WORDS: Final[dict[str, tuple[str, int]]] = {
    word if skipped == 0 else f"{word}.{skipped + 1}": (word, skipped)
    for word in EVERY_GET
    for skipped in range(MIRRORS_TRIED)
}


def shown_paths(purpose: Purpose) -> tuple[str, ...]:
    """Returns the paths of a purpose as a person reads them: those of the shards as one template of RFC 6570."""
    shards = {get.path for get in SHARD_GETS.values()}
    paths = POLICIES[purpose].paths
    return (*sorted(paths - shards), *(("/v1/status/{shard}.jwt",) if paths & shards else ()))


def status_word(shard: int) -> str:
    """Returns the word of a shard's GET."""
    return "status" if shard == 0 else f"status-{shard}"
