"""Reads what ships beside the code: the field catalog and the notices.

They are as trustworthy as the code, being part of the same package, and are read the same way: by their place beside it.
A fault in them is therefore ours (`Bug`), never the administrator's. The trust root, which settings may replace, is read
in `system.storage.trust`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Bug, Untrusted
from opanel_agent.core.reporting import catalog
from opanel_agent.core.reporting.catalog import Catalog, PurposeSchema

DATA: Final = Path(__file__).parents[2] / "data"


class Resources:
    """The package's data; `place` is a parameter so that a test can lay out another."""

    def __init__(self, place: Path = DATA) -> None:
        self._place = place

    def catalog(self) -> Catalog:
        """Returns the declarations in force, data/fields/*.toml, each purpose's read when it is first asked for.

        A pass with nothing to report asks for none. What is no declaration is Bug(internal) then.
        """
        return Catalog(sheets=_SheetsOnDemand(self._place / "fields"))

    def installed_notice(self) -> str:
        """Returns the version of the notice that this package carries: what `notice` in consent.toml must say."""
        return _bytes(self._place / "notices" / "current").decode("ascii").strip()

    def notice(self, language: str) -> str:
        """Returns the installed notice's text, `tr` or `en`, its placeholders still open (`core.consent.notice.fill`)."""
        return _bytes(self._notice_dir() / f"notice.{language}.md").decode("utf-8")

    def notice_catalog(self, version: str | None = None) -> bytes:
        """Returns the catalog as a notice froze it: the installed one, or an earlier one that ships too."""
        return _bytes(self._notice_dir(version) / "fields.json")

    def noticed(self) -> dict[str, Catalog]:
        """Returns the catalog by the version of its notice: as each earlier one froze it, and the one in force."""
        installed = self.installed_notice()
        versions = sorted(path.name for path in (self._place / "notices").iterdir() if path.is_dir())
        try:
            earlier = {
                version: catalog.thaw(self.notice_catalog(version)) for version in versions if version != installed
            }
            return {**earlier, installed: self.catalog()}
        except Untrusted as error:
            raise Bug(Reason.INTERNAL, error.detail, **error.values) from error

    def _notice_dir(self, version: str | None = None) -> Path:
        return self._place / "notices" / (version or self.installed_notice())


class _SheetsOnDemand(Mapping[str, PurposeSchema]):
    """The declarations of a folder by purpose, each file read once."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.stem: path for path in sorted(folder.glob("*.toml"))}
        self._read: dict[str, PurposeSchema] = {}

    def __getitem__(self, purpose: str) -> PurposeSchema:
        if purpose not in self._read:
            self._read[purpose] = _sheet(self._files[purpose])
        return self._read[purpose]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _sheet(file: Path) -> PurposeSchema:
    try:
        return catalog.load({file.stem: _bytes(file)}).sheets[file.stem]
    except Untrusted as error:
        raise Bug(Reason.INTERNAL, error.detail, **error.values) from error


def load_catalog() -> Catalog:
    """Returns the field catalog that this package ships."""
    return Resources().catalog()


def noticed_catalogs() -> dict[str, Catalog]:
    """Returns the field catalog as each notice froze it, by the version of the notice."""
    return Resources().noticed()


def installed_notice() -> str:
    """Returns the version of the newest notice that this package ships."""
    return Resources().installed_notice()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Bug(Reason.INTERNAL, "data_missing", file=path.name) from error
