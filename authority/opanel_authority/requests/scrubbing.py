"""Takes the traces of what was deleted out of the database's file."""

from opanel_authority.authority import Authority
from opanel_authority.books.repositories.report_repository import ReportRepository


def scrub(authority: Authority) -> None:
    """Take the traces of what was deleted, now or before a crash. Raises Storage; then it is still owed."""
    with authority.store.reading() as books:
        owed = ReportRepository(books).scrub_owed()
    if owed is None:
        return
    authority.store.scrub()
    with authority.store.transaction() as books:
        ReportRepository(books).scrubbed(owed)
