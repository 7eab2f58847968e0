"""The objects that say which repository a store belongs to, and how new its database must be: `config` and `gens/`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from backy_core.contracts.store import Store
from backy_core.errors import ObjectExists, ObjectMissing, RepositoryError
from backy_core.model import RepositoryFacts

__all__ = [
    "FORMAT",
    "check_generation",
    "generation_key",
    "read_config",
    "stored_generations",
    "write_config",
    "write_generation",
]

FORMAT = 1
"""The on-store format that this backy writes, and the newest it reads."""

_CONFIG = "config"
_LIMIT = 64 * 1024


def write_config(store: Store, facts: RepositoryFacts) -> None:
    """Create `config`, durably. Raises `RepositoryError` when the store belongs to a repository already."""
    content = {
        "backy": "repository",
        "format": facts.format,
        "repository": facts.repository_id,
        "hash": facts.hash_name,
        "block_size": facts.block_size,
        "created": facts.created.isoformat(),
    }
    try:
        store.put(_CONFIG, [_to_bytes(content)], urgent=False)
        store.sync()
    except ObjectExists as error:
        raise RepositoryError(f"{store.location} belongs to a repository already; give another place") from error


def read_config(store: Store) -> RepositoryFacts | None:
    """What `config` says, or None when there is none: the store is empty, or not backy's."""
    try:
        data = store.get(_CONFIG, 0, _LIMIT)
    except ObjectMissing:
        return None
    try:
        content = json.loads(data)
        if content["backy"] != "repository" or not isinstance(content["format"], int):
            raise ValueError("not the config of a repository")
        if content["format"] > FORMAT:
            raise RepositoryError(
                f"{store.location} has format {content['format']}, newer than this backy knows ({FORMAT}); "
                "upgrade backy-core"
            )
        return RepositoryFacts(
            repository_id=str(content["repository"]),
            format=content["format"],
            hash_name=str(content["hash"]),
            block_size=int(content["block_size"]),
            created=datetime.fromisoformat(content["created"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RepositoryError(
            f"{store.location}/{_CONFIG} is damaged; put back a copy of it before anything else is done"
        ) from error


def generation_key(generation: int) -> str:
    """The key of a generation's object; the number is padded so that names sort."""
    return f"gens/{generation:012d}"


def write_generation(store: Store, facts: RepositoryFacts, generation: int) -> None:
    """Create the object of a generation, durably; on a full store too.

    Raises `RepositoryError` when it is there already: another database has cleaned up in this store.
    """
    content = {"backy": "generation", "repository": facts.repository_id, "generation": generation}
    try:
        store.put(generation_key(generation), [_to_bytes(content)], urgent=True)
        store.sync()
    except ObjectExists as error:
        raise RepositoryError(
            f"generation {generation} exists in {store.location} already: a copy of this database is in use, too, or "
            "it was restored from an old backup; stop the other one, or bring back the newest database"
        ) from error


def stored_generations(store: Store) -> list[int]:
    """The generations that have an object in the store, ascending."""
    return sorted(int(found.key.removeprefix("gens/")) for found in store.list("gens/"))


def check_generation(store: Store, read_generation: Callable[[], int]) -> None:
    """Refuse a database that is older than the store: its rows may name objects that are deleted already.

    `read_generation` reads the database's, which happens after the store was listed: a cleanup beside this raises the
    database's first. Raises `RepositoryError`.
    """
    newest = max(stored_generations(store), default=0)
    generation = read_generation()
    if newest > generation:
        raise RepositoryError(
            f"the database is older than the store (generation {generation}, {store.location} has {newest}), probably "
            "restored from an old copy; nothing is written until the newest database is back"
        )


def _to_bytes(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"
