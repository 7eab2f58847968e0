"""`backy backup`: makes a new version of a volume."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from backy_core.cli.command import command
from backy_core.cli.documents import version_document
from backy_core.cli.invocation import Invocation
from backy_core.cli.progress import showing_progress
from backy_core.cli.units import counted, human_duration, human_size, short_uid
from backy_core.errors import EXIT_DAMAGE_FOUND, EXIT_OK
from backy_core.model import VersionState
from backy_core.reports import BackupReport

__all__ = ["command_line"]

EXAMPLES = """
backy backup disk.img vm-1
backy backup /dev/vg0/root root
rbd diff --whole-object --format=json --from-snap old pool/vm@new > vm.diff
backy backup rbd://pool/vm@new vm --hints vm.diff
"""


@command("backup", examples=EXAMPLES, exits=(4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 20))
@click.argument("source")
@click.argument("volume")
@click.option(
    "-r",
    "--hints",
    "--rbd",
    "hints",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read only what this JSON list of extents, as `rbd diff` prints it, calls changed since the base.",
)
@click.option(
    "-f",
    "--base",
    "--from-version",
    "base",
    metavar="VERSION",
    help="Compare with this version instead of the volume's newest.",
)
@click.option("-t", "--tag", "tags", multiple=True, metavar="TAG", help="A tag; may be given several times.")
def command_line(
    invocation: Invocation, source: str, volume: str, hints: Path | None, base: str | None, tags: tuple[str, ...]
) -> int:
    """Back up SOURCE, a path or URL, as a new version of VOLUME.

    Only what differs from the volume's newest version goes to the store. An interrupted backup is continued by the
    next one of the same volume: what was stored is not stored again.
    """
    invocation.if_interrupted = f"what was stored is kept, the next backup of {volume} continues from it"
    with invocation.open() as repository:
        with showing_progress(invocation) as progress:
            report = repository.backup(source, volume, hints=hints, base=base, tags=tags, progress=progress)
    for warning in report.warnings:
        invocation.tell("warning", warning)
    invocation.answer(
        {
            "version": version_document(report.version),
            "statistics": asdict(report.statistics),
            "store": report.store,
            "continued": report.continued,
            "warnings": list(report.warnings),
        },
        _lines(report),
    )
    return EXIT_OK if report.version.state is VersionState.VALID else EXIT_DAMAGE_FOUND


def _lines(report: BackupReport) -> Iterator[str]:
    version, numbers = report.version, report.statistics
    yield (
        f"{version.volume}: version {short_uid(version)} is {version.state.value}:"
        f" {human_size(numbers.read_bytes)} read, {numbers.changed_blocks} of {counted(version.block_count, 'block')}"
        f" changed, {human_size(numbers.stored_bytes)} went to {report.store}"
        f" in {human_duration(numbers.duration_seconds)}"
    )
    if version.state is VersionState.INVALID:
        yield f"it shares damaged chunks with older versions: `backy show {short_uid(version)}` lists where"
