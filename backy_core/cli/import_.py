"""`backy import`: makes versions from an export, backy's own or backy2's."""

from __future__ import annotations

from pathlib import Path

import click

from backy_core.cli.command import command
from backy_core.cli.documents import version_document
from backy_core.cli.invocation import Invocation
from backy_core.cli.progress import showing_progress
from backy_core.cli.units import counted, human_size, short_uid
from backy_core.errors import EXIT_DAMAGE_FOUND, EXIT_OK, InvalidInput
from backy_core.model import VersionState

__all__ = ["command_line"]

EXAMPLES = """
backy import vm-1.export
backy import vm-1.csv --backy2-data /var/lib/backy2/data
backy import vm-1.csv --backy2-data /var/lib/backy2/data --volume vm-42
"""

_BACKY2 = b"backy2 Version "


@command("import", examples=EXAMPLES, exits=(4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 20))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--backy2-data", metavar="DIR", type=click.Path(path_type=Path), help="Where backy2 keeps its blobs.")
@click.option("--volume", metavar="NAME", help="For backy2's exports: another name for the volume.")
def command_line(invocation: Invocation, file: Path, backy2_data: Path | None, volume: str | None) -> int:
    """Make versions from FILE: what `backy export` wrote of this repository, or `backy2 export` of one version.

    A version that is there already is left alone. backy2's blobs are read where they are, each checked, and nothing of
    it is changed; import the oldest version first, so that each stores only what is new.
    """
    invocation.if_interrupted = "import again: what was stored is not stored again"
    try:
        with file.open("rb") as opened:
            from_backy2 = opened.read(len(_BACKY2)) == _BACKY2
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from error
    if from_backy2 and backy2_data is None:
        raise InvalidInput(f"{file} is an export of backy2; name the folder of its blobs with --backy2-data")
    if not from_backy2 and (backy2_data is not None or volume is not None):
        raise InvalidInput(f"{file} is no export of backy2, so --backy2-data and --volume mean nothing")
    with invocation.open() as repository:
        with showing_progress(invocation) as progress:
            if backy2_data is None:
                report = repository.import_export(file, progress=progress)
                made, there = list(report.imported), list(report.there)
            else:
                done = repository.import_backy2(file, backy2_data, volume, progress=progress)
                made, there = ([], [file.name]) if done is None else ([done.version], [])
    invocation.answer(
        {"imported": [version_document(version) for version in made], "there": there},
        [
            *(
                f"{version.volume}: version {short_uid(version)} is {version.state.value}, {human_size(version.size)}"
                for version in made
            ),
            f"{counted(len(made), 'version')} imported, {counted(len(there), 'version')} had been there before",
        ],
    )
    return EXIT_OK if all(version.state is VersionState.VALID for version in made) else EXIT_DAMAGE_FOUND
