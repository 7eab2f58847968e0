"""`backy unprotect`: lets protected versions be removed again."""

from __future__ import annotations

import click

from backy_core.cli.command import command
from backy_core.cli.documents import version_document
from backy_core.cli.invocation import Invocation
from backy_core.cli.units import short_uid

__all__ = ["command_line"]

EXAMPLES = """
backy unprotect vm-1@-1
"""


@command("unprotect", examples=EXAMPLES, exits=(4, 6, 7, 8, 9, 10, 11, 12, 14))
@click.argument("versions", metavar="VERSION...", nargs=-1, required=True)
def command_line(invocation: Invocation, versions: tuple[str, ...]) -> None:
    """Let VERSIONs be removed again."""
    with invocation.open() as repository:
        changed = repository.unprotect(versions)
    invocation.answer(
        {"versions": [version_document(version) for version in changed]},
        [f"{version.volume}: version {short_uid(version)} is not protected" for version in changed],
    )
