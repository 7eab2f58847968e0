"""`backy restore`: writes a version to a target."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

import click

from backy_core.cli.command import command
from backy_core.cli.documents import damage_document, extents_document, unlisted, version_document
from backy_core.cli.invocation import Invocation
from backy_core.cli.progress import showing_progress
from backy_core.cli.units import human_duration, human_extent, human_location, human_size, short_uid
from backy_core.errors import EXIT_OK, EXIT_RESTORED_WITH_DAMAGE, InvalidInput
from backy_core.reports import RestoreReport

__all__ = ["command_line"]

EXAMPLES = """
backy restore vm-1 restored.img
backy restore vm-1@-1 yesterday.img
backy restore --force vm-1 /dev/vg0/root
backy restore --from-store 3f2a9c41d07b5e88 restored.img
"""


@command("restore", examples=EXAMPLES, exits=(3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14))
@click.argument("version")
@click.argument("target")
@click.option("-f", "--force", is_flag=True, help="Overwrite what is at the target. Never what is mounted or in use.")
@click.option(
    "-s",
    "--sparse",
    is_flag=True,
    help="Accepted and always so: holes read as zeros afterwards, and are holes where the target can have them.",
)
@click.option("--from-store", is_flag=True, help="Do without the database: it is lost, or not to be trusted.")
@click.option("--store", metavar="URL", help="With --from-store, when the settings file is lost, too: where it is.")
def command_line(
    invocation: Invocation, version: str, target: str, force: bool, sparse: bool, from_store: bool, store: str | None
) -> int:
    """Write VERSION to TARGET, a path or URL. Every block is checked before it is written.

    VERSION is a volume (its newest valid version), `vm-1@-1` (the one before), or the beginning of a uid. Damaged
    blocks do not stop a restore: all others are written, the damaged byte ranges are listed and read as zeros, and
    the exit code is 3.

    With --from-store the database is not needed: a uid reads one manifest and its segments, any other VERSION reads all
    manifests first.
    """
    invocation.if_interrupted = f"{target} is not complete, restore again"
    if store is not None and not from_store:
        raise InvalidInput("--store goes with --from-store")
    if from_store:
        from backy_core.cli.asking import ask
        from backy_core.recovery import restore_from_store

        with showing_progress(invocation) as progress:
            report = restore_from_store(
                invocation.repository, version, target, store=store, force=force, ask=ask, progress=progress
            )
    else:
        with invocation.open() as repository:
            with showing_progress(invocation) as progress:
                report = repository.restore(version, target, force=force, progress=progress)
    for warning in report.warnings:
        invocation.tell("warning", warning)
    invocation.answer(
        {
            "version": version_document(report.version),
            "target": report.target,
            "written_bytes": report.written_bytes,
            "hole_bytes": report.hole_bytes,
            "damage": damage_document(report.damage),
            "damaged_chunks": report.damaged_chunks,
            "damaged_extents": extents_document(report.damaged_extents),
            "duration_seconds": report.duration_seconds,
            "warnings": list(report.warnings),
        },
        _lines(report),
    )
    if report.damage or report.damaged_extents:
        lost = sum(extent.length for extent in report.damaged_extents)
        where = human_location(report.target)
        invocation.tell("error", f"{human_size(lost)} of the version are damaged and read as zeros in {where}")
        return EXIT_RESTORED_WITH_DAMAGE
    return EXIT_OK


def _lines(report: RestoreReport) -> Iterator[str]:
    version = report.version
    yield (
        f"{version.volume}: version {short_uid(version)} is restored to {human_location(report.target)}:"
        f" {human_size(report.written_bytes)} written, {human_size(report.hole_bytes)} are holes,"
        f" in {human_duration(report.duration_seconds)}"
    )
    if report.damage or report.damaged_extents:
        for extent in report.damaged_extents:
            yield f"damaged: {human_extent(extent)}"
        for found in report.damage:
            yield f"because: {found.kind.value} {found.key}: {found.reason}"
        yield from unlisted(report.damaged_chunks, report.damage)
        yield f"next: `backy ls {version.volume}` lists other versions; `backy scrub` says which of them are whole"
    else:
        yield _next_step(human_location(report.target))


def _next_step(target: str) -> str:
    path = quote(target)
    if target.startswith("/dev/"):
        return f"next: `partprobe {path}` makes the kernel read its partitions again, then it can be mounted"
    if target.startswith("/"):
        return f"next: `losetup --find --show --partscan --read-only {path}` makes it a device to mount and look into"
    return "next: start the machine from it, or attach it to another one and look"
