"""What each use case tells its caller: progress while it runs, a report when it is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from backy_core.model import BackupStatistics, Damage, Extent, Version

__all__ = [
    "BackupReport",
    "CleanupReport",
    "Progress",
    "ProgressCallback",
    "RemoveReport",
    "RestoreReport",
    "ScrubReport",
    "VersionDetails",
    "ignore_progress",
]


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of long work. `phase`: `read`, `restore`, `scrub`, `purge`, `doom`, `delete`.

    `done` and `total` count bytes of the volume (read, restore, scrub), map rows (purge), chunks (doom) or objects
    (delete); `total` is None when it is not known. `stored_bytes`: what has gone to, or come from, the store so far.
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

    `damage` describes the first ten thousand of the `damaged_chunks`, once for each version that uses them.
    """

    versions: tuple[Version, ...]
    chunks: int
    read_bytes: int
    stored_bytes: int
    damage: tuple[Damage, ...] = ()
    damaged_chunks: int = 0
    invalidated: tuple[Version, ...] = ()
    revalidated: tuple[Version, ...] = ()
    duration_seconds: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoveReport:
    """Versions removed; `deferred`: uids whose rows wait until a running backup is done (cleanup takes them up)."""

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
