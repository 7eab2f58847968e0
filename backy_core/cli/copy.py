"""`backy copy`: copies versions to another repository."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import click

from backy_core.cli.command import command
from backy_core.cli.documents import version_document
from backy_core.cli.invocation import Invocation
from backy_core.cli.progress import showing_progress
from backy_core.cli.units import counted, human_size, short_uid
from backy_core.errors import EXIT_DAMAGE_FOUND, EXIT_OK
from backy_core.model import VersionState
from backy_core.reports import CopyReport

__all__ = ["command_line"]

EXAMPLES = """
backy copy --to offsite
backy copy vm-1 vm-2 --to offsite
backy -R local copy vm-1@-1 --to /etc/backy/usb.toml
"""


@command("copy", examples=EXAMPLES, exits=(4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 20))
@click.argument("versions", metavar="[VERSION]...", nargs=-1)
@click.option("--to", "to", metavar="REPOSITORY", required=True, help="The other repository, or its TOML file.")
def command_line(invocation: Invocation, versions: tuple[str, ...], to: str) -> int:
    """Copy VERSIONs, or all valid ones, to another repository: a second place for the only copy of your data.

    Every chunk is checked when it is read, and compressed and encrypted anew with the other repository's settings. Its
    hash, block size and keys may differ. What is there already is not copied again, and only what differs from the
    version before is read. Tags, protection and the time of the backup go along.
    """
    invocation.if_interrupted = "copy again: what was copied is kept"
    with invocation.open() as repository, invocation.open_other(to) as other:
        with showing_progress(invocation) as progress:
            report = repository.copy(versions, other, progress=progress)
    for _, copied in report.copied:
        for warning in copied.warnings:
            invocation.tell("warning", warning)
    invocation.answer(
        {
            "copied": [
                {
                    "version": version_document(version),
                    "copy": version_document(copied.version),
                    "statistics": asdict(copied.statistics),
                }
                for version, copied in report.copied
            ],
            "there": [version_document(version) for version in report.there],
        },
        _lines(report),
    )
    whole = all(copied.version.state is VersionState.VALID for _, copied in report.copied)
    return EXIT_OK if whole else EXIT_DAMAGE_FOUND


def _lines(report: CopyReport) -> Iterator[str]:
    for version, copied in report.copied:
        numbers = copied.statistics
        yield (
            f"{version.volume}: version {short_uid(version)} is copied as {short_uid(copied.version)}:"
            f" {human_size(numbers.read_bytes)} read, {human_size(numbers.stored_bytes)} went to {copied.store}"
        )
    yield (
        f"{counted(len(report.copied), 'version')} copied,"
        f" {counted(len(report.there), 'version')} had been there before"
    )
