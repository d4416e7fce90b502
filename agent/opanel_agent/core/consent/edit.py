"""Applies new answers to consent.toml, and compares two files of it.

A grant is given to the notice that is installed, so the notice that the file
names must be that one. Where it is older and other grants in the file were
given to it, naming the new notice would revive them without anybody having been
asked; that is refused. A denial needs no notice: it is never stale.

Pure: bytes in, bytes out. Left out: writing the file (`cli.consent.write`).
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.consent_file import ConsentFile, edit, parse
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.errors import Misconfigured
from opanel_agent.core.units import HOUR_S
from opanel_agent.core.values import frozen, replace

_NOTICE: Final = r"""(?a)(\s*["']?notice["']?\s*=\s*)(?:"[0-9-]*"|'[0-9-]*')"""


@frozen
class Edit:
    """Holds one difference between two files:

    `before` and `after` as TOML writes them, None where the key is absent.
    """

    key: str
    before: str | None
    after: str | None


def with_answers(data: bytes, answers: Mapping[Purpose, bool], notice: str) -> bytes:
    """Returns the file with these answers, every other byte as it was.

    `notice` is the version that is installed. Raises Misconfigured: for a file
    that is refused, `consent_edit` or `consent_notice_edit` with what to type
    where no one literal does it, `consent_older` where another grant was given
    to an older notice.
    """
    file = parse(data)
    if any(answers.values()) and file.notice != notice:
        older = [purpose for purpose, choice in file.purposes.items() if choice.allow and purpose not in answers]
        if older:
            raise Misconfigured(Reason.NOTICE_CHANGED, "consent_older", purposes=", ".join(older), notice=notice)
        data = _to_notice(data, file, notice)
    for purpose, allow in answers.items():
        if allow or purpose in file.purposes:  # what was never answered is denied as it is
            data = edit(data, purpose, allow=allow)
    return data


def changes(before: ConsentFile | None, after: ConsentFile) -> tuple[Edit, ...]:
    """Returns what would be different once `after` is in force, in the order of the file, removed keys last."""
    was, now = {} if before is None else dict(_key_values(before)), dict(_key_values(after))
    keys = [*now, *(key for key in was if key not in now)]
    return tuple(Edit(key=key, before=was.get(key), after=now.get(key)) for key in keys if was.get(key) != now.get(key))


def _to_notice(data: bytes, file: ConsentFile, notice: str) -> bytes:
    """Returns the file with the installed notice in the place of the one it names."""
    line = file.lines.get("notice", 1)
    lines = data.decode("utf-8").split("\n")
    lines[line - 1] = re.sub(_NOTICE, rf'\g<1>"{notice}"', lines[line - 1], count=1)
    after = "\n".join(lines).encode("utf-8")
    with contextlib.suppress(Misconfigured):  # what was changed is not what it seemed to be
        if parse(after) == replace(file, notice=notice):
            return after
    raise Misconfigured(Reason.CONSENT_REFUSED, "consent_notice_edit", line=line, type=f'notice = "{notice}"')


def _key_values(file: ConsentFile) -> Iterator[tuple[str, str]]:
    """Yields every key of a file with its value, as TOML writes it."""
    yield "notice", f'"{file.notice}"'
    yield "do_not_track", _literal(file.do_not_track)
    for purpose in CONSENT_BASED:
        choice = file.purposes.get(purpose)
        if choice is not None:
            yield f"purposes.{purpose}.allow", _literal(choice.allow)
            if purpose is Purpose.CRASH_REPORTS:
                yield f"purposes.{purpose}.review", _literal(choice.review)
            else:
                yield f"purposes.{purpose}.hold", f'"{choice.hold_s // HOUR_S}h"'
    if file.granted is not None:
        yield "granted.by", f'"{file.granted.by}"'
        yield "granted.role", f'"{file.granted.role}"'
        yield "granted.on", f'"{file.granted.on}"'


def _literal(value: bool) -> str:  # noqa: FBT001 - it is the value
    return "true" if value else "false"
