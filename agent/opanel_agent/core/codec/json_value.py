"""The type of a JSON value as this agent reads and writes it: no fractions (RFC 8259, narrowed by `strict_json`).

It stands apart from `strict_json`, which raises the errors of `core.errors`, so
that `core.errors` can name it.
"""

from typing import TypeAlias

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"
