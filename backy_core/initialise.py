"""Initialises a repository: its settings file first, then the database, then the store.

A killed `init` is completed by the next one with the same places; one that was refused leaves nothing behind.

Of an encrypted repository the first key slot goes to the store before `config`: as long as there is no `config` nothing
can be backed up, so the next `init` may replace the slot of a killed one, whose passphrase nobody may remember.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from backy_core import settings as configuration
from backy_core.contracts.meta import MetaStore
from backy_core.contracts.store import Store
from backy_core.errors import InvalidInput, RepositoryError
from backy_core.locations import normalise
from backy_core.model import DEFAULT_BLOCK_SIZE, MAX_BLOCK_SIZE, MIN_BLOCK_SIZE, RepositoryFacts
from backy_core.objects.identity import CIPHER, FORMAT, read_config, write_config
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
    passphrase: str | None = None,
    kdf_memory: int | None = None,
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
        encryption=CIPHER if passphrase is not None else None,
    )
    if kdf_memory is not None and passphrase is None:
        raise InvalidInput("the memory for trying passphrases has no meaning without encryption; add --encrypt")
    plugins = plugins_of(wanted)
    hash_ = plugins.open("hash", facts.hash_name, "new_hash", name=facts.hash_name)
    if passphrase is not None:
        from backy_core.encryption.passphrases import check_new, fresh_argon2

        check_new(passphrase)
        fresh_argon2(kdf_memory)
        hash_.keyed(bytes(32))  # refused here, or never
    settings, fresh = _claim(wanted)
    begun = False
    try:
        with (
            _alone(settings.path),
            open_store(plugins, settings, create=True) as opened_store,
            open_meta(plugins, settings, create=True) as meta,
        ):
            recorded = _recorded(opened_store, meta, fresh)
            if recorded is not None:
                _check_encryption(recorded, facts, settings)
            # From here on the settings file stays: with it, another `init` completes what this one began.
            begun = True
            if recorded is None:
                meta.initialise(facts)
            if passphrase is not None:
                _first_slot(opened_store, (recorded or facts).repository_id, passphrase, kdf_memory)
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
    if stored is None and recorded is None and any(True for _ in store.list("keys/")):
        raise RepositoryError(
            f"{store.location} holds the key slots of a repository whose config is missing; bring that back, or give"
            " another --store"
        )
    if recorded is not None and (fresh or stored is not None or meta.versions()):
        remedy = "give another --metadata" if fresh else "`backy backup SOURCE VOLUME` may follow"
        raise RepositoryError(f"{meta.location} is initialised already as {recorded.repository_id}; {remedy}")
    return recorded


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let no other `init` of these settings run meanwhile: two would put slots with two different master keys."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_encryption(recorded: RepositoryFacts, wanted: RepositoryFacts, settings: RepositorySettings) -> None:
    if recorded.encryption == wanted.encryption:
        return
    if recorded.encryption is not None:
        raise RepositoryError(
            f"an interrupted init has begun {settings.name!r} as an encrypted repository; run it with --encrypt again"
        )
    raise RepositoryError(
        f"an interrupted init has begun {settings.name!r} without encryption, which is fixed for good; remove "
        f"{settings.path} and give another --metadata"
    )


def _first_slot(store: Store, repository_id: str, passphrase: str, memory: int | None) -> None:
    from backy_core.encryption.keys import MasterKey
    from backy_core.encryption.passphrases import fresh_argon2
    from backy_core.encryption.slots import wrap_by_passphrase
    from backy_core.encryption.stored_slots import put_slot, read_slots, remove_slots, slot_key

    stale = read_slots(store, repository_id)
    for slot in stale:
        if slot.found is None:
            raise RepositoryError(
                f"{slot_key(slot.slot)} in {store.location} {slot.problem}; give another --store, or take it away"
            )
    # They hold the master key of an init that was killed before it made `config`: nothing was ever sealed with it.
    remove_slots(store, [slot.slot for slot in stale])
    secret, argon2 = MasterKey.generate(repository_id).secret(), fresh_argon2(memory)
    put_slot(store, repository_id, lambda slot: wrap_by_passphrase(slot, repository_id, secret, passphrase, argon2))


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
