"""`backy tag`: adds tags to versions and takes them off."""

from __future__ import annotations

import click

from backy_core.cli.command import command
from backy_core.cli.documents import version_document
from backy_core.cli.invocation import Invocation
from backy_core.cli.units import short_uid
from backy_core.errors import InvalidInput

__all__ = ["command_line"]

EXAMPLES = """
backy tag vm-1 --add before-upgrade
backy tag vm-1@-1 vm-2 --add keep --remove try
"""


@command("tag", examples=EXAMPLES, exits=(4, 6, 7, 8, 9, 10, 11, 12, 14))
@click.argument("versions", metavar="VERSION...", nargs=-1, required=True)
@click.option("-a", "--add", multiple=True, metavar="TAG", help="A tag to add; may be given several times.")
@click.option("-r", "--remove", multiple=True, metavar="TAG", help="A tag to take off; may be given several times.")
def command_line(
    invocation: Invocation, versions: tuple[str, ...], add: tuple[str, ...], remove: tuple[str, ...]
) -> None:
    """Add tags to VERSIONs and take them off. The store knows them, too."""
    if not add and not remove:
        raise InvalidInput("nothing to do: give --add TAG or --remove TAG")
    with invocation.open() as repository:
        changed = repository.tag(versions, add=add, remove=remove)
    invocation.answer(
        {"versions": [version_document(version) for version in changed]},
        [
            f"{version.volume}: version {short_uid(version)} has {', '.join(version.attributes.tags) or 'no tags'}"
            for version in changed
        ],
    )
