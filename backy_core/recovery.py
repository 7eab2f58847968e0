"""Opens what is left after a loss: makes a database anew, looks at one beside the living one, restores without any."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from backy_core import settings as configuration
from backy_core.checking import differences, first
from backy_core.engine import Engine, make_engine
from backy_core.errors import NotFound, ObjectMissing, RepositoryError
from backy_core.locations import normalise, path_to_url
from backy_core.model import RepositoryFacts, Version
from backy_core.objects.identity import read_config
from backy_core.opening import open_meta, open_store, open_target, plugins_of
from backy_core.plugins import Plugins
from backy_core.rebuild import rebuild
from backy_core.reports import CheckReport, ProgressCallback, RebuildReport, RestoreReport
from backy_core.restore import restore
from backy_core.selectors import select
from backy_core.settings import RepositorySettings
from backy_core.takeover import Takeover, wanted_chunks

if TYPE_CHECKING:
    from backy_core.contracts.meta import MetaStore
    from backy_core.contracts.store import Store
    from backy_core.encryption.keys import RepositoryKey
    from backy_core.encryption.unlocking import Ask

__all__ = ["check_database", "rebuild_repository", "restore_from_store"]

_MOST_DIFFERENCES = 1000


def rebuild_repository(
    name: str | None,
    *,
    store: str | None,
    metadata: str | None,
    dooms_orphans: bool,
    ask: Ask | None,
    progress: ProgressCallback,
) -> RebuildReport:
    """Make the database of a repository anew from its store; its settings file, too, when that is lost.

    Raises `RepositoryError` when there is a database already, or no repository in the store.
    """
    settings, fresh = _settings(name, store, metadata)
    plugins = plugins_of(settings)
    with open_store(plugins, settings, create=False) as opened:
        facts = _facts(opened)
        with open_meta(plugins, settings, create=True) as meta:
            _refuse_existing(meta, facts)
            if fresh:
                configuration.save(settings)
            engine = make_engine(plugins, settings, facts, meta, opened, _unlocking(settings, facts, opened, ask))
            session = meta.open_session("rebuild")
            try:
                return rebuild(engine, session, dooms_orphans=dooms_orphans, progress=progress)
            finally:
                meta.close_session(session)


def check_database(
    engine: Engine, plugins: Plugins, settings: RepositorySettings, progress: ProgressCallback
) -> CheckReport:
    """Make a database anew beside the engine's, and compare them.

    Versions that are finished, removed or get other attributes while this runs are left out; so are those whose newest
    attributes a killed run has decided and not put: whatever writes next puts them.
    """
    started = time.monotonic()
    pending = {one.uid for one in engine.meta.pending_attributes()}
    before = _described(engine.meta)
    with _scratch(plugins, settings) as meta:
        session = meta.open_session("check-database")
        report = rebuild(replace(engine, meta=meta), session, scratch=True, progress=progress)
        meta.close_session(session)
        while True:
            after = _described(engine.meta)
            moving = {uid for uid in before.keys() | after.keys() if before.get(uid) != after.get(uid)} | pending
            size_of = partial(_size_of, engine.store)
            found = first(differences(engine.meta, meta, moving, size_of, progress), _MOST_DIFFERENCES)
            if not found or _described(engine.meta) == after:
                break
    damage = (one for one in (*report.lost, *report.doubted) if one.version_uid not in moving)
    lost = tuple(f"{one.key} {one.reason}" for one in damage)
    return CheckReport(len(after), (*lost, *found), report, round(time.monotonic() - started, 3))


def restore_from_store(
    name: str | None,
    selector: str,
    target: str,
    *,
    store: str | None,
    force: bool,
    ask: Ask | None,
    progress: ProgressCallback,
) -> RestoreReport:
    """Restore one version with nothing but the store: its manifest, its segments, its chunks.

    The selector is a uid, then only its manifest is read; or a volume or another selector, then all manifests are.
    """
    settings, _ = _settings(name, store, None)
    plugins = plugins_of(settings)
    with open_store(plugins, settings, create=False) as opened, _scratch(plugins, settings) as meta:
        facts = _facts(opened)
        engine = make_engine(plugins, settings, facts, meta, opened, _unlocking(settings, facts, opened, ask))
        session = meta.open_session("restore")
        take = Takeover(engine, session, progress)
        uid = _chosen(take, selector)
        manifests = take.manifests([uid])
        take.versions(manifests, {})
        if take.lost:
            raise RepositoryError(
                f"version {uid} cannot be restored from its description in the store: "
                f"{take.lost[0].key} {take.lost[0].reason}; try another version"
            )
        take.chunks(wanted_chunks(meta, take.stored))
        meta.initialise(engine.facts)
        version = meta.pin(session, uid)
        written = open_target(plugins, settings, target, version, force=force)
        try:
            return restore(engine, session, version, written, progress=progress)
        finally:
            written.abandon()


def _settings(name: str | None, store: str | None, metadata: str | None) -> tuple[RepositorySettings, bool]:
    """The settings of the repository; made from the store's URL where the file is lost. Whether they were made."""
    called, path = configuration.locate(name)
    if path.exists() or store is None:
        found = configuration.load(name)
        for said, here, option in ((store, found.store, "--store"), (metadata, found.metadata, "--metadata")):
            if said is not None and normalise(said) != here:
                raise RepositoryError(
                    f"{path} names {here}, not {said}; leave out {option}, or choose another name with -R"
                )
        return found, False
    configuration.refuse_password(normalise(store))
    default = configuration.default_locations(called)[1]
    made = RepositorySettings(name=called, path=path, store=normalise(store), metadata=metadata or default)
    configuration.refuse_password(made.metadata)
    return made, True


