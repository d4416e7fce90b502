"""Signatures of documents: JWS (RFC 7515) with Ed25519 keys (RFC 8037)."""
