"""Writes every file of this repository that is generated from others in it, or checks that none is stale.

usage: packaging/generate             write what is stale, and name it
       packaging/generate --check     write nothing: exit 1 and name what is stale
       packaging/generate --locks     first pin the newest releases in the lock files (needs `uv` and a package index)
       packaging/generate --notice    first freeze the field catalog into the installed privacy notice

Generated are the compiled sentences (.mo), the manual pages, the completions, the JSON Schemas of the answers, and of
docs/ the signed examples, the words of the panel's page, and the pages on troubleshooting. A generated file that no
source accounts for any more is removed, and named by --check. Of the lock files, both of the first forms only check
that they pin what the distributions ask for. A frozen notice is changed by --notice alone, which refuses whatever the
notice's text did not say.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from generators import catalogs, completion, examples, lock, man, panel_words, schemas, troubleshooting

ROOT: Final = Path(__file__).resolve().parents[2]
OPTIONS: Final = (set[str](), {"--check"}, {"--locks"}, {"--notice"}, {"--locks", "--notice"})

Outputs = Iterator[tuple[str, bytes]]  # each file's path in the repository, and its bytes


class Generator(NamedTuple):
    """`pattern` is the glob that its files match, and no file does that it did not write."""

    pattern: str
    outputs: Callable[[], Outputs]


# In this order: the manual pages read the compiled sentences.
GENERATORS: Final = (
    Generator("agent/opanel_agent/locale/*/LC_MESSAGES/*.mo", catalogs.outputs),
    Generator("packaging/share/man/**/*.[1-9]", man.outputs),
    Generator("packaging/share/[!dm]*/*/*opanel-agent*", completion.outputs),
    Generator("packaging/share/doc/opanel-agent/schema/*.json", schemas.outputs),
    Generator("docs/examples/*.jw?", examples.outputs),
    Generator("docs/examples/panel/settings/words.php", panel_words.outputs),
    Generator("docs/troubleshooting/*.md", troubleshooting.outputs),
)


def stale(generator: Generator, target: Path) -> Iterator[tuple[str, bytes | None]]:
    """Every file below `target` that is not as generated, with the bytes it should have; None: it should not exist."""
    written: set[str] = set()
    for name, data in generator.outputs():
        written.add(name)
        path = target / name
        if not path.is_file() or path.read_bytes() != data:
            yield name, data
    for path in sorted(target.glob(generator.pattern)):
        name = path.relative_to(target).as_posix()
        if name not in written:
            yield name, None


def check(target: Path) -> bool:
    """Names each stale file on standard error. Returns whether there is one."""
    found = [name for generator in GENERATORS for name, _ in stale(generator, target)]
    for name in found:
        sys.stderr.write(f"{name} is stale: run packaging/generate\n")
    return bool(found)


def write(target: Path) -> None:
    """Writes or removes each stale file, and names it on standard output."""
    for generator in GENERATORS:
        for name, data in stale(generator, target):
            path = target / name
            if data is None:
                path.unlink()
                print(f"removed {name}")
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            print(f"wrote {name}")


def main(arguments: Sequence[str], target: Path = ROOT) -> int:
    """Runs the command. Returns its exit status: 0; 1 stale or refused, 64 usage, 65 a source is wrong, 69 no locks."""
    if {"-h", "--help"} & {*arguments}:
        print(__doc__)
        return 0
    options = {*arguments}
    if options not in OPTIONS:
        sys.stderr.write(f"{__doc__}\n")
        return 64
    sys.path.insert(0, str(ROOT / "agent"))
    try:
        return _run(options, target)
    except ValueError as exc:
        sys.stderr.write(f"cannot generate: {exc}\n")
        return 65
    except lock.CannotPinError as exc:
        sys.stderr.write(f"{exc}\n")
        return 69


def _run(options: set[str], target: Path) -> int:
    if "--locks" in options:
        lock.write(target)
    if "--notice" in options:
        from generators import freeze_notice  # needs the path that was set above

        if not freeze_notice.freeze():
            return 1
    found = False
    if "--check" in options:
        found = check(target)
    else:
        write(target)
    return 1 if lock.check() or found else 0
