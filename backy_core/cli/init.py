"""`backy init`: makes a repository."""

from __future__ import annotations

import click

from backy_core.cli.command import command
from backy_core.cli.documents import facts_document
from backy_core.cli.invocation import Invocation
from backy_core.cli.units import human_size
from backy_core.errors import InvalidInput

__all__ = ["command_line"]

EXAMPLES = """
backy init
backy init --store file:///mnt/backup/store
backy init --encrypt
backy -R offsite init --store file:///mnt/offsite --compression zstd:6
"""

_LOSS = "  encrypted; without the passphrase all is lost: print a sheet with `backy key export sheet.html`"


@command("init", examples=EXAMPLES, exits=(7, 8, 9, 10, 11, 12))
@click.option("--store", metavar="URL", help="Where objects go. Default: a directory below the data directory.")
@click.option("--metadata", metavar="URL", help="The database of versions. Default: SQLite below the data directory.")
@click.option("--hash", "hash_name", metavar="NAME", help="The hash function, fixed for good. Default: blake3.")
@click.option("--block-size", metavar="SIZE", help="Size of a block, fixed for good. Default: 4MiB.")
@click.option("--compression", metavar="METHOD", help="`zstd:LEVEL` or `none`. Default: zstd:1.")
@click.option("--encrypt", is_flag=True, help="Encrypt it; a passphrase opens it. Fixed for good.")
@click.option("--passphrase-file", metavar="FILE", help="Take the passphrase from FILE instead of asking for it.")
@click.option("--kdf-memory", metavar="SIZE", help="Memory that trying a passphrase takes. Default: 256MiB.")
def command_line(
    invocation: Invocation,
    store: str | None,
    metadata: str | None,
    hash_name: str | None,
    block_size: str | None,
    compression: str | None,
    encrypt: bool,
    passphrase_file: str | None,
    kdf_memory: str | None,
) -> None:
    """Make a repository: a store, a metadata store, and the settings that name them.

    Without options it lies below your data directory and needs no configuration. The settings are written to a
    TOML file, which may be edited; what is fixed for good is kept in the store and in the database.

    The passphrase of an encrypted repository is typed twice, or comes from a file or the variable BACKY_PASSPHRASE.
    """
    from backy_core.cli.asking import new_passphrase
    from backy_core.repository import Repository
    from backy_core.settings import parse_size

    size = parse_size(block_size) if block_size is not None else None
    if not encrypt and (passphrase_file is not None or kdf_memory is not None):
        raise InvalidInput("--passphrase-file and --kdf-memory are for an encrypted repository; add --encrypt")
    passphrase = new_passphrase("--passphrase-file", passphrase_file, "BACKY_PASSPHRASE") if encrypt else None

    with Repository.create(
        invocation.repository,
        store=store,
        metadata=metadata,
        hash_name=hash_name,
        block_size=size,
        compression=compression,
        passphrase=passphrase,
        kdf_memory=parse_size(kdf_memory) if kdf_memory is not None else None,
    ) as repository:
        settings, facts = repository.settings, repository.facts
        invocation.answer(
            {
                "repository": {
                    "name": settings.name,
                    "settings": str(settings.path),
                    "store": settings.store,
                    "metadata": settings.metadata,
                    "compression": settings.compression,
                    **facts_document(facts),
                }
            },
            [
                f"repository {settings.name} is ready: {facts.hash_name}, blocks of {human_size(facts.block_size)}",
                f"  data      {settings.store}",
                f"  metadata  {settings.metadata}",
                f"  settings  {settings.path}",
                *([_LOSS] if facts.encryption is not None else []),
                "next: `backy backup SOURCE VOLUME` makes the first version of a volume",
            ],
        )
