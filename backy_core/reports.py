"""What each use case tells its caller: progress while it runs, a report when it is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from backy_core.model import BackupStatistics, Damage, Extent, Version

__all__ = [
    "BackupReport",
    "CheckReport",
    "CleanupReport",
    "CopyReport",
    "ImportReport",
    "Progress",
    "ProgressCallback",
    "RebuildReport",
    "ReconcileReport",
    "RemoveReport",
    "RestoreReport",
    "ScrubReport",
    "VersionDetails",
    "ignore_progress",
]


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of long work. `phase`: `read`, `restore`, `scrub`, `purge`, `doom`, `delete`, `manifests`, `rows`,
    `objects`, `compare`, `export`, `import`.

    `done` and `total` count bytes of the volume (read, restore, scrub), map rows (purge, rows), chunks (doom), versions
    (compare, export, import) or objects (delete, manifests, objects); `total` is None when it is not known.
    `stored_bytes`: what has gone to, or come from, the store so far.
    """

    phase: str
    done: int
    total: int | None
    stored_bytes: int = 0


ProgressCallback: TypeAlias = Callable[[Progress], None]
"""Called from the thread that runs the use case, at most some twenty times a second, and once at the end of a phase."""


def ignore_progress(_: Progress) -> None:
    """The callback of a caller who does not look."""


@dataclass(frozen=True, slots=True)
class BackupReport:
    """A finished backup. `warnings`: one line each, for the operator's eyes (a continued run, healed chunks, ...)."""

    version: Version
    statistics: BackupStatistics
    store: str
    continued: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """A finished restore. With damage all good blocks were written, and the damaged extents read as zeros.

    `damaged_extents` is complete; `damage` describes the first ten thousand of the `damaged_chunks`.
    """

    version: Version
    target: str
    written_bytes: int
    hole_bytes: int
    damage: tuple[Damage, ...] = ()
    damaged_extents: tuple[Extent, ...] = ()
    damaged_chunks: int = 0
    duration_seconds: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScrubReport:
    """What a scrub read and found. `invalidated`, `revalidated`: versions whose state it changed.

    `damage` describes the first ten thousand of the `damaged_chunks`, once for each version that uses them, and all of
    the `damaged_descriptions`: manifests, attributes, segments, key slots, generations. A version that is described
    badly stays valid as long as the database knows what is in it.
    """

    versions: tuple[Version, ...]
    chunks: int
    read_bytes: int
    stored_bytes: int
    damage: tuple[Damage, ...] = ()
    damaged_chunks: int = 0
    damaged_descriptions: int = 0
    invalidated: tuple[Version, ...] = ()
    revalidated: tuple[Version, ...] = ()
    duration_seconds: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoveReport:
    """Versions removed; `deferred`: uids of which something is left for `cleanup`.

    Because the store did not delete its manifest, or because a running backup is in the way.
    """

    removed: tuple[Version, ...]
    deferred: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """What a cleanup reclaimed. `kept_keys`: doomed objects that the store did not delete; the next run tries again."""

    purged_versions: tuple[str, ...]
    doomed_chunks: int
    deleted_objects: int
    freed_bytes: int
    generation: int
    deferred: tuple[str, ...] = ()
    kept_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VersionDetails:
    """What `show` tells about one version. `damage` lists the byte ranges whose chunks are marked bad."""

    version: Version
    data_blocks: int
    hole_blocks: int
    stored_bytes: int
    damaged_extents: tuple[Extent, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What was taken over from a store.

    `lost`: damage that keeps versions from being taken over, one finding for each. `doubted`: damaged attributes in
    whose place older ones were taken. `missing_chunks` have no object: the `invalid` versions use them. `orphans` are
    objects of chunks that no version uses; `dooms_orphans`: the next cleanup deletes them. `read_bytes` and
    `read_objects`: of manifests, attributes and segments.
    """

    versions: tuple[Version, ...]
    invalid: tuple[Version, ...] = ()
    lost: tuple[Damage, ...] = ()
    doubted: tuple[Damage, ...] = ()
    missing_chunks: int = 0
    orphans: int = 0
    orphan_bytes: int = 0
    dooms_orphans: bool = False
    read_bytes: int = 0
    read_objects: int = 0
    duration_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """How a database and its store were made to agree.

    `older`: the database was older than the store. Then `removed` are the versions that it had and the store has no
    more, and `dropped` the unfinished ones; otherwise `undescribed` are finished versions that the store says nothing
    of any more, and `unknown` uids that only the store has, which were left alone. `store`: what was taken over.
    """

    older: bool
    generation: int
    store: RebuildReport
    removed: tuple[Version, ...] = ()
    dropped: tuple[Version, ...] = ()
    changed_attributes: tuple[Version, ...] = ()
    undescribed: tuple[Version, ...] = ()
    unknown: tuple[str, ...] = ()
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class CheckReport:
    """A database compared with what its store says. `differences`: one line each; none when they are equal."""

    versions: int
    differences: tuple[str, ...]
    store: RebuildReport
    duration_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CopyReport:
    """Versions copied to another repository. `copied`: pairs of a version and its copy; `there`: copied before."""

    copied: tuple[tuple[Version, BackupReport], ...]
    there: tuple[Version, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Versions made from an export. `there`: uids in it that the database has, or that were imported before."""

    imported: tuple[Version, ...]
    there: tuple[str, ...] = ()
