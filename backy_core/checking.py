"""Compares two databases of one repository: the living one, and one made anew from the store. They must be equal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import islice

from backy_core.contracts.meta import MOST_VIEWED, MetaStore
from backy_core.model import Version
from backy_core.objects.segment import Entry
from backy_core.reports import Progress, ProgressCallback

__all__ = ["differences"]

_FACTS = (
    "volume",
    "size",
    "block_size",
    "created",
    "finished",
    "source",
    "identity",
    "base_uid",
    "statistics",
    "manifest",
    "attributes",
)
"""What must be equal of a version. Not its place: one whose place is taken gets some other in each database. Nor its
state, which is not the store's to say: that comes from what reading it back found."""


def differences(
    ours: MetaStore,
    anew: MetaStore,
    moving: Collection[str],
    size_of: Callable[[str], int | None],
    progress: ProgressCallback,
) -> Iterator[str]:
    """Every way in which `anew`, made from the store, differs from `ours`; one line each.

    `moving`: uids of versions that came, went or changed meanwhile and are left out. `size_of`: how many bytes the
    object with this key has in the store, None when it is not there.

    Compared are the facts and attributes of every finished version, what each holds at every block, and where each
    chunk's object lies. Not compared are row numbers, what is unfinished or being removed, and damage that was found.
    """
    facts = ours.facts()
    if facts != anew.facts():
        yield f"the store's config says {anew.facts()}, the database {facts}"
    finished = {v.uid: v for v in ours.versions() if v.state.is_finished and v.uid not in moving}
    known = {version.uid for version in ours.versions()}
    # One that is not finished here may have its manifest there already: it is being finished, or removed.
    stored = {v.uid: v for v in anew.versions() if v.uid not in moving and (v.uid in finished or v.uid not in known)}
    for uid, version in finished.items():
        if uid not in stored:
            yield f"{_named(version)} is not described in the store"
    for uid, version in stored.items():
        if uid not in finished:
            yield f"{_named(version)} is in the store and not in the database"
    before: dict[int, Version] = {}
    done = 0
    for uid, version in finished.items():
        other = stored.get(uid)
        if other is None:
            continue
        for name in _FACTS:
            if getattr(version, name) != getattr(other, name):
                yield f"{_named(version)}: {name} is {getattr(version, name)!r}, in the store {getattr(other, name)!r}"
        since = None
        if (version.lineage, version.birth) == (other.lineage, other.birth):
            # What both inherit alike from the version before needs no second look.
            if predecessor := before.get(version.lineage):
                since = (predecessor.lineage, predecessor.birth)
            before[version.lineage] = version
        for index in _differing(ours, version, anew, other, since):
            yield f"{_named(version)}: block {index} differs between the database and the store"
        done += 1
        progress(Progress("compare", done, len(finished)))
    yield from _chunks(ours, anew, moving, size_of)


def _named(version: Version) -> str:
    return f"{version.volume} {version.uid}"


def _differing(
    ours: MetaStore, version: Version, anew: MetaStore, other: Version, since: tuple[int, int] | None
) -> Iterator[int]:
    left, right = ours.entries(version, since), anew.entries(other, since)
    only_left: list[Entry] = []
    only_right: list[Entry] = []
    for index, mine, theirs in _joined(left, right, version.block_count):
        if isinstance(mine, tuple) and isinstance(theirs, tuple):
            if mine != theirs:
                yield index
        elif isinstance(mine, tuple):
            only_left.append((index, mine[0]))
        elif isinstance(theirs, tuple):
            only_right.append((index, theirs[0]))
        if len(only_left) >= MOST_VIEWED:
            yield from _unlike(anew, other, only_left)
            only_left = []
        if len(only_right) >= MOST_VIEWED:
            yield from _unlike(ours, version, only_right)
            only_right = []
    yield from _unlike(anew, other, only_left)
    yield from _unlike(ours, version, only_right)


def _unlike(meta: MetaStore, version: Version, entries: list[Entry]) -> Iterator[int]:
    """The indexes at which the version holds something else than these entries say."""
    if not entries:
        return
    view = meta.view(version, [index for index, _ in entries])
    for index, digest in entries:
        block = view.get(index)
        held = block.chunk.digest if block is not None and block.chunk is not None else None
        if held != digest:
            yield index


def _joined(
    left: Iterator[Entry], right: Iterator[Entry], end: int
) -> Iterator[tuple[int, tuple[bytes | None] | None, tuple[bytes | None] | None]]:
    mine, theirs = next(left, None), next(right, None)
    while mine is not None or theirs is not None:
        index = min(entry[0] for entry in (mine, theirs) if entry is not None)
        if index >= end:
            return
        here = mine is not None and mine[0] == index
        there = theirs is not None and theirs[0] == index
        yield (
            index,
            (mine[1],) if here and mine is not None else None,
            (theirs[1],) if there and theirs is not None else None,
        )
        if here:
            mine = next(left, None)
        if there:
            theirs = next(right, None)


def _chunks(
    ours: MetaStore, anew: MetaStore, moving: Collection[str], size_of: Callable[[str], int | None]
) -> Iterator[str]:
    doubtful: dict[bytes, str] = {}
    after = 0
    while page := anew.chunks(after):
        after = page[-1].id
        known = ours.find_chunks([chunk.digest for chunk in page])
        for chunk in page:
            mine = known.get(chunk.digest)
            if not chunk.stored_size:
                doubtful[chunk.digest] = f"the object of chunk {chunk.digest.hex()} is not in the store"
            elif mine is None:
                doubtful[chunk.digest] = f"chunk {chunk.digest.hex()} is in no row of the database"
            elif (mine.nonce, mine.stored_size) == (chunk.nonce, chunk.stored_size):
                continue
            elif size_of(mine.key) != mine.stored_size:  # else there are two, a doomed one among them perhaps
                yield f"{mine.key} ({mine.stored_size} bytes) is {chunk.key} ({chunk.stored_size} bytes) in the store"
    if doubtful and moving:
        # A cleanup may have taken away what only versions that went meanwhile had.
        staying = [version for version in anew.versions() if version.uid not in moving]
        used = {digest for version in staying for _, digest in anew.entries(version, None)}
        doubtful = {digest: line for digest, line in doubtful.items() if digest in used}
    yield from doubtful.values()


def first(lines: Iterator[str], most: int) -> tuple[str, ...]:
    """The first lines, and one more that says that there are others."""
    found = tuple(islice(lines, most + 1))
    return (*found[:most], f"and more than {most} in all") if len(found) > most else found
