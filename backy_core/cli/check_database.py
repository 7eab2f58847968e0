"""`backy check-database`: makes a database anew beside the living one, and compares."""

from __future__ import annotations

from collections.abc import Iterator

from backy_core.cli.command import command
from backy_core.cli.invocation import Invocation
from backy_core.cli.progress import showing_progress
from backy_core.cli.rebuild import rebuild_document
from backy_core.cli.units import counted, human_duration, human_size
from backy_core.errors import EXIT_OK, RepositoryError
from backy_core.reports import CheckReport

__all__ = ["command_line"]

EXAMPLES = """
backy check-database
backy check-database --json
"""


@command("check-database", examples=EXAMPLES, exits=(7, 8, 9, 10, 11, 12, 14))
def command_line(invocation: Invocation) -> int:
    """Prove that the store alone is enough: make a database anew from it, in a temporary place, and compare.

    Both must be equal: every version, what it holds at every block, its tags and protection, and where each chunk lies.
    Reads the descriptions of all versions, no data. May run beside backups; what changes meanwhile is left out.
    """
    with invocation.open() as repository:
        with showing_progress(invocation) as progress:
            report = repository.check_database(progress=progress)
    invocation.answer(
        {
            "equal": not report.differences,
            "versions": report.versions,
            "differences": list(report.differences),
            "duration_seconds": report.duration_seconds,
            "store": rebuild_document(report.store),
        },
        _lines(report),
    )
    if report.differences:
        count = len(report.differences)
        invocation.tell(
            "error", f"database and store disagree in {counted(count, 'point')}; `backy reconcile` mends it"
        )
        return RepositoryError.exit_code
    return EXIT_OK


def _lines(report: CheckReport) -> Iterator[str]:
    yield from report.differences
    verdict = "differs from" if report.differences else "equals"
    yield (
        f"the database {verdict} what its store describes: {counted(report.versions, 'version')},"
        f" {human_size(report.store.read_bytes)} read, {human_duration(report.duration_seconds)}"
    )
