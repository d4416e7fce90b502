"""The stable codes: why a state is what it is, why a request was denied, what went wrong.

Consumers match on them and they never change meaning (docs/json.md). Nothing
heavier than enum may be imported here: the daemon does.
"""

from enum import StrEnum, unique


@unique
class Reason(StrEnum):
    """Why a license state holds, or why the gate denied."""

    OK = "ok"
    RENEW_SOON = "renew_soon"
    BINDING_DRIFT = "binding_drift"
    ROOT_OLD = "root_old"
    CLOCK_SUSPECT = "clock_suspect"
    STATUS_STALE = "status_stale"
    ACTIVATION_DUE = "activation_due"
    RESELLER_REVOKED = "reseller_revoked"
    SIGNATURE_INVALID = "signature_invalid"
    CHAIN_INVALID = "chain_invalid"
    FORMAT_INVALID = "format_invalid"
    PRODUCT_MISMATCH = "product_mismatch"
    MACHINE_MISMATCH = "machine_mismatch"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    NO_LICENSE = "no_license"
    UNREACHABLE_DNS = "unreachable_dns"
    UNREACHABLE_TCP = "unreachable_tcp"
    TLS_UNTRUSTED = "tls_untrusted"
    PROXY_ERROR = "proxy_error"
    SERVER_ERROR = "server_error"
    CAPTIVE_PORTAL = "captive_portal"
    NOT_PERMITTED = "not_permitted"
    STATUS_UNAVAILABLE = "status_unavailable"
    SETTINGS_REFUSED = "settings_refused"
    ISOLATION_PARTIAL = "isolation_partial"
    ISOLATION_NONE = "isolation_none"
    # of the gate
    CONSENT_REFUSED = "consent_refused"
    NOT_ASKED = "not_asked"
    DENIED_BY_FILE = "denied_by_file"
    POLICY = "policy"
    NOTICE_CHANGED = "notice_changed"
    OPT_OUT = "opt_out"
    OFFLINE = "offline"
    HELD = "held"
    REVIEW_PENDING = "review_pending"
    FIELD_UNDECLARED = "field_undeclared"
    DESTINATION = "destination"
    REGION = "region"
    LEDGER = "ledger"
    CLONE = "clone"
    INTERNAL = "internal"


@unique
class Fault(StrEnum):
    """What went wrong with a command or on this machine, where no Reason says it."""

    USAGE = "usage"
    IO_FAILED = "io_failed"
    DISK_FULL = "disk_full"
    NO_PERMISSION = "no_permission"
    FILE_REFUSED = "file_refused"
    NOT_RUNNING = "not_running"
    ALREADY_RUNNING = "already_running"
    BUSY = "busy"
    NOT_YET = "not_yet"
    JOB_TIMEOUT = "job_timeout"
    JOB_FLOODED = "job_flooded"
    JOB_FAILED = "job_failed"
    PROTOCOL = "protocol"
    KEY_UNKNOWN = "key_unknown"
    SEATS_TAKEN = "seats_taken"
    BINDING_IMPOSSIBLE = "binding_impossible"
    RATE_LIMITED = "rate_limited"
    CLOCK_WRONG = "clock_wrong"


Code = Reason | Fault
