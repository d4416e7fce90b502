"""Defines the stable codes: why a license state holds, why a request was denied, what went wrong.

Consumers match on them, so a code is never renamed and never changes its
meaning (docs/json.md has the same table for them, and a test holds the two
together). A new situation gets a new code. The sentence for a person is
`reason.<code>` of the catalogs, the cure that of the error's `detail`.

Nothing heavier than enum may be imported here: the daemon loads this.
"""

from enum import StrEnum, unique


@unique
class Reason(StrEnum):
    """Names why a license state holds, why the gate denied, or what kept a check from an answer."""

    # Nothing is wrong.
    OK = "ok"
    # The license ends within 30 days, or within the last quarter of a shorter
    # term.
    RENEW_SOON = "renew_soon"
    # Some of this machine's components changed; it still matches.
    BINDING_DRIFT = "binding_drift"
    # The root of trust has expired: nothing new is accepted under it.
    ROOT_OLD = "root_old"
    # The wall clock has disagreed with effective time for a day.
    CLOCK_SUSPECT = "clock_suspect"
    # The last status list no longer rules.
    STATUS_STALE = "status_stale"
    # The license must still be activated on this machine.
    ACTIVATION_DUE = "activation_due"
    # The status list says that a delegation of the chain is revoked (1).
    RESELLER_REVOKED = "reseller_revoked"
    # A signature does not hold.
    SIGNATURE_INVALID = "signature_invalid"
    # A key, name, bound or date between the root and a document does not fit.
    CHAIN_INVALID = "chain_invalid"
    # A document is not in format 1.
    FORMAT_INVALID = "format_invalid"
    # A document is for another product or license key.
    PRODUCT_MISMATCH = "product_mismatch"
    # This machine does not match the activation.
    MACHINE_MISMATCH = "machine_mismatch"
    # The activation was released, or moved to another server.
    SUPERSEDED = "superseded"
    # The license has ended.
    EXPIRED = "expired"
    # The license begins later.
    NOT_YET_VALID = "not_yet_valid"
    # The status list says that the license is suspended (2).
    SUSPENDED = "suspended"
    # The status list says that the license is revoked (1).
    REVOKED = "revoked"
    # There is no bundle.
    NO_LICENSE = "no_license"
    # A name could not be resolved.
    UNREACHABLE_DNS = "unreachable_dns"
    # No connection came about.
    UNREACHABLE_TCP = "unreachable_tcp"
    # The certificate or the handshake was refused.
    TLS_UNTRUSTED = "tls_untrusted"
    # The proxy refused or was not there.
    PROXY_ERROR = "proxy_error"
    # The server gave no usable answer, or none in time.
    SERVER_ERROR = "server_error"
    # Something answered in the server's place: a redirect or another content
    # type.
    CAPTIVE_PORTAL = "captive_portal"
    # An opt-out closed the way to the network, or ended a job.
    NOT_PERMITTED = "not_permitted"
    # The status list does not reach to an entry of this license.
    STATUS_UNAVAILABLE = "status_unavailable"
    # agent.toml is refused whole, and with it every request; the last answer
    # stands.
    SETTINGS_REFUSED = "settings_refused"
    # The agent's state could not be written: a full or read-only disk.
    STATE_NOT_SAVED = "state_not_saved"
    # The agent's state folder cannot be used: another's, without access, or no
    # folder.
    STATE_UNREADABLE = "state_unreadable"
    # The processes are only partly confined by systemd.
    ISOLATION_PARTIAL = "isolation_partial"
    # The processes are not confined by systemd.
    ISOLATION_NONE = "isolation_none"
    # ---- of the gate
    # A consent file is refused whole, and with it every consent.
    CONSENT_REFUSED = "consent_refused"
    # The purpose needs the administrator's word, and there was none.
    NOT_ASKED = "not_asked"
    # A setting or the consent file says no to the purpose.
    DENIED_BY_FILE = "denied_by_file"
    # The consent was withdrawn, and the consent file's yes is none that was given
    # after that.
    WITHDRAWN = "withdrawn"
    # A policy file of the fleet denies the purpose.
    POLICY = "policy"
    # The notice has changed since it was answered.
    NOTICE_CHANGED = "notice_changed"
    # The consent file was written meanwhile and says the same: what it said in
    # between is not known.
    CONSENT_REWRITTEN = "consent_rewritten"
    # Do-not-track is in force.
    OPT_OUT = "opt_out"
    # Offline is in force.
    OFFLINE = "offline"
    # A report still waits out the time it is held back.
    HELD = "held"
    # The administrator has yet to look at it.
    REVIEW_PENDING = "review_pending"
    # The request says something that its purpose does not declare.
    FIELD_UNDECLARED = "field_undeclared"
    # The address is none that the root or the settings name for the purpose.
    DESTINATION = "destination"
    # The address is not in the allowed region.
    REGION = "region"
    # The ledger of what was sent has a gap, or cannot be written.
    LEDGER = "ledger"
    # This server is a copy of another.
    CLONE = "clone"
    # A fault of the agent.
    INTERNAL = "internal"


@unique
class Fault(StrEnum):
    """Names what went wrong with a command or on this machine, where no Reason says it."""

    # The command or request is not one.
    USAGE = "usage"
    # Reading or writing failed.
    IO_FAILED = "io_failed"
    # No room.
    DISK_FULL = "disk_full"
    # The kernel, or the socket's rules, forbid it.
    NO_PERMISSION = "no_permission"
    # A file has the wrong type, owner, mode or size.
    FILE_REFUSED = "file_refused"
    # No daemon answers.
    NOT_RUNNING = "not_running"
    # Another daemon holds the socket.
    ALREADY_RUNNING = "already_running"
    # Too much at once, or the state is locked.
    BUSY = "busy"
    # The answer is not there yet.
    NOT_YET = "not_yet"
    # A job was ended after its time.
    JOB_TIMEOUT = "job_timeout"
    # A job wrote too much and was ended.
    JOB_FLOODED = "job_flooded"
    # A job ended without an answer.
    JOB_FAILED = "job_failed"
    # The other side of the socket or pipe did not keep to the protocol.
    PROTOCOL = "protocol"
    # The authority knows no such license key.
    KEY_UNKNOWN = "key_unknown"
    # Every seat is taken, and the license has moved too often of late.
    SEATS_TAKEN = "seats_taken"
    # The machine shows too little for the license's min_p.
    BINDING_IMPOSSIBLE = "binding_impossible"
    # Too many requests; wait.
    RATE_LIMITED = "rate_limited"
    # The wall clock is far from effective time, or from what a mirror says.
    CLOCK_WRONG = "clock_wrong"
    # An installed file of code is not what the release manifest says.
    CODE_DIFFERS = "code_differs"
    # Nothing says what the installed code has to be.
    NO_RELEASE = "no_release"


Code = Reason | Fault
