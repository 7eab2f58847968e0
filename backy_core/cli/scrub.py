"""`backy scrub`: reads versions back and checks every byte."""

from __future__ import annotations

from collections.abc import Iterator

import click

from backy_core.cli.command import command
from backy_core.cli.documents import damage_document, unlisted, version_document
from backy_core.cli.invocation import Invocation
from backy_core.cli.progress import showing_progress
from backy_core.cli.units import counted, human_duration, human_extent, human_size, short_uid
from backy_core.errors import EXIT_DAMAGE_FOUND, EXIT_OK
from backy_core.model import Damage, Version
from backy_core.reports import ScrubReport

__all__ = ["command_line"]

EXAMPLES = """
backy scrub
backy scrub vm-1
backy scrub vm-1@-1 3f2a9c --json
"""


@command("scrub", examples=EXAMPLES, exits=(4, 6, 7, 8, 9, 10, 11, 20))
@click.argument("versions", metavar="[VERSION]...", nargs=-1)
def command_line(invocation: Invocation, versions: tuple[str, ...]) -> int:
    """Read back what VERSIONs consist of, or all finished versions, and check it against the digests.

    A version that uses a damaged chunk becomes `invalid`. The next backup that reads the same content heals it.
    """
    with invocation.open() as repository:
        with showing_progress(invocation) as progress:
            report = repository.scrub(versions, progress=progress)
        affected = {version.uid: version for version in repository.versions()} if report.damage else {}
    for warning in report.warnings:
        invocation.tell("warning", warning)
    invocation.answer(
        {
            "versions": [version_document(version) for version in report.versions],
            "chunks": report.chunks,
            "read_bytes": report.read_bytes,
            "stored_bytes": report.stored_bytes,
            "damage": damage_document(report.damage),
            "damaged_chunks": report.damaged_chunks,
            "damaged_descriptions": report.damaged_descriptions,
            "invalidated": [version_document(version) for version in report.invalidated],
            "revalidated": [version_document(version) for version in report.revalidated],
            "duration_seconds": report.duration_seconds,
            "warnings": list(report.warnings),
        },
        _lines(report, affected),
    )
    damaged = report.damaged_chunks + report.damaged_descriptions
    if damaged:
        invocation.tell("error", f"{counted(damaged, 'object')} of the store {'is' if damaged == 1 else 'are'} damaged")
        return EXIT_DAMAGE_FOUND
    return EXIT_OK


def _lines(report: ScrubReport, known: dict[str, Version]) -> Iterator[str]:
    if not report.versions:
        yield "no versions to scrub: `backy backup SOURCE VOLUME` makes one"
        return
    for found in report.damage:
        yield from _damage_lines(found, known)
    yield from unlisted(report.damaged_chunks + report.damaged_descriptions, report.damage)
    for version in report.invalidated:
        yield f"now invalid: {version.volume} {short_uid(version)}"
    for version in report.revalidated:
        yield f"valid again: {version.volume} {short_uid(version)}"
    verdict = "not whole" if report.damaged_chunks or report.damaged_descriptions else "all whole"
    yield (
        f"{counted(len(report.versions), 'version')} scrubbed, {verdict}: {counted(report.chunks, 'chunk')},"
        f" {human_size(report.read_bytes)} checked, {human_size(report.stored_bytes)} read from the store"
        f" in {human_duration(report.duration_seconds)}"
    )
    if report.damaged_chunks:
        yield "next: back up the affected volumes again: what still has the same content heals every version"
    elif report.damaged_descriptions:
        yield "next: back up the affected volumes again: the new versions do not build on what is damaged"


def _damage_lines(found: Damage, known: dict[str, Version]) -> Iterator[str]:
    yield f"{found.kind.value}: {found.key}: {found.reason}"
    version = known.get(found.version_uid or "")
    if version is not None:
        yield f"  used by {version.volume} {short_uid(version)}"
    for extent in found.extents:
        yield f"  {human_extent(extent)}"
