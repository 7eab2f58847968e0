"""`backy reconcile`: makes a database agree with its store again."""

from __future__ import annotations

from collections.abc import Iterator

import click

from backy_core.cli.command import command
from backy_core.cli.documents import version_document
from backy_core.cli.invocation import Invocation
from backy_core.cli.progress import showing_progress
from backy_core.cli.rebuild import rebuild_document, rebuild_lines, tell_losses
from backy_core.cli.units import short_uid
from backy_core.errors import EXIT_DAMAGE_FOUND, EXIT_OK
from backy_core.reports import ReconcileReport

__all__ = ["command_line"]

EXAMPLES = """
backy reconcile --dry-run
backy reconcile
"""


@command("reconcile", examples=EXAMPLES, exits=(6, 7, 8, 9, 10, 11, 12, 14, 20))
@click.option("-n", "--dry-run", is_flag=True, help="Only say which versions would come and go.")
@click.option("--doom-orphans", is_flag=True, help="Have the next cleanup delete objects that no version uses.")
def command_line(invocation: Invocation, dry_run: bool, doom_orphans: bool) -> int:
    """Make the database and the store agree again, after one of them was put back from an older copy.

    A database older than the store learns what was backed up, tagged and removed since; then backups go on, and
    whoever still uses the newer database is stopped. Make sure first that nobody does. When it is the store that is
    older, everything in the database is kept, and what the store has lost is marked.
    """
    invocation.if_interrupted = "reconcile again: until it is done, nothing else writes"
    with invocation.open() as repository:
        with showing_progress(invocation) as progress:
            report = repository.reconcile(dooms_orphans=doom_orphans, dry_run=dry_run, progress=progress)
    tell_losses(invocation, report.store)
    for version in report.undescribed:
        invocation.tell(
            "warning", f"the store does not describe {version.volume} {short_uid(version)} any more; back it up again"
        )
    invocation.answer(
        {
            "older": report.older,
            "generation": report.generation,
            "dry_run": report.dry_run,
            "removed": [version_document(version) for version in report.removed],
            "dropped": [version.uid for version in report.dropped],
            "changed_attributes": [version.uid for version in report.changed_attributes],
            "undescribed": [version.uid for version in report.undescribed],
            "unknown": list(report.unknown),
            "taken": rebuild_document(report.store),
        },
        _lines(report),
    )
    damaged = report.store.lost or report.store.missing_chunks or report.undescribed
    return EXIT_DAMAGE_FOUND if damaged else EXIT_OK


def _lines(report: ReconcileReport) -> Iterator[str]:
    will = "would be" if report.dry_run else "is"
    yield "the database is older than the store" if report.older else "the database is not older than the store"
    for version in report.store.versions:
        yield f"{version.volume} {short_uid(version)} {will} taken over from the store"
    for version in report.removed:
        yield f"{version.volume} {short_uid(version)} was removed since and {will} given up"
    for version in report.dropped:
        yield f"{version.volume} {short_uid(version)}, unfinished, {will} given up"
    for version in report.changed_attributes:
        yield f"{version.volume} {short_uid(version)} has other tags or protection since"
    for uid in report.unknown:
        yield f"version {uid} is in the store and not in the database; it was left alone"
    if report.store.missing_chunks:
        yield f"{report.store.missing_chunks} chunks are not in the store: `backy ls` shows which versions are invalid"
    if not report.dry_run:
        yield from rebuild_lines(report.store, "taken over:")
        yield f"database and store agree, at generation {report.generation}"
