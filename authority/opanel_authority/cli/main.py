"""The vendor's and the reseller's command (docs/authority.md).

Each command is one function from its arguments to what it made, as names and values: shown a line each (rows of a list
below their name), or with `--json` as the envelope that the agent's commands use. Results go to stdout, everything else
to stderr. An error is one sentence that starts with "cannot", a hint and a code, and the exit status of docs/json.md;
never a traceback.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, cast

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Storage, Usage
from opanel_agent.core.text_safety import escape, escape_json
from opanel_authority.cli import (
    issuing,
    licenses,
    operations,
    own_key,
    received,
    releases,
    resellers,
    roots,
    service,
    webhooks,
)
from opanel_authority.cli.common import Command, Result
from opanel_authority.cli.remote import client
from opanel_authority.cli.remote import commands as remote
from opanel_authority.cli.remote import webhooks as remote_webhooks
from opanel_authority.messages import cure, sentence

_DIRECTORY_VARIABLE: Final = "OPANEL_AUTHORITY_DIR"
_DASHED_THUMBPRINT: Final = re.compile(r"-[A-Za-z0-9_-]{42}")  # SHA-256 in base64url (RFC 7638)
_GROUPS: Final = {
    "root": "roots whose keys are elsewhere: make keys, request, show, sign, assemble",
    "release": "what was published as one version",
    "remote": "a reseller's desk: his licenses over the management API, with his API key",
    "remote webhook": "what his systems are told of his licenses",
}


def main(argv: Sequence[str]) -> int:
    """Runs one command; the exit status: 1 for a `health` that found something."""
    as_json = "--json" in argv
    try:
        arguments = _parser().parse_args(_with_thumbprints(argv))
        result = cast("Command", arguments.command)(arguments)
    except AgentError as error:
        return _fail(error, as_json=as_json)
    except client.Refused as refused:
        _show_failure(refused.code, refused.title, refused.hint, as_json=as_json)
        return refused.exit_status
    except OSError as error:
        path = str(error.filename or "a file")
        return _fail(Storage(Fault.IO_FAILED, "io_failed", path=path, why=str(error.strerror)), as_json=as_json)
    except KeyboardInterrupt:
        return 130
    _show(result, as_json=as_json)
    return 0 if result.get("healthy", True) else 1


def _with_thumbprints(argv: Sequence[str]) -> list[str]:
    """Returns the words, with a key's thumbprint that begins with a dash joined to its option.

    argparse takes it for another one.
    """
    words: list[str] = []
    for word in argv:
        if _DASHED_THUMBPRINT.fullmatch(word) and words and words[-1].startswith("--"):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def _show(result: Result, *, as_json: bool) -> None:
    if as_json:
        print(_envelope(dict(result), []))
        return
    width = max((len(name) for name in result), default=0)
    for name, value in result.items():
        rows = value if isinstance(value, list) else []
        shown = str(len(rows)) if isinstance(value, list) else _text(value)
        print(escape(f"{name.replace('_', ' '):{width}}  {shown}"))
        for line in _table(rows):
            print(f"  {escape(line)}")


def _table(rows: list[Json]) -> list[str]:
    """Returns rows of the same members as columns under their names, any others as they are."""
    members = [row for row in rows if isinstance(row, dict)]
    if len(members) < len(rows) or len({tuple(row) for row in members}) != 1:
        return ["  ".join(map(_text, row.values())) if isinstance(row, dict) else _text(row) for row in rows]
    heads = [name.replace("_", " ").upper() for name in members[0]]
    cells = [heads, *([_text(value) for value in row.values()] for row in members)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def _text(value: Json) -> str:
    """Returns a value as a person reads it: yes or no, `-` for none, lists and limits without brackets."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ",".join(map(_text, value)) or "-"
        case dict():
            return ",".join(f"{name}={_text(inner)}" for name, inner in value.items()) or "-"
        case _:
            return str(value)


def _fail(error: AgentError, *, as_json: bool) -> int:
    title, hint = sentence(error.detail, error.values), cure(error.detail, error.values)
    _show_failure(str(error.code), title, hint, as_json=as_json)
    return error.exit_status


def _show_failure(code: str, title: str, hint: str, *, as_json: bool) -> None:
    print("\n  ".join(map(escape, (title, *([hint] if hint else ()), f"code: {code}"))), file=sys.stderr)
    if as_json:
        error: Json = {"code": code, "title": title, "hint": hint}
        print(_envelope(None, [error]))


def _envelope(result: Json, errors: list[Json]) -> str:
    """Returns the JSON envelope of a command. A file's name may hold a lone surrogate, so this is not `strict_json`."""
    arguments = {"schema": 1, "result": result, "warnings": [], "errors": errors}
    return escape_json(json.dumps(arguments, ensure_ascii=False, separators=(",", ":"), sort_keys=True))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Usage(Fault.USAGE, "command_line", why=message)


def _parser_of(**named: Any) -> argparse.ArgumentParser:
    return _Parser(**named)


def _parser() -> argparse.ArgumentParser:
    parser = _parser_of(prog="opanel-authority", description="Delegates, issues, activates and publishes licenses.")
    common = _parser_of(add_help=False)
    common.add_argument("--json", action="store_true", help="the result as JSON")
    here = _parser_of(add_help=False, parents=[common])
    directory = os.environ.get(_DIRECTORY_VARIABLE, ".")
    here.add_argument(
        "--dir", type=Path, default=Path(directory), help=f"the authority's directory (or ${_DIRECTORY_VARIABLE})"
    )
    commands = {"": parser.add_subparsers(required=True, metavar="COMMAND")}

    def of_group(name: str) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
        if name not in commands:
            outer, _, word = name.rpartition(" ")
            grouped = of_group(outer).add_parser(word, help=_GROUPS[name], description=_GROUPS[name])
            commands[name] = grouped.add_subparsers(required=True, metavar="COMMAND")
        return commands[name]

    def add(
        name: str,
        command: Command,
        summary: str,
        *,
        parent: argparse.ArgumentParser = here,
        changes: bool = False,
    ) -> argparse.ArgumentParser:
        group, _, word = name.rpartition(" ")
        added = of_group(group).add_parser(word, help=summary, description=summary, parents=[parent])
        added.set_defaults(command=command, change=name, logs_a_change=changes)
        if changes:
            added.add_argument("--reason", metavar="TEXT", help="why, for the change log")
        return added

    there = _parser_of(add_help=False, parents=[common])
    remote.add_connection(there)
    roots.register_init(partial(add, parent=common))
    remote.register(partial(add, parent=there))
    remote_webhooks.register(partial(add, parent=there))
    for group in (roots, releases, issuing, licenses, resellers, webhooks, operations, service, received, own_key):
        group.register(add)
    return parser
