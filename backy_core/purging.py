"""Purges the rows of a version that is being removed: `rm` begins that, `cleanup` ends what was interrupted."""

from __future__ import annotations

from backy_core.contracts.meta import MetaStore
from backy_core.reports import Progress, ProgressCallback

__all__ = ["purge_rows"]


def purge_rows(meta: MetaStore, session: int, uid: str, progress: ProgressCallback) -> bool:
    """Purge a `removing` version; False when that has to wait for a backup that is being written."""
    rows = 0
    while True:
        step = meta.purge(session, uid)
        rows += step.rows
        progress(Progress("purge", rows, None))
        if step.done:
            return True
        if step.deferred:
            return False
