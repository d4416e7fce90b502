"""Asks for one refusal by name: a test that a document is refused says which rule refused it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from opanel_agent.core.errors import Untrusted, Value
from opanel_agent.core.reasons import Code


@contextmanager
def refused(detail: str, code: Code | None = None, **values: Value) -> Iterator[None]:
    """The block raises Untrusted with this detail, and with this code and these values where they are given."""
    with pytest.raises(Untrusted) as caught:
        yield
    told = caught.value
    assert told.detail == detail, told
    assert code is None or told.code == code, told
    assert {name: told.values.get(name) for name in values} == values, told
