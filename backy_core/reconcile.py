"""Makes a database agree with its store again: one that was put back from an older copy, or whose store was."""

from __future__ import annotations

import time
from collections.abc import Sequence

from backy_core.commit import complete, store_fences
from backy_core.engine import Engine
from backy_core.errors import ObjectCorrupt, ObjectMissing, ObjectUnreadable
from backy_core.model import NO_ATTRIBUTES, Version, VersionState
from backy_core.objects.identity import read_generation, stored_generations
from backy_core.purging import purge_rows, purge_version
from backy_core.reports import ProgressCallback, ReconcileReport, ignore_progress
from backy_core.takeover import Takeover

__all__ = ["reconcile"]


def reconcile(
    engine: Engine,
    session: int,
    *,
    dooms_orphans: bool = False,
    dry_run: bool = False,
    progress: ProgressCallback = ignore_progress,
) -> ReconcileReport:
    """Compare versions, attributes and chunks with the store, and take over what the newer of the two says.

    A database older than the store learns the versions made since, and gives up those removed since, after the store
    has said of each that its manifest is not there; nothing is deleted that way but rows. Then it raises the
    generation above the store's, which lets backups go on and stops whoever still uses the newer database. A database
    that is not older keeps everything; what the store has lost is marked. `dry_run`: only says which versions.
    """
    return _Reconciling(engine, session, dooms_orphans, progress).work(dry_run)


class _Reconciling:
    def __init__(self, engine: Engine, session: int, dooms_orphans: bool, progress: ProgressCallback) -> None:
        self._engine = engine
        self._meta = engine.meta
        self._session = session
        self._progress = progress
        self._take = Takeover(engine, session, progress, dooms_orphans=dooms_orphans)

    def work(self, dry_run: bool) -> ReconcileReport:
        started = time.monotonic()
        meta, take = self._meta, self._take
        newest = max(stored_generations(self._engine.store), default=0)
        older = newest > meta.generation() or meta.is_behind() or self._is_forked()
        known = {version.uid: version for version in meta.versions()}
        uids = set(take.stored.uids())
        unfinished = [version for version in known.values() if not version.state.is_finished]
        gone = [
            version
            for version in known.values()
            # The listing alone is not believed: the store is asked for each that it did not list.
            if version.state.is_finished and version.uid not in uids and not take.stored.has(version.uid)
        ]
        described = [version for version in gone if version.manifest is not None]
        finished = {uid for uid, version in known.items() if version.state.is_finished}
        fresh = sorted(uids - finished)
        if not older:
            fresh = []
            unknown = tuple(sorted(uids - known.keys()))
        else:
            unknown = ()
        if dry_run:
            coming = tuple(manifest.version for manifest in take.manifests(fresh))
            report = take.report(0, time.monotonic() - started, coming)
            return ReconcileReport(
                older,
                meta.generation(),
                report,
                removed=tuple(described) if older else (),
                dropped=tuple(unfinished) if older else (),
                undescribed=() if older else tuple(gone),
                unknown=unknown,
                dry_run=True,
            )
        changed: list[Version] = []
        # From here until all is done nobody else may write, though dropping versions raises the generation.
        meta.set_behind(self._session, older)
        if older:
            # What is unfinished here may have been finished and removed since, and its chunks with it.
            self._drop([*unfinished, *described])
            changed = self._attributes(known, uids)
            take.everything(fresh)
            # Nothing unused is left for a later backup to find: the newer database may have doomed it.
            while meta.doom_chunks(self._session).examined:
                pass
        else:
            complete(self._engine, self._session)
        take.chunks(take.stored.chunks())
        take.pieces()
        missing = take.missing()
        meta.refresh_states(self._session)
        # The store has newer generations than these: their objects would be in the way of another database's.
        passed = [fence.generation for fence in meta.fences() if fence.generation <= newest]
        meta.fences_stored(self._session, passed)
        meta.next_generation(self._session, newest)
        store_fences(meta, self._session, self._engine.store, self._engine.facts)
        if older:
            take.latecomers()
            meta.refresh_states(self._session)
        meta.set_behind(self._session, False)
        return ReconcileReport(
            older,
            meta.generation(),
            take.report(missing, time.monotonic() - started),
            removed=tuple(described) if older else (),
            dropped=tuple(unfinished) if older else (),
            changed_attributes=tuple(changed),
            undescribed=() if older else tuple(gone),
            unknown=unknown,
        )

    def _is_forked(self) -> bool:
        """Whether a generation that this database has begun is another database's in the store: a copy is in use."""
        for fence in self._meta.fences():
            try:
                if read_generation(self._engine.store, fence.generation, self._engine.facts.repository_id) != fence:
                    return True
            except ObjectMissing:
                continue  # begun by a run that was killed before it put it
            except (ObjectCorrupt, ObjectUnreadable):
                return True
        return False

    def _drop(self, versions: Sequence[Version]) -> None:
        """Take these versions out of the database. Those that were protected were unprotected before they went."""
        for version in versions:
            if version.state.is_finished and version.attributes.protected is not None:
                self._meta.set_attributes(self._session, version.uid, NO_ATTRIBUTES)
            if version.state is not VersionState.REMOVING:
                self._meta.remove_version(self._session, version.uid)
        for version in versions:
            # Not through the store: an unfinished version's manifest may be there, finished by the newer database. So
            # may that of a removing one: when its removal has no generation in the store, the newer one kept it.
            self._purge(version)

    def _purge(self, version: Version) -> None:
        if version.state.is_finished:
            purge_version(self._meta, self._engine.store, self._session, version.uid, self._progress)
            return
        purge_rows(self._meta, self._session, version.uid, self._progress)

    def _attributes(self, known: dict[str, Version], uids: set[str]) -> list[Version]:
        """Take over attributes that were changed since."""
        changed: list[Version] = []
        serials = self._take.stored.serials()
        for uid in uids & serials.keys() & known.keys():
            version = known[uid]
            if not version.state.is_finished:
                continue
            newest, serial = self._take.attributes(version, serials[uid])
            if serial and newest.attributes != version.attributes:
                changed.append(newest)
            if serial:
                self._meta.take_attributes(self._session, uid, newest.attributes, max(serials[uid]))
                self._take.superseded(uid, serials[uid], serial)
        return changed
