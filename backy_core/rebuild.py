"""Makes a database anew from what the store says, when the old one is lost."""

from __future__ import annotations

import time
from contextlib import suppress

from backy_core.commit import store_fences
from backy_core.engine import Engine
from backy_core.errors import RepositoryError
from backy_core.objects.identity import stored_generations
from backy_core.reports import ProgressCallback, RebuildReport, ignore_progress
from backy_core.takeover import Takeover

__all__ = ["rebuild"]


def rebuild(
    engine: Engine,
    session: int,
    *,
    dooms_orphans: bool = False,
    scratch: bool = False,
    progress: ProgressCallback = ignore_progress,
) -> RebuildReport:
    """Take over everything from the store into the engine's metadata store, which has no repository recorded yet.

    Recording it is the last step: one that was killed is no repository, and the next run goes on where it stopped.
    Then it raises the generation, so that a copy of the old database is used no more. `scratch`: it does not, for a
    database that is only looked at. Versions whose description is damaged are listed and left out.
    """
    started = time.monotonic()
    meta, store = engine.meta, engine.store
    take = Takeover(engine, session, progress, dooms_orphans=dooms_orphans)
    there = {version.uid for version in meta.versions()}
    take.everything(uid for uid in take.stored.uids() if uid not in there)
    take.chunks(take.stored.chunks())
    take.pieces()
    missing = take.missing()
    meta.refresh_states(session)
    with suppress(RepositoryError):  # a run that was killed after this has recorded it
        meta.initialise(engine.facts)
    if not scratch:
        meta.next_generation(session, max(stored_generations(store), default=0))
        store_fences(meta, session, store, engine.facts)
        take.latecomers()
        meta.refresh_states(session)
    return take.report(missing, time.monotonic() - started)
