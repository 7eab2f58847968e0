"""`backy ls`: lists versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from backy_core.cli.command import command
from backy_core.cli.documents import version_document
from backy_core.cli.invocation import Invocation
from backy_core.cli.table import aligned
from backy_core.cli.units import counted, human_location, human_size, local_time, short_uid
from backy_core.errors import NotFound
from backy_core.model import Version

__all__ = ["command_line", "state_words"]

EXAMPLES = """
backy ls
backy ls vm-1
backy ls --json vm-1
"""


@command("ls", examples=EXAMPLES, exits=(4, 7, 8, 9, 11))
@click.argument("volume", required=False)
def command_line(invocation: Invocation, volume: str | None) -> None:
    """List the versions of all volumes, or of VOLUME, oldest first.

    CHANGED is what the backup found changed, STORED what went to the store for it.
    """
    with invocation.open() as repository:
        versions = repository.versions(volume)
        if volume is not None and not versions:
            raise NotFound(f"{volume!r} is a version, not a volume; `backy show {volume}` tells about it")
    invocation.answer({"versions": [version_document(version) for version in versions]}, _lines(versions))


def state_words(version: Version) -> str:
    """The state as a person wants to know it."""
    return "interrupted" if version.interrupted else version.state.value


def _lines(versions: Sequence[Version]) -> Iterator[str]:
    if not versions:
        yield "no versions yet: `backy backup SOURCE VOLUME` makes one"
        return
    yield from aligned(
        ("VOLUME", "VERSION", "CREATED", "STATE", "SIZE", "CHANGED", "STORED", "SOURCE"),
        [
            (
                version.volume,
                short_uid(version),
                local_time(version.created),
                state_words(version),
                human_size(version.size),
                counted(version.statistics.changed_blocks, "block") if version.statistics else "-",
                human_size(version.statistics.stored_bytes) if version.statistics else "-",
                human_location(version.source),
            )
            for version in versions
        ],
        right=(4, 5, 6),
    )
