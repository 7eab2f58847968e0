"""`backy rm`: removes versions by name."""

from __future__ import annotations

from collections.abc import Iterator

import click

from backy_core.cli.command import command
from backy_core.cli.documents import version_document
from backy_core.cli.invocation import Invocation
from backy_core.cli.progress import showing_progress
from backy_core.cli.units import short_uid
from backy_core.reports import RemoveReport

__all__ = ["command_line"]

EXAMPLES = """
backy rm 3f2a9c41d07b
backy rm vm-1@-2 vm-1@-3
backy cleanup
"""


@command("rm", examples=EXAMPLES, exits=(4, 6, 7, 8, 9, 10, 11, 12, 14, 15))
@click.argument("versions", metavar="VERSION...", nargs=-1, required=True)
def command_line(invocation: Invocation, versions: tuple[str, ...]) -> None:
    """Remove VERSIONs for good. Other versions lose nothing.

    The space they alone used is freed by the next `backy cleanup`.
    """
    invocation.if_interrupted = "what was being removed stays removed, `backy cleanup` finishes it"
    with invocation.open() as repository:
        with showing_progress(invocation) as progress:
            report = repository.remove(versions, progress=progress)
    invocation.answer(
        {"removed": [version_document(version) for version in report.removed], "deferred": list(report.deferred)},
        _lines(report),
    )


def _lines(report: RemoveReport) -> Iterator[str]:
    for version in report.removed:
        waits = "; something is in the way of the rest, cleanup tries again" if version.uid in report.deferred else ""
        yield f"{version.volume}: version {short_uid(version)} is removed{waits}"
    yield "next: `backy cleanup` frees the space that no other version needs"
