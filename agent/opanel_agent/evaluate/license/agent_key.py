"""Keeps the agent's own signing key: it proves that the same installation asks again, and is a component of its machine.

Losing it costs that one component, and renewals until the next activation, which makes a new one. One that is there and
cannot be read stays where it is, since it may be readable again: only an activation sets it aside.
"""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Misconfigured, Unreadable
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
    """Returns the key; None where there is none. What lies there and is no key is moved aside.

    Raises Unreadable where it is there and cannot be read, and leaves it.
    """
    try:
        seed = files.read(paths.activation_key, max_bytes=SEED_BYTES)
    except Misconfigured as refused:
        state_files.quarantine(files, paths.activation_key, refused)
        return None
    if seed is None or len(seed) == SEED_BYTES:
        return None if seed is None else AgentKey(seed)
    damaged = Misconfigured(Fault.FILE_REFUSED, "key_length", file=str(paths.activation_key))
    state_files.quarantine(files, paths.activation_key, damaged)
    return None


def load_or_make(files: Files, paths: Paths, random: RandomSource, *, replace_unreadable: bool) -> AgentKey:
    """Returns the key, made and written durably where there is none, or none that can be read if it may be replaced.

    Raises Storage where it cannot be written, and Unreadable where it cannot be read and may not be replaced.
    """
    try:
        key = load(files, paths)
    except Unreadable as refused:
        if not replace_unreadable:
            raise
        state_files.quarantine(files, paths.activation_key, refused)
        key = None
    if key is not None:
        return key
    seed = random.token_bytes(SEED_BYTES)
    files.write(paths.activation_key, seed, mode=0o600)
    return AgentKey(seed)
