"""Commits to the store what the metadata store has decided: generations, manifests, attributes.

The metadata store decides first, in one transaction that also raises the generation. Then its fence is put, so that no
older copy of the database is used any more, and only then the object. Whoever is killed in between leaves it to the
next run that writes, which puts the same, word for word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from backy_core.contracts.meta import MetaStore, PendingAttributes, Writing
from backy_core.contracts.store import Store
from backy_core.engine import Engine
from backy_core.errors import BackyError, ObjectExists, OutOfSpace, RepositoryError
from backy_core.model import (
    NO_ATTRIBUTES,
    Attributes,
    BackupStatistics,
    RepositoryFacts,
    Version,
    attributes_key,
    manifest_key,
)
from backy_core.objects.identity import check_generation, write_generations
from backy_core.objects.manifest import MANIFEST_LIMIT, attributes_content, manifest_content
from backy_core.segments import write_segments

__all__ = ["commit_attributes", "commit_version", "complete", "store_fences"]


def commit_version(
    engine: Engine,
    session: int,
    writing: Writing,
    statistics: BackupStatistics,
    attributes: Attributes = NO_ATTRIBUTES,
) -> Version:
    """Describe the version, whose chunks are all published, in the store, and make it valid."""
    meta = engine.meta
    segments = write_segments(engine, session, writing)
    finished = datetime.now(UTC)
    version = replace(writing.version, finished=finished, statistics=statistics, attributes=attributes)
    base = writing.base
    previous = base.manifest if base is not None and base.lineage == version.lineage else None
    content = manifest_content(version, segments, previous)
    meta.promise_version(
        session,
        version,
        finished=finished,
        statistics=statistics,
        manifest=content,
        digest=engine.hash.digest(content),
        attributes=attributes,
    )
    store_fences(meta, session, engine.store, engine.facts, urgent=False)
    return _put_manifest(engine, session, version, content)


def commit_attributes(engine: Engine, session: int, uid: str, attributes: Attributes) -> None:
    """Give a finished version these attributes, durably, in both places."""
    serial = engine.meta.set_attributes(session, uid, attributes)
    store_fences(engine.meta, session, engine.store, engine.facts, urgent=False)
    _put_attributes(engine, session, [PendingAttributes(uid, serial, attributes)])


def complete(engine: Engine, session: int, *, frees_space: bool = False) -> list[Version]:
    """Put what killed runs have decided and not put; the versions that became finished by it.

    `frees_space`: the caller is about to. Then what does not fit on a full store waits for the next run.
    """
    meta = engine.meta
    store_fences(meta, session, engine.store, engine.facts, urgent=frees_space)
    finished: list[Version] = []
    try:
        _put_attributes(engine, session, meta.pending_attributes())
        for promise in meta.promises():
            finished.append(_put_manifest(engine, session, promise.version, promise.manifest))
    except OutOfSpace:
        if not frees_space:
            raise
    return finished


def store_fences(meta: MetaStore, session: int, store: Store, facts: RepositoryFacts, *, urgent: bool = True) -> None:
    """Put the objects of all generations that were begun. `urgent`: on a full store too, by the space it keeps aside.

    That space is for freeing more. Whoever only fills the store must not take it: nothing could be removed then.
    """
    fences = meta.fences()
    if fences:
        write_generations(store, facts, fences, urgent=urgent)
        meta.fences_stored(session, [fence.generation for fence in fences])


def _put_manifest(engine: Engine, session: int, version: Version, content: bytes) -> Version:
    key = manifest_key(version.uid)
    try:
        engine.store.put(key, engine.envelope.wrap(key, content))
        engine.store.sync()
    except ObjectExists:
        # Put by the run that was killed, or by another one that completes it, or by a request whose answer got lost.
        _check_same(engine, key, content)
    # Another database may have taken the store over meanwhile, without this version: then nobody is told that it is
    # safe. It stays promised here, and in the store for a reconcile to find.
    check_generation(engine.store, engine.meta.generation)
    return engine.meta.finish_version(session, version)


def _put_attributes(engine: Engine, session: int, pending: Sequence[PendingAttributes]) -> None:
    for one in pending:
        key = attributes_key(one.uid, one.serial)
        content = attributes_content(one.uid, one.serial, one.attributes)
        try:
            engine.store.put(key, engine.envelope.wrap(key, content))
            engine.store.sync()
        except ObjectExists:
            _check_same(engine, key, content)
        engine.meta.attributes_stored(session, one.uid, one.serial)


def _check_same(engine: Engine, key: str, content: bytes) -> None:
    """Raise `RepositoryError` unless the object under `key` has this content, as far as this host can read it."""
    if not engine.can_read:
        return
    try:
        found = engine.envelope.unwrap(key, engine.store.get(key), MANIFEST_LIMIT)
    except BackyError as error:
        raise RepositoryError(f"{engine.store.location}/{key} is in the way and cannot be read: {error}") from error
    if found != content:
        raise RepositoryError(
            f"{engine.store.location}/{key} was written by another database; run `backy reconcile`, or find the other "
            "database and stop using it"
        )
