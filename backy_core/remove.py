"""Removes versions: gives up their block maps and queues the chunks that nobody may need any more."""

from __future__ import annotations

from collections.abc import Sequence

from backy_core.contracts.meta import MetaStore
from backy_core.model import Version
from backy_core.purging import purge_rows
from backy_core.reports import ProgressCallback, RemoveReport, ignore_progress

__all__ = ["remove"]


def remove(
    meta: MetaStore,
    session: int,
    versions: Sequence[Version],
    *,
    progress: ProgressCallback = ignore_progress,
) -> RemoveReport:
    """Remove the versions for good, in this order; their space comes back with `cleanup`.

    Raises `VersionBusy` at the first that is in use: those before it are removed, those after it untouched.
    """
    removed = [meta.remove_version(session, version.uid) for version in versions]
    deferred = [version.uid for version in removed if not purge_rows(meta, session, version.uid, progress)]
    return RemoveReport(tuple(removed), tuple(deferred))
