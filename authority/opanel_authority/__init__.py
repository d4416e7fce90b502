"""The other end: keys, delegations, licenses, activations, and the files that agents poll. The only code that signs."""

__version__ = "0.1.0"
