"""Cleans up: reclaims the space of chunks that no version uses, beside running backups, killable at any point.

Chunks are doomed first, in the current generation. Their objects are deleted only after the next generation's object
is in the store: a database restored from before the dooming then has an older generation than the store, and is refused
before it can refer to what was deleted.
"""

from __future__ import annotations

from backy_core.commit import store_fences
from backy_core.engine import Engine
from backy_core.model import VersionState
from backy_core.objects.identity import generation_key, stored_generations
from backy_core.purging import purge_version
from backy_core.reports import CleanupReport, Progress, ProgressCallback, ignore_progress

__all__ = ["cleanup"]

_KEYS_AT_ONCE = 500


def cleanup(engine: Engine, session: int, *, progress: ProgressCallback = ignore_progress) -> CleanupReport:
    """Finish interrupted removals, doom what nobody uses, and delete what is doomed.

    Works on a full store and with a full database disk: both keep a reserve for it. Objects that the store will not
    delete stay doomed and are reported.
    """
    meta = engine.meta
    purged: list[str] = []
    deferred: list[str] = []
    for version in meta.versions():
        if version.state is VersionState.REMOVING:
            done = purge_version(meta, engine.store, session, version.uid, progress)
            (purged if done else deferred).append(version.uid)
    chunks = freed = 0
    while (step := meta.doom_chunks(session)).examined:
        chunks += step.doomed
        freed += step.stored_bytes
        progress(Progress("doom", chunks, None))
    generation = meta.generation()
    if not meta.doomed_keys(generation + 1, 1):
        return CleanupReport(tuple(purged), 0, 0, 0, generation, tuple(deferred))
    older = [generation_key(number) for number in stored_generations(engine.store) if number < generation]
    if older:
        meta.doom_keys(session, older)
    generation = meta.next_generation(session)
    store_fences(meta, session, engine.store, engine.facts)
    deleted, kept = _delete(engine, session, generation, progress)
    return CleanupReport(tuple(purged), chunks, deleted, freed, generation, tuple(deferred), tuple(kept))


def _delete(engine: Engine, session: int, generation: int, progress: ProgressCallback) -> tuple[int, list[str]]:
    """Delete every key doomed before this generation; how many were deleted, and which the store kept."""
    deleted = 0
    kept: list[str] = []
    while True:
        # The kept ones come first again, so asking for as many more gets past them.
        doomed = engine.meta.doomed_keys(generation, _KEYS_AT_ONCE + len(kept))
        known = set(kept)
        keys = [key for key in doomed if key not in known]
        if not keys:
            return deleted, kept
        failed = {failure.key for failure in engine.store.delete(keys)}
        gone = [key for key in keys if key not in failed]
        engine.meta.forget_doomed(session, gone)
        deleted += len(gone)
        kept.extend(sorted(failed))
        progress(Progress("delete", deleted, None))
