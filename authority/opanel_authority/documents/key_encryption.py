"""Encrypts a private key under a passphrase: PKCS #8 with PBES2 (RFC 8018), scrypt (RFC 7914) and AES-256-CBC.

`cryptography` writes PBES2 with 2,048 rounds of PBKDF2, and nothing chooses another function there. To try a passphrase that
a person types has to cost more than that, so the container is written here: some DER around what the library derives
and encrypts. It reads these files itself, as OpenSSL does (`openssl pkcs8 -topk8 -scrypt` writes the same).

The cost is N = 2^14, r = 8, p = 5: 16 MiB, which is under the 32 MiB that OpenSSL admits when it reads.
"""

import base64
import secrets
import textwrap
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7

MARK: Final = "-----BEGIN ENCRYPTED PRIVATE KEY-----"
_END: Final = "-----END ENCRYPTED PRIVATE KEY-----"
_N: Final = 1 << 14
_R: Final = 8
_P: Final = 5
_KEY_BYTES: Final = 32
_BLOCK_BYTES: Final = 16
_SEQUENCE: Final = 0x30
_OCTETS: Final = 0x04
_INTEGER: Final = 0x02
# Object identifiers in DER: RFC 8018 appendix A.4, RFC 7914 section 7, NIST's AES.
_PBES2: Final = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT: Final = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC: Final = bytes.fromhex("060960864801650304012a")


def encrypted(key: bytes, passphrase: bytes) -> bytes:
    """Returns PEM (RFC 7468) of a PKCS #8 key in DER, encrypted under a new salt."""
    salt, start = secrets.token_bytes(16), secrets.token_bytes(_BLOCK_BYTES)
    derived = Scrypt(salt=salt, length=_KEY_BYTES, n=_N, r=_R, p=_P).derive(passphrase)
    padder, encryptor = PKCS7(8 * _BLOCK_BYTES).padder(), Cipher(AES(derived), CBC(start)).encryptor()
    hidden = encryptor.update(padder.update(key) + padder.finalize()) + encryptor.finalize()
    costs = b"".join(_integer(number) for number in (_N, _R, _P, _KEY_BYTES))
    derivation = _value(_SEQUENCE, _SCRYPT + _value(_SEQUENCE, _value(_OCTETS, salt) + costs))
    scheme = _value(_SEQUENCE, _AES_256_CBC + _value(_OCTETS, start))
    algorithm = _value(_SEQUENCE, _PBES2 + _value(_SEQUENCE, derivation + scheme))
    text = base64.b64encode(_value(_SEQUENCE, algorithm + _value(_OCTETS, hidden))).decode("ascii")
    return "\n".join([MARK, *textwrap.wrap(text, 64), _END, ""]).encode("ascii")


def is_current(pem: bytes) -> bool:
    """Tells whether a file is encrypted as `encrypted` does it, and not as before, or not at all."""
    lines = pem.decode("ascii", "replace").strip().splitlines()
    if not lines or lines[0] != MARK:
        return False
    return _SCRYPT in base64.b64decode("".join(lines[1:-1]))


def _integer(number: int) -> bytes:
    return _value(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _value(tag: int, content: bytes) -> bytes:
    """Returns one value in DER (X.690 section 8.1); what is encrypted here is shorter than 256 bytes."""
    size = len(content)
    return bytes([tag, size]) + content if size < 0x80 else bytes([tag, 0x81, size]) + content
