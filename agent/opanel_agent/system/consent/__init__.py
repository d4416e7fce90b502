"""Reads the administrator's consent and opt-outs from this machine."""
