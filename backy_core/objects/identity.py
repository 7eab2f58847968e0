"""The objects that say which repository a store belongs to, and how new its database must be: `config` and `gens/`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime

from backy_core.contracts.meta_values import Fence
from backy_core.contracts.store import Store
from backy_core.errors import ObjectCorrupt, ObjectExists, ObjectMissing, ObjectUnreadable, RepositoryError
from backy_core.model import RepositoryFacts
from backy_core.objects.texts import TEXT_OBJECT_LIMIT, decode_text, encode_text

__all__ = [
    "CIPHER",
    "FORMAT",
    "check_generation",
    "generation_key",
    "read_config",
    "read_generation",
    "stored_generations",
    "write_config",
    "write_generation",
    "write_generations",
]

FORMAT = 1
"""The on-store format that this backy writes, and the only one it reads."""

CIPHER = "aes-256-gcm"
"""What an encrypted repository's `config` and facts say."""

_CONFIG = "config"
_GENERATION = re.compile(r"[0-9]{12}|[1-9][0-9]{12,17}")
"""As `generation_key` names them; other names in `gens/` are nobody's, and longer numbers no database can count to."""


def write_config(store: Store, facts: RepositoryFacts) -> None:
    """Create `config`, durably. Raises `RepositoryError` when the store belongs to a repository already."""
    content = {
        "backy": "repository",
        "format": facts.format,
        "repository": facts.repository_id,
        "hash": facts.hash_name,
        "block_size": facts.block_size,
        "created": facts.created.isoformat(),
        "encryption": facts.encryption,
    }
    try:
        store.put(_CONFIG, [encode_text(content)], urgent=False)
        store.sync()
    except ObjectExists as error:
        raise RepositoryError(f"{store.location} belongs to a repository already; give another place") from error


def read_config(store: Store) -> RepositoryFacts | None:
    """What `config` says, or None when there is none: the store is empty, or not backy's.

    Raises `RepositoryError` when it is damaged, or of a format or with a cipher that this backy does not know.
    """
    try:
        data = store.get(_CONFIG, 0, TEXT_OBJECT_LIMIT + 1)
    except ObjectMissing:
        return None
    try:
        content = decode_text(data, "repository")
        format_, cipher = content["format"], content["encryption"]
        if type(format_) is not int:
            raise TypeError("a format is a number")
        if format_ != FORMAT or cipher not in (None, CIPHER):
            told = f"format {format_}" if format_ != FORMAT else f"encryption {cipher!r}"
            raise RepositoryError(
                f"{store.location} has {told}, newer than this backy knows ({FORMAT}); upgrade backy-core"
            )
        created = datetime.fromisoformat(content["created"])
        if created.tzinfo is None or type(content["block_size"]) is not int or type(content["hash"]) is not str:
            raise TypeError("a field is of the wrong type")
        return RepositoryFacts(
            repository_id=content["repository"],
            format=format_,
            hash_name=content["hash"],
            block_size=content["block_size"],
            created=created,
            encryption=cipher,
        )
    except (ObjectCorrupt, ValueError, KeyError, TypeError) as error:
        raise RepositoryError(
            f"{store.location}/{_CONFIG} is damaged; put back a copy of it before anything else is done"
        ) from error


def generation_key(generation: int) -> str:
    """The key of a generation's object; the number is padded so that names sort."""
    return f"gens/{generation:012d}"


def write_generations(store: Store, facts: RepositoryFacts, fences: Sequence[Fence], *, urgent: bool = True) -> None:
    """Create the objects of these generations, durably. `urgent`, errors: see `write_generation`."""
    for fence in fences:
        write_generation(store, facts, fence, urgent=urgent)
    store.sync()


def write_generation(store: Store, facts: RepositoryFacts, fence: Fence, *, urgent: bool = True) -> None:
    """Create the object of a generation; durable after the store's next `sync`. `urgent`: works on a full store too.

    When it is there already with the same token, a run that was killed has put it. Raises `RepositoryError` when it is
    another's: another database has raised the generation to the same number.
    """
    content = {
        "backy": "generation",
        "repository": facts.repository_id,
        "generation": fence.generation,
        "token": fence.token,
    }
    try:
        store.put(generation_key(fence.generation), [encode_text(content)], urgent=urgent)
        if not urgent:
            store.sync()  # a directory sees only now that the name is taken
    except ObjectExists as error:
        try:
            found = read_generation(store, fence.generation, facts.repository_id)
        except (ObjectCorrupt, ObjectUnreadable, ObjectMissing) as unreadable:
            raise RepositoryError(
                f"generation {fence.generation} exists in {store.location} already and cannot be read: "
                f"{unreadable}; it may be another database's, so nothing is written; see what scrub says"
            ) from unreadable
        if found != fence:
            raise RepositoryError(
                f"generation {fence.generation} exists in {store.location} already: a copy of this database is in "
                "use, too, or it was put back from an old one; stop the other one, or run `backy reconcile`"
            ) from error


def read_generation(store: Store, generation: int, repository_id: str | None = None) -> Fence:
    """The generation and the token that its object says.

    Raises `ObjectMissing`, `ObjectUnreadable`, and `ObjectCorrupt` when the object is damaged, another generation's or
    (when `repository_id` is given) another repository's.
    """
    said = decode_text(store.get(generation_key(generation), 0, TEXT_OBJECT_LIMIT + 1), "generation")
    token = said.get("token")
    if type(said.get("generation")) is not int or not isinstance(token, str) or not token:
        raise ObjectCorrupt("does not say what a generation must say")
    if said["generation"] != generation:
        raise ObjectCorrupt(f"is generation {said['generation']}: another object lies in its place")
    if repository_id is not None and said["repository"] != repository_id:
        raise ObjectCorrupt(f"belongs to the repository {said['repository'][:100]!r}")
    return Fence(generation, token)


def stored_generations(store: Store) -> list[int]:
    """The generations that have an object in the store, ascending."""
    names = (found.key.removeprefix("gens/") for found in store.list("gens/"))
    return sorted(int(name) for name in names if _GENERATION.fullmatch(name))


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
            "put back from an old copy: nothing is written; bring the newest one back, or run `backy reconcile`"
        )
