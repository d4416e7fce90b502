"""What this tool says when it cannot: one sentence that starts with "cannot", and what to do about it.

English only: its readers are the vendor and his resellers. Refusals that the agent's verifier finds have no row here;
they are told by their detail, which docs/license-format.md explains.
"""

from collections.abc import Mapping
from typing import Final

from opanel_agent.core.errors import Value

# detail -> (sentence, hint)
_TABLE: Final[Mapping[str, tuple[str, str]]] = {
    # keys
    "key_unreadable": ("cannot read {path} as an Ed25519 key", "restore the file from its copy"),
    "passphrase_missing": (
        "cannot use {path} without a passphrase",
        "name its file: OPANEL_AUTHORITY_PASSPHRASE_FILE, or systemd's credential opanel-authority-passphrase",
    ),
    "role_signs_not": ("cannot sign {typ} with a key of the role {role}", "please report this: it is a fault of ours"),
    "passphrase_wrong": ("cannot decrypt {path} with this passphrase", "give the one that it was encrypted under"),
    "passphrase_typed": ("cannot use what was typed: it is nothing, or not twice the same", "type it again"),
    "passphrase_empty": ("cannot take an empty passphrase from {path}", "write it there, on one line"),
    "key_uri": (
        "cannot use {uri} as the name of a key: {why}",
        "write it as pkcs11:token=NAME;object=NAME?module-path=/usr/lib/….so&pin-source=file:/… (RFC 7512)",
    ),
    "pkcs11_missing": ("cannot use a token: python-pkcs11 is not installed", "pip install 'opanel-authority[pkcs11]'"),
    "token_missing": (
        "cannot find the one token of {uri}: {found} answer to it",
        "plug it in, or name it by its serial number",
    ),
    "token_key_missing": (
        "cannot find the one key of {uri} on its token",
        "name it by object or id, and see that its public half is there, too",
    ),
    "token_key_type": ("cannot sign with {uri}: it is no Ed25519 key, or its token does none", "make one there"),
    "token_key_bytes": ("cannot write the {role} key to a file: it is on a token", "name it by its URI there, too"),
    "pin_missing": (
        "cannot log in for {uri}: no PIN is given",
        "name its file: pin-source, OPANEL_AUTHORITY_PIN_FILE, or systemd's credential opanel-authority-pin",
    ),
    "pin_wrong": ("cannot log in for {uri}: the PIN is refused", "look it up before the token locks itself"),
    "token_failed": ("cannot use the token of {uri}: {why}", "look at the token and its library"),
    "key_file_type": ("cannot use {path}: it is not what should be there", "put the key file back, not a link to it"),
    "key_owner": ("cannot trust {path}: it belongs to somebody else", "run as its owner, or chown it"),
    "key_readable": ("cannot trust {path}: others may read it", "replace the key; for a mere slip: chmod go= {path}"),
    # the directory
    "directory_not_empty": ("cannot make an authority in {path}: it is not empty", "name a new directory"),
    "no_authority_here": ("cannot find an authority in {path}", "name its directory: --dir DIR"),
    "store_missing": ("cannot find the books {path}", "restore the file from its copy"),
    "store_schema": (
        "cannot read the books {path}: another version wrote them",
        "if that was an older one: opanel-authority upgrade, after a backup; else use that version",
    ),
    "store_failed": ("cannot read or write the books {path}", "look at space, permissions and other processes"),
    "io_failed": ("cannot use {path}: {why}", "look at space and permissions"),
    "root_keys_missing": (
        "cannot sign a root with {found} of its keys from {path}: {threshold} are needed",
        "bring them from their media, or name the place: --root-keys DIR",
    ),
    "root_key_unknown": ("cannot use {kid}: it is no root key", "these are: {known}"),
    "root_key_twice": ("cannot make a root in which a key is named twice", "give each key once, and for one role"),
    "root_exists": ("cannot write a first root in {path}: there is one", "the next is: root request"),
    "root_unsigned": (
        "cannot find root.jws in {path}",
        "have its request signed (root sign), then: root assemble; if it was there before, restore the file",
    ),
    "root_request_unreadable": ("cannot read this request for a root: {why}", "make it anew: root request"),
    "root_request_other": (
        "cannot sign: this request has the digest {digest}",
        "look at it with root show, and ask whoever made it",
    ),
    "root_request_outdated": ("cannot install root {seq}: there is one already", "make the request anew: root request"),
    "root_signature_other": (
        "cannot use a signature over another root than {digest}",
        "have this very request signed",
    ),
    "root_signature_refused": (
        "cannot use this signature: {why}",
        "take one by a root key of this root, or of the one before it",
    ),
    "root_signatures_missing": (
        "cannot assemble the root: {found} of the {threshold} signatures that the root keys of the {which} root owe",
        "have it signed by more of them: root sign",
    ),
    "role_key_missing": (
        "cannot install a root whose {role} key {kid} is not {path}",
        "assemble it on the machine that made the request, or bring the key file",
    ),
    "roots_full": (
        "cannot make root {seq}: agents would not walk that far",
        "release the agent with a newer first root",
    ),
    # warnings
    "slots_half": ("half of this reseller's slots are given out", "widen the delegation in time"),
    "all_entries_half": (
        "half of the status entries that there are belong to resellers or are given out",
        "opanel-authority health shows how many; give new resellers no more than they need",
    ),
    "entries_half": ("half of this reseller's status entries are given out", "widen the delegation in time"),
    # what was asked for
    "command_line": ("cannot understand the command line: {why}", "see --help"),
    "url_inadmissible": ("cannot use {url}: agents ask https only (http on loopback)", "give --url https://…"),
    "threshold_range": ("cannot have {threshold} of {keys} root keys", "take at least 2, and no more than there are"),
    "release_threshold_range": (
        "cannot have {threshold} of {keys} release keys",
        "give --release-threshold: at least 1, and no more than there are; each rotation adds a key",
    ),
    "release_role_absent": (
        "cannot sign a release: the root does not say who may (number {seq})",
        "opanel-authority rotate release makes a key and a root that names it",
    ),
    "release_keys_missing": (
        "cannot find a release key of the root in {path}",
        "bring one from where it is kept, or name the place: --keys DIR",
    ),
    "release_other": (
        "cannot add a signature to {path}: it says something else than the draft",
        "make both from one draft, or leave --add away",
    ),
    "reseller_exists": ("cannot delegate to {name} again", "give the new delegation a name of its own"),
    "reseller_unknown": ("cannot issue as {name}: no such reseller", "delegate first"),
    "contact_missing": ("cannot delegate to {name}: end users must reach him", "give --email, --phone or --url"),
    "controller_incomplete": (
        "cannot name a controller without {missing}",
        "give --controller-name, --controller-address and --controller-email",
    ),
    "license_wider": ("cannot issue this license: its {name} is outside the delegation", "narrow it, or delegate anew"),
    "root_expired": ("cannot issue: the root has expired", "make its successor"),
    "id_unknown": ("cannot find {id}", "give the id that delegate, issue or the activation showed"),
    "license_unknown": (
        "cannot find the license {id}",
        "give the id that issue showed, or that of any of its editions",
    ),
    "renew_revoked": ("cannot renew a revoked license", "resume it first, or issue another"),
    "renew_too_soon": ("cannot renew: the last edition is dated later than now", "look at the clock, and try again"),
    "change_refused": (
        "cannot {change} this {kind} in its state",
        "licenses are suspended, resumed, revoked; delegations revoked, resumed; activations superseded",
    ),
    "slot_given_away": (
        "cannot resume this license: its slot is another license's now",
        "revoke that one first, or issue a new license",
    ),
    "status_range_full": (
        "cannot issue more under this delegation: its status entries are given out and none is free again",
        "widen it: opanel-authority reseller NAME --status-entries N, or delegate anew",
    ),
    "slots_full": (
        "cannot issue more at a time: all {slots} slots are taken",
        "revoke what is not used, or widen the delegation: opanel-authority reseller NAME --slots N",
    ),
    "status_entries_range": (
        "cannot give {asked} status entries: there are 1 to {most}",
        "give fewer: --status-entries counts the licenses at a time, and those that ended lately",
    ),
    "status_entries_full": (
        "cannot give {asked} status entries: the status list has {left} left",
        "give fewer: opanel-authority health shows how many are reserved, and by whom",
    ),
    "status_range_shrinks": (
        "cannot give fewer status entries than the {entries} before",
        "leave --status-entries out",
    ),
    "status_range_fixed": (
        "cannot give more status entries than {entries}: what lies behind them is another reseller's",
        "entries of ended licenses are used again; for more at a time delegate anew",
    ),
    "slots_range": ("cannot give {asked} slots", "give as many as licenses may run at a time"),
    "slots_taken": ("cannot leave {slots} slots: {taken} were given out", "give at least as many"),
    "delegation_revoked": (
        "cannot do that under the delegation of {name}: it is revoked",
        "resume it first: opanel-authority resume NAME",
    ),
    "reseller_key_missing": (
        "cannot sign for {name}: his key is not in {path}",
        "put it back, or say where it is: opanel-authority relocate NAME DIR",
    ),
    "reseller_signs_himself": (
        "cannot sign for {name}: he keeps his key himself",
        "reserve (POST /api/v1/reservations), sign there (opanel-authority sign), store (POST /api/v1/signed-licenses)",
    ),
    "public_key_missing": ("cannot make a key for {name}: he keeps his himself", "give the new one: --public-key FILE"),
    "public_key": ("cannot use {path}: it is no Ed25519 JWK", "opanel-authority reseller-key makes one"),
    "order_sold": (
        "cannot reserve for this order again: it is the license {id}",
        "sign the next edition of that one, or give another order id",
    ),
    "reservation_unknown": (
        "cannot store this license: nothing was reserved for it, or more than a day ago",
        "reserve first, and take id, slot and entry from the reservation",
    ),
    "reservation_other": ("cannot store this license: its {name} is not as reserved", "take it from the reservation"),
    "edition_other": (
        "cannot store this edition: its {name} differs from the last one's",
        "keep what activations rest on",
    ),
    "reseller_key_other": ("cannot use {path} for {name}: it is another key", "name the directory with his key"),
    "order_line": ("cannot read the order {order}: {why}", "docs/authority.md shows the columns"),
    "order_columns": (
        "cannot read the orders: other columns",
        "the first line names order_id, and others of: {columns}",
    ),
    "network": ("cannot read {network}: it is no network", "write it as 192.0.2.0/24 or 2001:db8::/48"),
    "networks_many": ("cannot keep so many networks", "give at most {most}"),
    "cursor": ("cannot find this page", "take next_cursor of the page before"),
    "scope_unknown": ("cannot give the scope {scope}", "there are: {known}"),
    "order_id": ("cannot use this order id", "give 1 to {most} printable characters"),
    "license_ambiguous": ("cannot tell which license {id} means: there are {count}", "give its id or its license key"),
    "entry_given_away": (
        "cannot resume this license: it ended long ago, and its status entry is another license's now",
        "issue a new license",
    ),
    "transfer_refused": ("cannot transfer this license to {name}", "a revoked one, or his own, is not transferred"),
    # the clock
    "clock_behind": (
        "cannot write at {now}: the books were last written at {last}",
        "set the clock; if it is right now and was ahead before: opanel-authority clock --accept",
    ),
    "clock_ahead": (
        "cannot write at {now}: the books were last written at {last}, more than 30 days before",
        "set the clock; if it is right: opanel-authority clock --accept",
    ),
    "list_ahead": (
        "cannot sign a list at {now}: the last one is dated {dated}, and agents take no older one of its key",
        "with the clock right, replace the key: opanel-authority rotate status",
    ),
    "backup_format": (
        "cannot restore {path}: another version made it, or nobody",
        "use the version that made it, then upgrade",
    ),
    "backup_cut_off": ("cannot restore {path}: it is damaged or cut off", "take another copy"),
    "database_url": ("cannot use this database URL: {why}", "give postgresql://…, and install the driver (psycopg2)"),
    "store_not_empty": ("cannot make books in {path}: there are tables already", "name an empty database"),
    "received_unknown": (
        "cannot find {id} among what came in",
        "received lists it; what is erased or past its time is gone",
    ),
    "report_restricted": (
        "cannot show {id}: its owner has restricted it to being stored",
        "leave it until it is erased",
    ),
    "draft_size": ("cannot read the advisory: it is larger than {max_bytes} bytes", "write less"),
    "draft_toml": ("cannot read the advisory: {why}", "docs/authority.md has an example"),
    "advisory_count": ("cannot have more than {max_lines} advisories at a time", "let the new one replace an old one"),
    "listen_failed": ("cannot listen on {address}: {why}", "choose another --listen"),
    # the management API
    "api_key_missing": ("cannot tell who asks", "send Authorization: Bearer and an API key that is not revoked"),
    "scope_missing": ("cannot do that with this API key", "use one with the scope {scope}"),
    "reseller_other": ("cannot issue for another reseller", "leave reseller out: a key is its reseller's"),
    "reseller_elsewhere": ("cannot list another reseller's licenses", "leave reseller out: a key is its reseller's"),
    "reseller_missing": ("cannot tell whose license it is", "name the reseller"),
    "reseller_only": ("cannot do that with the vendor's API key", "use the reseller's"),
    "vendor_only": ("cannot do that with a reseller's API key", "ask the vendor"),
    "url_not_public": (
        "cannot send webhooks to {url}: anybody must reach it by https",
        "give https://NAME of a public address; what lies inside the vendor names: opanel-authority webhook URL",
    ),
    "webhooks_many": ("cannot keep more than {most} webhooks of one owner", "remove one that is not needed"),
    "idempotency_key_used": (
        "cannot take this Idempotency-Key again",
        "it was sent with another request: draw a new one",
    ),
    "request_invalid": ("cannot read the request: {fields} may not be so", "the OpenAPI document says what may be"),
    # what an agent asked for
    "key_unknown": ("cannot find this license key", "type it again, or ask the reseller"),
    "address_outside": (
        "cannot answer from this address: the license is limited to other networks",
        "ask the reseller",
    ),
    "license_revoked": ("cannot activate a revoked license", "ask the reseller"),
    "license_suspended": ("cannot activate a suspended license", "ask the reseller to resume it"),
    "reseller_revoked": ("cannot answer for this license: its reseller's delegation is revoked", "ask the vendor"),
    "license_expired": ("cannot activate a license that has ended", "ask the reseller for a renewal"),
    "renewal_revoked": ("cannot renew a revoked license", "ask the reseller"),
    "renewal_suspended": ("cannot renew a suspended license", "ask the reseller to resume it"),
    "renewal_expired": ("cannot renew by itself: the license has ended", "ask the reseller for a renewal"),
    "renewal_superseded": ("cannot renew: this machine's activation was released or moved", "activate anew"),
    "renewal_not_yet": ("cannot give a newer license: there is none yet", "ask again tomorrow"),
    "renewal_unsigned": (
        "cannot renew: the reseller keeps his key himself, and has not signed the next edition",
        "ask the reseller to sign and store it",
    ),
    "renewal_delegation_ended": (
        "cannot renew: the reseller's delegation may issue nothing any more",
        "ask the reseller; the vendor prolongs it: opanel-authority reseller NAME --days N",
    ),
    "license_foreign": ("cannot activate this license document: it is not of this key", "install the bundle again"),
    "license_elsewhere": ("cannot find this license document under its key", "install the bundle again, then ask anew"),
    "activation_ended": ("cannot answer again: that activation was released or moved", "activate anew"),
    "binding_impossible": (
        "cannot bind: the license asks for {min_p} platform components, the machine shows {p}",
        "ask the reseller for a license with a lower min_p",
    ),
    "seats_taken": (
        "cannot activate: all {seats} seats are taken and the license has moved too often lately",
        "release it on another server first, or ask the reseller",
    ),
    "not_activated_here": ("cannot find an activation of this machine", "activate first"),
    "kind_elsewhere": ("cannot answer this kind of request here", "send it to its own address"),
    "component_unknown": (
        "cannot bind: the request names an unknown component",
        "use an authority as new as the agent",
    ),
    "rate_limited": ("cannot answer so often for one license key", "try again in {retry_after_s} s"),
    "content_type": ("cannot read the request: wrong content type", "docs/authority.md names the type"),
    "body_size": ("cannot read the request: it is too large", "send at most 64 KiB"),
    "fields_refused": (
        "cannot take this for {purpose}: {fields} may not be so",
        "send what the field catalog declares (opanel-agent data catalog), and nothing else",
    ),
    "report_refused": ("cannot take this report: its owner has it erased or objects", "do not send it again"),
    "too_many": ("cannot take more just now", "try again in {retry_after_s} s"),
    # the management API, asked from the command line
    "api_key_unnamed": (
        "cannot ask without an API key",
        "name its file by --key-file or {file}, or put the key itself into {variable}",
    ),
    "api_key_shape": (
        "cannot use what {where} has: it is no API key",
        "opanel-authority api-key shows one once: opk_…",
    ),
    "file_other": ("cannot use {path}: it is not what `{made_by}` writes", "make it anew: opanel-authority {made_by}"),
    "server_unnamed": ("cannot ask: no server is named", "give --server https://…, or set {variable}"),
    "server_inadmissible": (
        "cannot send an API key to {url}",
        "give --server https://NAME (http on loopback only), without /api/v1",
    ),
    "server_unreachable": ("cannot reach {url}: {why}", "look at its name and at the network, and try again"),
    "server_silent": (
        "cannot get a reply of {url}: {why}",
        "send it again with --idempotency-key {key}; what was made already is not made twice",
    ),
    "server_untrusted": (
        "cannot trust {url}: {why}",
        "nothing was sent; have its certificate mended, or its issuer added to the system's certificates",
    ),
    "server_other": (
        "cannot understand the reply of {url} (HTTP status {status})",
        "see that this is the address of an authority, and what its web server says",
    ),
    "no_such_request": ("cannot answer: no such request", "docs/authority.md lists them"),
    "unavailable_here": ("cannot answer now", "try again later"),
}


def sentence(detail: str, values: Mapping[str, Value]) -> str:
    """Returns the sentence."""
    if detail in _TABLE:
        return _TABLE[detail][0].format_map(values)
    pairs = " ".join(f"{name}={value}" for name, value in values.items())
    return f"cannot accept the document: {detail}" + (f" ({pairs})" if pairs else "")


def cure(detail: str, values: Mapping[str, Value]) -> str:
    """Returns the hint."""
    if detail in _TABLE:
        return _TABLE[detail][1].format_map(values)
    return "docs/license-format.md has the rule"
