"""`backy cleanup`: frees the space that no version needs any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from backy_core.cli.command import command
from backy_core.cli.invocation import Invocation
from backy_core.cli.progress import showing_progress
from backy_core.cli.units import counted, human_size
from backy_core.reports import CleanupReport

__all__ = ["command_line"]

EXAMPLES = """
backy cleanup
backy -R offsite cleanup --json
"""


@command("cleanup", examples=EXAMPLES, exits=(6, 7, 8, 9, 10, 11, 12))
def command_line(invocation: Invocation) -> None:
    """Delete the objects that no version uses any more.

    May run beside backups, restores and scrubs. Only objects that the metadata store has written off are deleted.
    """
    invocation.if_interrupted = "nothing is lost, the next cleanup goes on from here"
    with invocation.open() as repository:
        with showing_progress(invocation) as progress:
            report = repository.cleanup(progress=progress)
    if report.kept_keys:
        invocation.tell(
            "warning",
            f"the store would not delete {counted(len(report.kept_keys), 'object')}, the next cleanup tries again:"
            f" {report.kept_keys[0]}{' and others' if len(report.kept_keys) > 1 else ''}",
        )
    invocation.answer(asdict(report), _lines(report))


def _lines(report: CleanupReport) -> Iterator[str]:
    if not (report.deleted_objects or report.doomed_chunks or report.purged_versions):
        yield "nothing to free: every object in the store is in use"
    else:
        yield f"{human_size(report.freed_bytes)} freed: {counted(report.deleted_objects, 'object')} deleted"
    if report.deferred:
        yield f"{counted(len(report.deferred), 'removed version')} wait for a running backup; run cleanup again later"
