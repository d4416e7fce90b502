"""Signed documents: keys, delegations, licenses, status lists, roots and advisories."""
