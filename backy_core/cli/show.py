"""`backy show`: tells what is known about one version."""

from __future__ import annotations

from collections.abc import Iterator

import click

from backy_core.cli.command import command
from backy_core.cli.documents import extents_document, version_document
from backy_core.cli.invocation import Invocation
from backy_core.cli.ls import state_words
from backy_core.cli.table import aligned
from backy_core.cli.units import counted, human_duration, human_extent, human_location, human_size, local_time
from backy_core.model import Protection
from backy_core.reports import VersionDetails

__all__ = ["command_line"]

EXAMPLES = """
backy show vm-1
backy show vm-1@-1
backy show 3f2a9c --json
"""


@command("show", examples=EXAMPLES, exits=(4, 7, 8, 9, 11))
@click.argument("version")
def command_line(invocation: Invocation, version: str) -> None:
    """Tell what is known about VERSION: a volume (its newest valid version), `vm-1@-1` (the one before), or a uid."""
    with invocation.open() as repository:
        details = repository.show(version)
    invocation.answer(
        {
            "version": version_document(details.version),
            "data_blocks": details.data_blocks,
            "hole_blocks": details.hole_blocks,
            "stored_bytes": details.stored_bytes,
            "damaged_extents": extents_document(details.damaged_extents),
        },
        _lines(details),
    )


def _protection(guard: Protection | None) -> str:
    if guard is None:
        return "no"
    words = [f"until {local_time(guard.until)}" if guard.until else "yes"]
    words += [f"by {guard.by}"] if guard.by else []
    words += [guard.reason] if guard.reason else []
    return ", ".join(words)


def _lines(details: VersionDetails) -> Iterator[str]:
    version, numbers = details.version, details.version.statistics
    rows = [
        ("volume", version.volume),
        ("version", version.uid),
        ("state", state_words(version)),
        ("created", local_time(version.created)),
        ("finished", local_time(version.finished) if version.finished else "not yet"),
        ("source", human_location(version.source) or "-"),
        ("base", version.base_uid or "none: everything was read"),
        ("tags", ", ".join(version.attributes.tags) or "none"),
        ("protected", _protection(version.attributes.protected)),
        ("size", f"{human_size(version.size)} ({version.size} bytes)"),
        (
            "blocks",
            f"{details.data_blocks} with data, {details.hole_blocks} without, of {human_size(version.block_size)} each",
        ),
        ("stored", f"{human_size(details.stored_bytes)}, shared with other versions where content is the same"),
    ]
    if numbers:
        rows.append(
            (
                "this backup",
                ", ".join(
                    (
                        f"{human_size(numbers.read_bytes)} read",
                        f"{counted(numbers.changed_blocks, 'block')} changed",
                        f"{human_size(numbers.stored_bytes)} stored",
                        human_duration(numbers.duration_seconds),
                    )
                ),
            )
        )
    yield from aligned((), rows)
    for extent in details.damaged_extents:
        yield f"damaged: {human_extent(extent)}"
