"""Shows a pass a folder that cannot be used as an empty one that takes nothing, so that a license is judged.

The folder is another's, has no mode that lets this user in and cannot be given one, is no folder at all, or is on a part
of the disk that is lost. Every write below it fails with the trouble that it gave. So it is with one folder of the reports.
Where it is the state's, nothing that was ever learnt can be read. What is at hand is what root laid in the configuration:
`license.jws` stands for the bundle, as it would after a loss of the whole state. The rest is as in a first pass.

Left out: whether an earlier answer still stands (`daemon.jobs.job_queue`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opanel_agent.core.errors import Misconfigured, Storage, Unreadable
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths


def unusable(paths: Paths, trouble: Storage) -> Storage:
    """Returns the error that names the folder, what the kernel said of it, and the cure."""
    return Storage(
        trouble.code, "state_unusable", file=str(paths.state_dir), errno=str(trouble.values.get("errno", "unknown"))
    )


class FilesWithout:
    """Files, with nothing below one folder: reads find nothing there, and writes raise `trouble`."""

    def __init__(self, files: Files, folder: Path, trouble: Storage) -> None:
        self._files = files
        self._folder = folder
        self._trouble = trouble

    def read(
        self, path: Path, *, max_bytes: int, owners: frozenset[int] | None = None, follow: bool = False
    ) -> bytes | None:
        """Reads what lies elsewhere."""
        if self._inside(path):
            return None
        return self._files.read(path, max_bytes=max_bytes, owners=owners, follow=follow)

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        """Raises the trouble below the folder."""
        self._refuse(path)
        self._files.write(path, data, mode=mode)

    def append(self, path: Path, line: bytes, *, mode: int = 0o600) -> None:
        """Raises the trouble below the folder."""
        self._refuse(path)
        self._files.append(path, line, mode=mode)

    def remove(self, path: Path) -> None:
        """Removes nothing below the folder: nothing is there."""
        if not self._inside(path):
            self._files.remove(path)

    def remove_tree(self, path: Path) -> None:
        """Removes nothing below the folder: nothing is there."""
        if not self._inside(path):
            self._files.remove_tree(path)

    def move(self, path: Path, target: Path) -> None:
        """Moves nothing below the folder: nothing is there."""
        if not self._inside(path):
            self._files.move(path, target)

    def names(self, directory: Path, *, owners: frozenset[int] | None = None) -> tuple[str, ...]:
        """Lists folders elsewhere."""
        return () if self._inside(directory) else self._files.names(directory, owners=owners)

    def exists(self, path: Path) -> bool:
        """Tells of what lies elsewhere."""
        return not self._inside(path) and self._files.exists(path)

    def stamp(self, path: Path) -> str:
        """Returns the stamp of what has this name, so that a mended folder is noticed."""
        return self._files.stamp(path)

    def make_dir(self, path: Path, *, mode: int = 0o700) -> None:
        """Raises the trouble below the folder."""
        self._refuse(path)
        self._files.make_dir(path, mode=mode)

    def restore_access(self, path: Path) -> None:
        """Changes nothing."""

    def sweep(self, directory: Path) -> None:
        """Sweeps nothing below the folder."""
        if not self._inside(directory):
            self._files.sweep(directory)

    @contextmanager
    def lock(self, path: Path, *, timeout_s: float = 10.0) -> Iterator[None]:
        """Holds nothing: nobody who cannot use the folder writes in it."""
        del path, timeout_s
        yield

    def _inside(self, path: Path) -> bool:
        return path.is_relative_to(self._folder)

    def _refuse(self, path: Path) -> None:
        if self._inside(path):
            raise self._trouble


class FilesWithoutState(FilesWithout):
    """Files without the state folder; what root laid in the configuration stands for the bundle."""

    def __init__(self, files: Files, paths: Paths, trouble: Storage) -> None:
        super().__init__(files, paths.state_dir, trouble)
        self._paths = paths

    def read(
        self, path: Path, *, max_bytes: int, owners: frozenset[int] | None = None, follow: bool = False
    ) -> bytes | None:
        """Reads what lies elsewhere; root's `license.jws` for the bundle, and nothing else of the state."""
        if path != self._paths.bundle:
            return super().read(path, max_bytes=max_bytes, owners=owners, follow=follow)
        try:
            return self._files.read(self._paths.license, max_bytes=max_bytes, owners=self._paths.owners)
        except (Misconfigured, Unreadable):
            return None
