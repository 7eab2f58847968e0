"""Removes versions: their description in the store first, then their block maps; queues chunks that nobody may need."""

from __future__ import annotations

from collections.abc import Sequence

from backy_core.commit import store_fences
from backy_core.engine import Engine
from backy_core.model import Version
from backy_core.purging import purge_version
from backy_core.reports import ProgressCallback, RemoveReport, ignore_progress

__all__ = ["remove"]


def remove(
    engine: Engine,
    session: int,
    versions: Sequence[Version],
    *,
    progress: ProgressCallback = ignore_progress,
) -> RemoveReport:
    """Remove the versions for good, in this order; their space comes back with `cleanup`.

    Raises `VersionBusy` or `Guarded` at the first that is in use or protected: those before it are removed, those after
    it untouched.
    """
    removed = [engine.meta.remove_version(session, version.uid) for version in versions]
    store_fences(engine.meta, session, engine.store, engine.facts)
    deferred = [
        version.uid
        for version in removed
        if not purge_version(engine.meta, engine.store, session, version.uid, progress)
    ]
    return RemoveReport(tuple(removed), tuple(deferred))
