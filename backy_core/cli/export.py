"""`backy export`: writes the metadata of versions to a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from backy_core.cli.command import command
from backy_core.cli.documents import version_document
from backy_core.cli.invocation import Invocation
from backy_core.cli.progress import showing_progress
from backy_core.cli.units import counted
from backy_core.errors import InvalidInput, TargetError
from backy_core.model import Version

__all__ = ["command_line"]

EXAMPLES = """
backy export vm-1 vm-1.export
backy export vm-1 vm-1@-1 vm-2 -  | gzip > versions.gz
"""


@command("export", examples=EXAMPLES, exits=(4, 5, 6, 7, 8, 9, 11, 12))
@click.argument("versions", metavar="VERSION...", nargs=-1, required=True)
@click.argument("file")
def command_line(invocation: Invocation, versions: tuple[str, ...], file: str) -> None:
    """Write to FILE which blocks VERSIONs consist of, their tags and times; `-` is standard output.

    There is no data in it: `backy import` makes versions from it in the repository that has the data. A store describes
    its versions itself, so nothing needs to be exported to be safe.
    """
    if file == "-" and invocation.json:
        raise InvalidInput("--json and the export both want standard output; name a file")
    with invocation.open() as repository:
        with showing_progress(invocation) as progress:
            if file == "-":
                done = repository.export(versions, sys.stdout.buffer.write, progress=progress)
                sys.stdout.buffer.flush()
                return
            done = _to_file(Path(file), lambda write: repository.export(versions, write, progress=progress))
    invocation.answer(
        {"file": file, "versions": [version_document(version) for version in done]},
        [f"{counted(len(done), 'version')} exported to {file}"],
    )


def _to_file(path: Path, work: object) -> list[Version]:
    """Write a new file, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if os.path.lexists(path):
            raise TargetError(f"{path} exists already; name another file")
        try:
            with temporary.open("xb") as opened:
                done: list[Version] = work(opened.write)  # type: ignore[operator]
                opened.flush()
                os.fsync(opened.fileno())
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise TargetError(f"cannot write {path}: {error.strerror}") from error
    return done
