"""Keeps the agent's own signing key: it proves that the same installation asks again, and is a component of its machine.

Losing it costs that one component and nothing else: a new one is made at the next activation.
"""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opanel_agent.core.jose.keys import PublicKey
from opanel_agent.evaluate.storage import state_files
from opanel_agent.system.randomness import RandomSource
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths

SEED_BYTES: Final = 32


class AgentKey:
    """An Ed25519 key pair (RFC 8032), kept as its 32-byte seed in a file of mode 0600."""

    def __init__(self, seed: bytes) -> None:
        # Late: it loads the formats of OpenSSH's keys as well, which a pass without a key needs not.
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey.from_raw(self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, data: bytes) -> bytes:
        """Returns the 64-byte signature."""
        return self._private.sign(data)


def load(files: Files, paths: Paths) -> AgentKey | None:
    """Returns the key; None where there is none, or where the file holds none: the next activation makes a new one."""
    seed = state_files.read(files, paths.activation_key, max_bytes=SEED_BYTES)
    return AgentKey(seed) if seed is not None and len(seed) == SEED_BYTES else None


def load_or_make(files: Files, paths: Paths, random: RandomSource) -> AgentKey:
    """Returns the key, made and written durably where there is none. Raises Storage where it cannot be written."""
    key = load(files, paths)
    if key is not None:
        return key
    seed = random.token_bytes(SEED_BYTES)
    files.write(paths.activation_key, seed, mode=0o600)
    return AgentKey(seed)
