"""Purges a version that is being removed: `rm` begins that, `cleanup` ends what was interrupted."""

from __future__ import annotations

from backy_core.contracts.meta import MetaStore
from backy_core.contracts.store import Store
from backy_core.reports import Progress, ProgressCallback

__all__ = ["purge_rows", "purge_version"]


def purge_version(meta: MetaStore, store: Store, session: int, uid: str, progress: ProgressCallback) -> bool:
    """Take a `removing` version out of the store, then out of the map; False when either has to wait.

    As long as its manifest is there, a database made anew would show the version: so its rows stay until it is gone.
    """
    if store.delete(meta.keys_of(uid)):
        return False
    return purge_rows(meta, session, uid, progress)


def purge_rows(meta: MetaStore, session: int, uid: str, progress: ProgressCallback) -> bool:
    """Purge the rows of a `removing` version; False when that has to wait for a backup that is being written."""
    rows = 0
    while True:
        step = meta.purge(session, uid)
        rows += step.rows
        progress(Progress("purge", rows, None))
        if step.done:
            return True
        if step.deferred:
            return False
