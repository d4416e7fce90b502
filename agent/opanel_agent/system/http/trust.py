"""Makes the TLS contexts that verify servers and proxies: the system's certificates, or those of `ca_file`.

No environment variable is asked (SSL_CERT_FILE and the like). Certificates and names are verified, from TLS 1.2 on.
"""

import ssl
from pathlib import Path
from typing import Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Misconfigured

# OpenSSL's own default first; then where the distributions keep it, for a Python that was built elsewhere.
_CA_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def for_servers(ca_file: Path | None) -> ssl.SSLContext:
    """Returns the context for mirrors and endpoints: `ca_file` in the place of the system's certificates.

    Raises Misconfigured(settings_refused, ca_file) where the file cannot be read or holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load(context, {"cafile": str(ca_file)} if ca_file is not None else _system_store(), ca_file)
    return context


def for_proxies(ca_file: Path | None) -> ssl.SSLContext:
    """Returns the context for a proxy that speaks TLS: `ca_file` and the system's certificates.

    The proxy carries bytes that are verified beyond it, and its certificate may be of a company's authority where the
    mirrors' is of a public one, or the other way round. Raises Misconfigured as `for_servers` does.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is not None:
        _load(context, {"cafile": str(ca_file)}, ca_file)
    store = _system_store()
    if ca_file is None or "cafile" in store:
        _load(context, store, ca_file)
    return context


def _load(context: ssl.SSLContext, locations: dict[str, str], ca_file: Path | None) -> None:
    try:
        context.load_verify_locations(**locations)
    except OSError as exc:  # ssl.SSLError is one
        raise Misconfigured(Reason.SETTINGS_REFUSED, "ca_file", file=str(ca_file or "")) from exc


def _system_store() -> dict[str, str]:
    paths = ssl.get_default_verify_paths()
    for file in (paths.openssl_cafile, *_CA_FILES):
        if Path(file).is_file():
            return {"cafile": file}
    return {"capath": paths.openssl_capath}
