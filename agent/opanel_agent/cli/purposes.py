"""Reads the name of a purpose as it was typed, and knows what a mistyped one was meant to be."""

from collections.abc import Iterable
from typing import NoReturn

from opanel_agent.cli.parser import resembling
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.errors import Usage


def any_purpose(name: str) -> Purpose:
    """Returns the purpose of that name. Raises Usage with the one that it resembles, or all there are."""
    return Purpose(name) if name in set(Purpose) else _refuse(name, Purpose)


def consent_purpose(name: str) -> Purpose:
    """Returns a purpose that consent is asked for. Raises Usage for another one, which has no consent to give."""
    if name in set(CONSENT_BASED):
        return Purpose(name)
    if name in set(Purpose):
        raise Usage(Fault.USAGE, "purpose_no_consent", purposes=", ".join(CONSENT_BASED))
    return _refuse(name, CONSENT_BASED)


def is_like_purpose(name: str) -> bool:
    """Tells whether a word is a purpose, or is like one."""
    return resembling(name, Purpose) is not None


def _refuse(name: str, known: Iterable[Purpose]) -> NoReturn:
    like = resembling(name, known)
    if like is not None:
        raise Usage(Fault.USAGE, "purpose_like", purpose=name, like=like)
    raise Usage(Fault.USAGE, "purpose_unknown", purposes=", ".join(known))
