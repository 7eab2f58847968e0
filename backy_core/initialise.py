"""Initialises a repository: its settings file first, then the database, then the store.

A killed `init` is completed by the next one with the same places; one that was refused leaves nothing behind.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from backy_core import settings as configuration
from backy_core.contracts.meta import MetaStore
from backy_core.contracts.store import Store
from backy_core.errors import InvalidInput, RepositoryError
from backy_core.locations import normalise
from backy_core.model import DEFAULT_BLOCK_SIZE, MAX_BLOCK_SIZE, MIN_BLOCK_SIZE, RepositoryFacts
from backy_core.objects.identity import FORMAT, read_config, write_config
from backy_core.opening import open_meta, open_store, plugins_of
from backy_core.plugins import installed
from backy_core.settings import RepositorySettings

__all__ = ["initialise"]


def initialise(
    name: str | None,
    *,
    store: str | None,
    metadata: str | None,
    hash_name: str | None,
    block_size: int | None,
    compression: str | None,
) -> Path:
    """See `backy_core.repository.Repository.create`; the path of the settings file."""
    name, path = configuration.locate(name)
    default_store, default_metadata = configuration.default_locations(name)
    wanted = RepositorySettings(
        name=name,
        path=path,
        store=normalise(store) if store else default_store,
        metadata=metadata or default_metadata,
        compression=compression or configuration.DEFAULT_COMPRESSION,
    )
    configuration.compression_level(wanted.compression)
    configuration.refuse_password(wanted.store)
    configuration.refuse_password(wanted.metadata)
    facts = RepositoryFacts(
        repository_id=str(uuid.uuid4()),
        format=FORMAT,
        hash_name=hash_name or _default_hash(),
        block_size=_checked_block_size(block_size or DEFAULT_BLOCK_SIZE),
        created=datetime.now(UTC).replace(microsecond=0),
    )
    plugins = plugins_of(wanted)
    plugins.open("hash", facts.hash_name, "new_hash", name=facts.hash_name)
    settings, fresh = _claim(wanted)
    begun = False
    try:
        with (
            open_store(plugins, settings, create=True) as opened_store,
            open_meta(plugins, settings, create=True) as meta,
        ):
            recorded = _recorded(opened_store, meta, fresh)
            # From here on the settings file stays: with it, another `init` completes what this one began.
            begun = True
            if recorded is None:
                meta.initialise(facts)
            write_config(opened_store, recorded or facts)
    except BaseException:
        if fresh and not begun:
            settings.path.unlink(missing_ok=True)
        raise
    return settings.path


def _claim(wanted: RepositorySettings) -> tuple[RepositorySettings, bool]:
    """Write the settings file, or take up the one of an interrupted `init`: only what it names is completed."""
    try:
        configuration.save(wanted)
        return wanted, True
    except RepositoryError:
        found = configuration.load(str(wanted.path))
        if (found.store, found.metadata) != (wanted.store, wanted.metadata):
            raise
        return found, False


def _recorded(store: Store, meta: MetaStore, fresh: bool) -> RepositoryFacts | None:
    """What an interrupted `init` has recorded in the database, None when nothing; raises when there is a repository.

    The database is written first, then the store, and both only after the settings that name them.
    """
    stored, recorded = read_config(store), None
    with suppress(RepositoryError):
        recorded = meta.facts()
    if stored is not None and (fresh or recorded is None or recorded.repository_id != stored.repository_id):
        raise RepositoryError(
            f"{store.location} belongs to the repository {stored.repository_id} already; give another --store"
        )
    if recorded is not None and (fresh or stored is not None or meta.versions()):
        remedy = "give another --metadata" if fresh else "`backy backup SOURCE VOLUME` may follow"
        raise RepositoryError(f"{meta.location} is initialised already as {recorded.repository_id}; {remedy}")
    return recorded


def _default_hash() -> str:
    fit = {plugin.name for plugin in installed() if plugin.kind == "hash" and plugin.problem is None}
    return "blake3" if "blake3" in fit else "sha512"


def _checked_block_size(block_size: int) -> int:
    if not MIN_BLOCK_SIZE <= block_size <= MAX_BLOCK_SIZE or block_size % MIN_BLOCK_SIZE:
        raise InvalidInput(
            f"a block size of {block_size} bytes is not possible; give a multiple of {MIN_BLOCK_SIZE} "
            f"up to {MAX_BLOCK_SIZE}, such as {DEFAULT_BLOCK_SIZE}"
        )
    return block_size
