"""Makes the TLS context of a client of ours: whom the API's command line and the webhooks trust."""

import ssl
from pathlib import Path


def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Returns a context that verifies certificate and name, with the system's certificates or those of `ca_file`.

    Python's own default became stricter with 3.13: it refuses a certificate without the key identifiers of RFC 5280, as many
    an in-house authority issues them and every browser takes them. An upgrade of Python must not end a reseller's webhooks,
    so that strictness is left out on every version. Raises OSError where `ca_file` cannot be read or holds no certificate.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