def _facts(store: Store) -> RepositoryFacts:
    """What the store's config says; the database, which would know better, is not there to ask."""
    facts = read_config(store)
    if facts is None:
        raise RepositoryError(f"{store.location} holds no repository; is the right place mounted there?")
    return facts


def _unlocking(
    settings: RepositorySettings, facts: RepositoryFacts, store: Store, ask: Ask | None
) -> Callable[[], RepositoryKey]:
    def unlocked() -> RepositoryKey:
        from backy_core.encryption.unlocking import unlock

        return unlock(store, facts.repository_id, settings, ask=ask).key

    return unlocked


def _refuse_existing(meta: MetaStore, facts: RepositoryFacts) -> None:
    try:
        there = meta.facts()
    except RepositoryError:
        return
    remedy = (
        "`backy reconcile` makes it agree with the store; to make it anew, move it away first"
        if there.repository_id == facts.repository_id
        else f"and of another repository, {there.repository_id}; give another --metadata"
    )
    raise RepositoryError(f"{meta.location} is there; {remedy}")


def _size_of(store: Store, key: str) -> int | None:
    try:
        return store.size(key)
    except ObjectMissing:
        return None


def _described(meta: MetaStore) -> dict[str, Version]:
    return {
        version.uid: replace(version, state=version.state) for version in meta.versions() if version.state.is_finished
    }


def _chosen(take: Takeover, selector: str) -> str:
    uids = take.stored.uids()
    if selector in uids:
        return selector
    found = [uid for uid in uids if len(selector) >= 4 and uid.startswith(selector)]
    if len(found) == 1:
        return found[0]
    versions = [manifest.version for manifest in take.manifests(uids)]
    if not versions:
        raise NotFound(f"the store describes no version that can be read; {selector!r} is none of it")
    return select(selector, versions, lambda prefix: [one for one in versions if one.uid.startswith(prefix)]).uid


@contextmanager
def _scratch(plugins: Plugins, settings: RepositorySettings) -> Iterator[MetaStore]:
    """A metadata store that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="backy-") as folder:
        url = path_to_url(Path(folder) / "scratch.sqlite", "sqlite")
        with open_meta(plugins, replace(settings, metadata=url), create=True) as meta:
            yield meta
