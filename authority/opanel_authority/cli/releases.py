"""Commands of whoever publishes releases: sign a manifest, and show what one says."""

import argparse
from pathlib import Path

from opanel_agent.core.release import manifest
from opanel_agent.core.release.manifest import Manifest
from opanel_authority.authority import write_public
from opanel_authority.books.rows import Kind
from opanel_authority.cli.common import AddCommand, Result, logged, now_s, opened, shown_time
from opanel_authority.documents import releases


def register(add: AddCommand) -> None:
    """Add this group's commands."""
    signing = add("release sign", _sign, "sign a release manifest with every release key that lies here", changes=True)
    signing.add_argument("draft", type=Path, metavar="DRAFT", help="what packaging/build manifest wrote")
    signing.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    signing.add_argument("--add", type=Path, metavar="FILE", help="the same manifest as others have signed it")
    signing.add_argument("--keys", type=Path, metavar="DIR", help="where the release keys are, if not in keys/")
    showing = add("release show", _show, "verify a release manifest under the newest root, and say what it names")
    showing.add_argument("file", type=Path, metavar="FILE")


def _sign(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    root = authority.root
    before = b"" if arguments.add is None else arguments.add.read_bytes()
    signers = releases.release_keys(arguments.keys or arguments.dir / "keys", root)
    made = releases.sign(root, arguments.draft.read_bytes(), signers, before=before, path=str(arguments.add))
    with authority.writing(now := now_s()) as books:
        version = made.manifest.version
        books.log_change(
            at=now, act="sign_release", kind=Kind.RELEASE, subject=version, delegation=None, **logged(arguments)
        )
        write_public(arguments.output, made.text)
    enough = made.manifest.signatures >= made.threshold
    return {
        "release": str(arguments.output),
        **_described(made.manifest),
        "threshold": made.threshold,
        **({} if enough else {"next": "agents ask for more signatures: sign it with --add where the other keys are"}),
    }


def _show(arguments: argparse.Namespace) -> Result:
    return _described(manifest.verify(arguments.file.read_bytes(), opened(arguments).root))


def _described(read: Manifest) -> Result:
    return {
        "version": read.version,
        "date": shown_time(read.iat),
        "notice": read.notice,
        "systemd": read.systemd,
        "artifacts": len(read.artifacts),
        "files": {name: len(layout.files) for name, layout in read.layouts.items()},
        "signatures": read.signatures,
    }
