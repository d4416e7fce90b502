"""Commands of whoever runs the service: copies of the books, migrations, health."""

import argparse
from pathlib import Path

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Usage
from opanel_authority.authority import make_store, open_store
from opanel_authority.books import backup
from opanel_authority.books.rows import Kind
from opanel_authority.cli.common import AddCommand, Result, logged, now_s, opened, shown_time
from opanel_authority.documents import keys
from opanel_authority.documents.keys import Role
from opanel_authority.lifecycle import health, retention


def register(add: AddCommand) -> None:
    """Add this group's commands."""
    copying = add("backup", _backup, "copy the books to a file, while the service runs; keys are files of their own")
    copying.add_argument("file", type=Path, metavar="FILE")
    restoring = add(
        "restore", _restore, "fill books that are gone from a copy; nothing is given twice afterwards", changes=True
    )
    restoring.add_argument("file", type=Path, metavar="FILE")
    keeping = add(
        "retention",
        _retention,
        "for how many days licenses that ended and the change log are kept; or set it",
        changes=True,
    )
    keeping.add_argument("--licenses", type=int, metavar="DAYS", help="after nobody can hold a license as valid")
    keeping.add_argument("--changes", type=int, metavar="DAYS")
    encrypting = add(
        "encrypt-keys", _encrypt_keys, "write every key file that lies here anew, under the passphrase", changes=True
    )
    encrypting.add_argument(
        "--new-passphrase", type=Path, metavar="FILE", help="under the one in this file from now on"
    )
    add("upgrade", _upgrade, "bring the books to this version, with the service stopped and a copy made", changes=True)
    add("health", _health, "what needs somebody: exit 0 where nothing does, 1 else")


def _backup(arguments: argparse.Namespace) -> Result:
    rows = backup.backup(opened(arguments).store, arguments.file, now=now_s())
    return {"file": str(arguments.file), "rows": rows}


def _restore(arguments: argparse.Namespace) -> Result:
    marks = arguments.dir / "drawn"
    exact = marks.is_dir() and any(marks.iterdir())
    store = make_store(arguments.dir)
    done = backup.restore(store, arguments.file, now=now_s(), **logged(arguments), exact=exact)
    return {
        "made_at": shown_time(done.made_at),
        "rows": done.rows,
        "skipped": done.skipped,
        "next": "suspend, resume and revoke again what was changed since the copy was made",
    }


def _retention(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    wanted = (arguments.licenses, arguments.changes)
    if any(days is not None and days < 0 for days in wanted):
        raise Usage(Fault.USAGE, "command_line", why="days are 0 or more")
    if wanted == (None, None):
        with authority.store.reading() as books:
            held = retention.kept(books)
    else:
        held = retention.keep(
            authority, license_days=wanted[0], change_days=wanted[1], now=now_s(), **logged(arguments)
        )
    return {"licenses_days": held.license_days, "changes_days": held.change_days}


def _encrypt_keys(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    with authority.store.reading() as books:
        theirs = {Path(row.directory) / "key.pem": row for row in books.delegations() if row.directory}
    files = {path: Role(path.stem.partition("-")[0]) for path in sorted((arguments.dir / "keys").glob("*.pem"))}
    files |= dict.fromkeys((path for path in theirs if path.exists()), Role.RESELLER)
    new = None if arguments.new_passphrase is None else keys.read_passphrase(arguments.new_passphrase)
    done: list[Json] = []
    for path, role in files.items():
        with authority.store.transaction() as books:  # whatever the clock says: nothing that is signed has this time
            if keys.encrypt(path, role, new):
                done.append(str(path))
                row = theirs.get(path)
                named = {"kind": Kind.KEY, "subject": path.stem, "delegation": None}
                if row is not None:
                    named = {"kind": Kind.DELEGATION, "subject": row.jti, "delegation": row.number}
                books.log_change(at=now_s(), act="encrypt_key", **named, **logged(arguments))
    return {"encrypted": done}


def _upgrade(arguments: argparse.Namespace) -> Result:
    from opanel_authority.books import upgrade

    with open_store(arguments.dir, any_version=True).transaction() as books:
        before, after = upgrade.upgrade(books.connection)
        if before != after:
            subject = f"{before or 'none'} to {after}"
            books.log_change(
                at=now_s(), act="upgrade", kind=Kind.BOOKS, subject=subject, delegation=None, **logged(arguments)
            )
    return {"before": before, "after": after}


def _health(arguments: argparse.Namespace) -> Result:
    found = health.examine(opened(arguments), now=now_s())
    problems: list[Json] = [*found.problems]
    return {"healthy": not problems, **found.figures, "problems": problems}
