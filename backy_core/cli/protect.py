"""`backy protect`: keeps versions from being removed."""

from __future__ import annotations

import os
from datetime import datetime

import click

from backy_core.cli.command import command
from backy_core.cli.documents import version_document
from backy_core.cli.invocation import Invocation
from backy_core.cli.units import local_time, short_uid

__all__ = ["command_line"]

EXAMPLES = """
backy protect vm-1
backy protect vm-1@-1 --reason "before the upgrade" --until 2027-01-31
"""


@command("protect", examples=EXAMPLES, exits=(4, 6, 7, 8, 9, 10, 11, 12, 14))
@click.argument("versions", metavar="VERSION...", nargs=-1, required=True)
@click.option("--reason", default="", metavar="TEXT", help="Why, for whoever wants to remove them one day.")
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]),
    help="Until when, in local time. Default: until `backy unprotect`.",
)
def command_line(invocation: Invocation, versions: tuple[str, ...], reason: str, until: datetime | None) -> None:
    """Keep VERSIONs from being removed. The store knows it, too: it survives the loss of the database."""
    by = os.environ.get("SUDO_USER") or os.environ.get("LOGNAME") or str(os.getuid())
    with invocation.open() as repository:
        changed = repository.protect(
            versions, reason=reason, by=by, until=until.astimezone() if until is not None else None
        )
    end = f" until {local_time(until.astimezone())}" if until is not None else ""
    invocation.answer(
        {"versions": [version_document(version) for version in changed]},
        [f"{version.volume}: version {short_uid(version)} is protected{end}" for version in changed],
    )
