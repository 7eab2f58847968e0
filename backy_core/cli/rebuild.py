"""`backy rebuild`: makes a lost database anew from the store."""

from __future__ import annotations

from collections.abc import Iterator

import click

from backy_core.cli.command import command
from backy_core.cli.documents import damage_document, version_document
from backy_core.cli.invocation import Invocation
from backy_core.cli.progress import showing_progress
from backy_core.cli.units import counted, human_duration, human_size, short_uid
from backy_core.errors import EXIT_DAMAGE_FOUND, EXIT_OK
from backy_core.reports import RebuildReport

__all__ = ["command_line", "rebuild_document", "rebuild_lines", "tell_losses"]

EXAMPLES = """
backy rebuild
backy rebuild --store file:///mnt/backup/store
backy -R offsite rebuild --store file:///mnt/offsite
"""


@command("rebuild", examples=EXAMPLES, exits=(7, 8, 9, 10, 11, 12, 14, 20))
@click.option("--store", metavar="URL", help="Where the objects are, when the settings file is lost, too.")
@click.option("--metadata", metavar="URL", help="The database to make. Default: that of the settings.")
@click.option("--doom-orphans", is_flag=True, help="Have the next cleanup delete objects that no version uses.")
def command_line(invocation: Invocation, store: str | None, metadata: str | None, doom_orphans: bool) -> int:
    """Make the database of a repository anew from what its store says, when it is lost.

    Versions, block maps, tags and protection come back. A database that is only old is made right by
    `backy reconcile`. Versions whose description is damaged are listed, and everything else is made.

    Use --doom-orphans only when no other copy of the database is in use any more: what it is just uploading belongs to
    no version yet.
    """
    from backy_core.cli.asking import ask
    from backy_core.recovery import rebuild_repository

    invocation.if_interrupted = "rebuild again: it goes on where it stopped"
    with showing_progress(invocation) as progress:
        report = rebuild_repository(
            invocation.repository,
            store=store,
            metadata=metadata,
            dooms_orphans=doom_orphans,
            ask=ask,
            progress=progress,
        )
    tell_losses(invocation, report)
    invocation.answer({"rebuilt": rebuild_document(report)}, rebuild_lines(report, "the database is made anew:"))
    return EXIT_DAMAGE_FOUND if report.lost or report.invalid else EXIT_OK


def rebuild_document(report: RebuildReport) -> dict[str, object]:
    """What was taken over from a store."""
    return {
        "versions": [version_document(version) for version in report.versions],
        "invalid": [version.uid for version in report.invalid],
        "lost": damage_document(report.lost),
        "doubted": damage_document(report.doubted),
        "missing_chunks": report.missing_chunks,
        "orphans": report.orphans,
        "orphan_bytes": report.orphan_bytes,
        "dooms_orphans": report.dooms_orphans,
        "read_bytes": report.read_bytes,
        "read_objects": report.read_objects,
        "duration_seconds": report.duration_seconds,
    }


def tell_losses(invocation: Invocation, report: RebuildReport) -> None:
    """Name on standard error what could not be taken over."""
    for damage in report.lost:
        invocation.tell("error", f"version {damage.version_uid} is lost: {damage.key} {damage.reason}")
    for damage in report.doubted:
        invocation.tell("warning", f"{damage.key} {damage.reason}; older attributes were taken in its place")
    for version in report.invalid:
        invocation.tell("error", f"{version.volume} {short_uid(version)} is invalid: chunks of it are not in the store")


def rebuild_lines(report: RebuildReport, what: str) -> Iterator[str]:
    """What was taken over, in words; `what` comes first."""
    volumes = len({version.volume for version in report.versions})
    yield (
        f"{what} {counted(len(report.versions), 'version')} of {counted(volumes, 'volume')},"
        f" {human_size(report.read_bytes)} read in {counted(report.read_objects, 'object')},"
        f" {human_duration(report.duration_seconds)}"
    )
    if report.orphans:
        yield (
            f"{counted(report.orphans, 'object')} ({human_size(report.orphan_bytes)}) belong to no version; "
            + (
                "the next `backy cleanup` deletes them"
                if report.dooms_orphans
                else "--doom-orphans has them cleaned up"
            )
        )
