"""What verifying a license costs beyond its arithmetic: a whole bundle against three bare Ed25519 verifications.

Ours is `core.documents.bundle.verify` of delegation, license and activation: size, shape, JSON, keys, chain, narrowing,
claims. Bare is what no verifier can leave out: three keys made from their 32 bytes, three signatures checked over the
same signing inputs. A key comes as 32 bytes, so making it belongs to verifying; it is 1 µs of 105 and decides nothing.
Both run in turn, in small batches, so that a noisy machine disturbs them alike; the figure is the median of the
batches' ratios. Run by tests/bench/run.

The interpreter counts: what ours adds is Python. Debian's is built with profile-guided optimization; one that pyenv builds
by default is not, and there the ratio is 0.1 higher (2026-11-24).
"""

import statistics
import sys
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fixtures import signing
from opanel_agent.core.documents import bundle
from opanel_agent.core.jose.jws import parse

GOAL = 1.6
BATCHES = 200
CALLS = 10


def bare() -> Callable[[], None]:
    signers = (signing.ISSUER, signing.DELEGATE, signing.ACTIVATION)
    envelopes = [parse(line, max_bytes=bundle.MAX_BYTES) for line in signing.bundle().splitlines()]
    triples = [
        (signer.public.raw, envelope.signature, envelope.signing_input)
        for signer, envelope in zip(signers, envelopes, strict=True)
    ]

    def verify_three() -> None:
        for raw, signature, signed in triples:
            Ed25519PublicKey.from_public_bytes(raw).verify(signature, signed)

    return verify_three


def ours() -> Callable[[], None]:
    text, root = signing.bundle(), signing.trusted_root()

    def verify_bundle() -> None:
        bundle.verify(text, root, now=signing.NOW)

    return verify_bundle


def timed(call: Callable[[], None]) -> float:
    """Seconds of processor time a call, over one batch: what other programs take does not count."""
    begun = time.process_time()
    for _ in range(CALLS):
        call()
    return (time.process_time() - begun) / CALLS


def main() -> int:
    calls = (ours(), bare())
    for call in calls:
        timed(call)
    pairs = [(timed(calls[0]), timed(calls[1])) for _ in range(BATCHES)]
    ratio = statistics.median(ours_s / bare_s for ours_s, bare_s in pairs)
    mine, base = (statistics.median(times) * 1e3 for times in zip(*pairs, strict=True))
    sys.stdout.write(
        "verification of delegation + license + activation, to three bare Ed25519 verifications: "
        f"{ratio:.2f} × ({mine:.3f} ms to {base:.3f} ms); goal ≤ {GOAL} ×: {'reached' if ratio <= GOAL else 'MISSED'}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
