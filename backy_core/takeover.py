"""Takes versions over from a store into a metadata store: what making a database anew and making it right share."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from itertools import islice

from backy_core.contracts.meta import MOST_TAKEN, MetaStore, NewChunk
from backy_core.engine import Engine
from backy_core.errors import ObjectCorrupt, ObjectMissing, ObjectUnreadable
from backy_core.model import (
    Attributes,
    Chunk,
    Damage,
    Protection,
    Segment,
    Version,
    VersionState,
    attributes_key,
    chunk_key,
    piece_key,
)
from backy_core.numbers import NumberSet
from backy_core.objects.manifest import Manifest, StoredSegment
from backy_core.objects.segment import Entry, newest
from backy_core.reports import Progress, ProgressCallback, RebuildReport
from backy_core.stored import ObjectDamaged, StoredVersions

__all__ = ["Takeover", "in_order", "wanted_chunks"]


class Takeover:
    """One run's work, and what it found.

    `lost`: what keeps a version from being taken over, each with its uid. `doubted`: damaged attributes in whose place
    older ones were taken. `orphans`, `orphan_bytes`: objects of chunks and segments that no version uses, doomed if
    `dooms_orphans`.
    """

    def __init__(
        self, engine: Engine, session: int, progress: ProgressCallback, *, dooms_orphans: bool = False
    ) -> None:
        self.stored = StoredVersions(engine.store, engine.hash, engine.envelope)
        self.lost: list[Damage] = []
        self.doubted: list[Damage] = []
        self.orphans = self.orphan_bytes = 0
        self._engine = engine
        self._meta = engine.meta
        self._session = session
        self._progress = progress
        self._dooms_orphans = dooms_orphans
        self._taken: list[Version] = []
        self._seen = NumberSet()
        self._segments: dict[tuple[int, int], tuple[StoredSegment, ...]] = {}
        self._known: dict[bytes, list[NewChunk]] = {}

    def everything(self, uids: Iterable[str]) -> None:
        """Take over these versions, with their attributes; their chunks have no objects yet."""
        self.versions(self.manifests(uids), self.stored.serials())

    def latecomers(self) -> None:
        """Take over the manifests that were put since: by who had passed its fence before ours was in the store."""
        there = {version.uid for version in self._meta.versions()} | {damage.version_uid for damage in self.lost}
        late = [uid for uid in self.stored.uids() if uid not in there]
        if late:
            self.everything(late)
            self.chunks(self.stored.chunks())

    def manifests(self, uids: Iterable[str]) -> list[Manifest]:
        """The manifests of these versions, in the order in which they are to be taken; lost ones left out."""
        found: list[Manifest] = []
        for uid in uids:
            try:
                found.append(self.stored.manifest(uid))
            except ObjectDamaged as error:
                self.lost.append(replace(error.damage, version_uid=uid))
            self._progress(Progress("manifests", len(found), None))
        return in_order(found)

    def versions(self, manifests: Sequence[Manifest], serials: dict[str, list[int]]) -> None:
        """Take over these versions with their block maps and attributes."""
        self._known = self.stored.pieces() if len(manifests) > 1 else self.stored.pieces(_digests_of(manifests))
        for version in self._meta.versions():
            self._segments[version.lineage, version.birth] = tuple(map(_listed, self._meta.segments(version)))
        rows = 0
        for manifest in manifests:
            try:
                rows = self._version(manifest, serials.get(manifest.version.uid, []), rows)
            except ObjectDamaged as error:
                self.lost.append(replace(error.damage, version_uid=manifest.version.uid))

    def chunks(self, found: Iterable[NewChunk]) -> None:
        """Give the chunks the objects that were found in the store; say what lies there that nobody uses."""
        objects = iter(found)
        count = 0
        while batch := list(islice(objects, MOST_TAKEN)):
            answer = self._meta.take_found(self._session, batch)
            for number in answer.known:
                self._seen.add(number)
            for chunk, other in answer.others:
                self._choose(chunk, other)
            self._orphans(answer.unknown)
            count += len(batch)
            self._progress(Progress("objects", count, None))

    def missing(self) -> int:
        """Mark the chunks bad whose objects were not found and, as the store says when asked, are absent; how many."""
        after = found = 0
        while page := self._meta.chunks(after):
            after = page[-1].id
            absent = [chunk for chunk in page if chunk.id not in self._seen and self._is_absent(chunk)]
            if absent:
                self._meta.mark_bad(self._session, absent)
            found += len(absent)
        return found

    def attributes(self, version: Version, serials: Sequence[int]) -> tuple[Version, int]:
        """The version with the newest attributes that can be read, and their serial, 0 for those of its manifest.

        Where newer ones are damaged it is protected: they may have said so.
        """
        for serial in reversed(serials):
            try:
                found = self.stored.attributes(version.uid, serial)
            except ObjectDamaged as error:
                self.doubted.append(error.damage)
                continue
            return replace(version, attributes=found if serial == serials[-1] else _guarded(found)), serial
        return (replace(version, attributes=_guarded(version.attributes)) if serials else version), 0

    def report(self, missing: int, seconds: float, versions: Sequence[Version] | None = None) -> RebuildReport:
        """What was done; `versions`: what to say instead of those that were taken over."""
        taken = {version.uid for version in self._taken}
        now = [version for version in self._meta.versions() if version.uid in taken]
        return RebuildReport(
            versions=tuple(now if versions is None else versions),
            invalid=tuple(version for version in now if version.state is VersionState.INVALID),
            lost=tuple(self.lost),
            doubted=tuple(self.doubted),
            missing_chunks=missing,
            orphans=self.orphans,
            orphan_bytes=self.orphan_bytes,
            dooms_orphans=self._dooms_orphans,
            read_bytes=self.stored.read_bytes,
            read_objects=self.stored.read_objects,
            duration_seconds=round(seconds, 3),
        )

    def superseded(self, uid: str, serials: Sequence[int], serial: int) -> None:
        """Doom the attributes that others have taken the place of; `serial` is the one in use."""
        old = [attributes_key(uid, number) for number in serials if number not in (serial, serials[-1])]
        if old:
            self._meta.doom_keys(self._session, old)

    def pieces(self) -> None:
        """Say which pieces of segments lie in the store that no version lists."""
        listed = {
            piece.key
            for version in self._meta.versions()
            for segment in self._meta.segments(version)
            for piece in segment.pieces
        }
        for digest, objects in self.stored.pieces().items():
            self._orphans([one for one in objects if piece_key(digest, one.nonce) not in listed], piece_key)

    def _version(self, manifest: Manifest, serials: Sequence[int], rows: int) -> int:
        version, serial = self.attributes(manifest.version, serials)
        segments = [self.stored.located(segment, self._known) for segment in manifest.segments]
        placed = self._meta.place_version(self._session, version)
        entries = self._entries(placed, manifest.segments)
        while batch := list(islice(entries, MOST_TAKEN)):
            self._meta.take_rows(self._session, placed, self._inside(batch))
            rows += len(batch)
            self._progress(Progress("rows", rows, None))
        # Anew: one object of a piece may have been damaged and another one of it whole.
        segments = [_unplaced(self.stored.located(segment, self._known)) for segment in manifest.segments]
        # Objects put later than the newest that can be read must not be put again: their names are taken.
        taken = self._meta.take_version(self._session, placed, segments, max(serials, default=serial))
        self.superseded(version.uid, serials, serial)
        self._taken.append(taken)
        self._segments[taken.lineage, taken.birth] = manifest.segments
        return rows

    def _inside(self, batch: list[Entry]) -> list[Entry]:
        size = self._engine.hash.digest_size
        if any(digest is not None and len(digest) != size for _, digest in batch):
            raise ObjectCorrupt("a segment has digests of another hash")
        return batch

    def _entries(self, placed: Version, segments: tuple[StoredSegment, ...]) -> Iterator[Entry]:
        """What the version holds and the one before its place may not: the segments that only one of them lists."""
        before = [birth for lineage, birth in self._segments if lineage == placed.lineage and birth < placed.birth]
        place = (placed.lineage, max(before)) if before else placed.parent
        known = self._segments.get(place, ()) if place is not None else ()
        same = 0
        while same < min(len(known), len(segments)) and known[same].pieces == segments[same].pieces:
            same += 1
        if same < len(known):
            # Merging goes from the end, so the new ones say all that an ancestor's do. But two databases may have used
            # one lineage, and what is before this place is no ancestor then.
            foreign = self._said_only_by(known[same:], segments[same:])
            if foreign is None or foreign:
                holes: Iterator[Entry] = ((index, None) for index in foreign or self._held(placed, place))
                return newest([holes, self.stored.entries(segments, self._known)])
        return self.stored.entries(segments[same:], self._known)

    def _said_only_by(self, these: Sequence[StoredSegment], those: Sequence[StoredSegment]) -> array[int] | None:
        """The indexes that only the first name, ascending; None when they cannot be read."""
        found = array("q")
        others = self.stored.entries(those, self._known)
        other = next(others, None)
        mine = self.stored.entries(these, self._known)
        while True:
            try:
                entry = next(mine, None)
            except ObjectDamaged:
                return None
            if entry is None:
                return found
            while other is not None and other[0] < entry[0]:
                other = next(others, None)
            if other is None or other[0] != entry[0]:
                found.append(entry[0])

    def _held(self, placed: Version, place: tuple[int, int] | None) -> Iterator[int]:
        """The indexes that the version at this place, the one before `placed`, has rows for."""
        for version in self._meta.versions():
            if (version.lineage, version.birth) == place:
                return (index for index, _ in self._meta.entries(version, None))
        return iter(range(placed.block_count))

    def _choose(self, chunk: Chunk, other: NewChunk) -> None:
        """Two objects of one digest: the one that reads back whole is the chunk's, the other belongs to nobody."""
        if not self._is_whole(chunk.digest, chunk.nonce) and self._is_whole(other.digest, other.nonce):
            self._meta.move_chunk(self._session, other)
            self._seen.add(chunk.id)
        else:
            self._orphans([other])

    def _is_whole(self, digest: bytes, nonce: bytes) -> bool:
        key = chunk_key(digest, nonce)
        try:
            content = self._engine.envelope.unwrap(key, self._engine.store.get(key), self._engine.facts.block_size)
        except (ObjectMissing, ObjectCorrupt, ObjectUnreadable):
            return False
        return self._engine.hash.digest(content) == digest

    def _is_absent(self, chunk: Chunk) -> bool:
        if not chunk.stored_size:
            return True
        try:
            self._engine.store.size(chunk.key)
        except ObjectMissing:
            return True
        return False

    def _orphans(self, unknown: Sequence[NewChunk], key_of: Callable[[bytes, bytes], str] = chunk_key) -> None:
        if not unknown:
            return
        if self._dooms_orphans:
            keys = [key_of(one.digest, one.nonce) for one in unknown]
            self.orphans += self._meta.doom_orphans(self._session, keys)
        else:
            self.orphans += len(unknown)
        self.orphan_bytes += sum(one.stored_size for one in unknown)


def _guarded(attributes: Attributes) -> Attributes:
    if attributes.protected is not None and attributes.protected.until is None:
        return attributes
    return replace(attributes, protected=Protection("its newest attributes in the store are damaged", "backy"))


def _listed(segment: Segment) -> StoredSegment:
    pieces = tuple((piece.digest, piece.first) for piece in segment.pieces)
    return StoredSegment(segment.lineage, segment.since, segment.entries, pieces)


def _unplaced(segment: Segment) -> Segment:
    """The segment as one of which nobody knows where its rows lie.

    What a version inherits anyway it has no row for, whichever segment says it: so the rows that were born since are
    not what the segment holds, and a backup must not merge it as if they were.
    """
    return replace(segment, lineage=0, since=0)


def in_order(manifests: Iterable[Manifest]) -> list[Manifest]:
    """The manifests oldest first, but each after those before it in its lineage and in those it descends from."""
    by_lineage: dict[int, list[Manifest]] = {}
    for manifest in sorted(manifests, key=lambda one: (one.version.birth, one.version.uid)):
        by_lineage.setdefault(manifest.version.lineage, []).append(manifest)
    waiting: dict[int, list[int]] = {}
    ready: list[tuple[object, int]] = []

    def offer(lineage: int) -> None:
        rest = by_lineage[lineage]
        if rest:
            heappush(ready, ((rest[0].version.created, rest[0].version.uid), lineage))

    for lineage, members in by_lineage.items():
        parent = members[0].version.parent
        if parent is not None and parent[0] != lineage and _has_below(by_lineage, parent):
            waiting.setdefault(parent[0], []).append(lineage)
        else:
            offer(lineage)
    ordered: list[Manifest] = []
    while ready or any(waiting.values()):
        if not ready:  # lineages that descend from one another in a ring: no database wrote that
            lineage = next(iter(waiting))
            for child in waiting.pop(lineage):
                offer(child)
            continue
        _, lineage = heappop(ready)
        done = by_lineage[lineage].pop(0)
        ordered.append(done)
        offer(lineage)
        left = by_lineage[lineage][0].version.birth if by_lineage[lineage] else None
        for child in list(waiting.get(lineage, ())):
            parent = by_lineage[child][0].version.parent
            if left is None or parent is None or left > parent[1]:
                waiting[lineage].remove(child)
                offer(child)
    return ordered


def _has_below(by_lineage: dict[int, list[Manifest]], parent: tuple[int, int]) -> bool:
    members = by_lineage.get(parent[0], ())
    return any(member.version.birth <= parent[1] for member in members)


def _digests_of(manifests: Sequence[Manifest]) -> list[bytes]:
    return [digest for manifest in manifests for segment in manifest.segments for digest, _ in segment.pieces]


def wanted_chunks(meta: MetaStore, stored: StoredVersions, one_by_one: int = 500) -> Iterator[NewChunk]:
    """The objects in the store of the chunks that are known: asked for singly where these are few."""
    chunks = meta.chunks(0, one_by_one + 1)
    if len(chunks) > one_by_one:
        yield from stored.chunks()
        return
    for chunk in chunks:
        name = chunk.digest.hex()
        yield from stored.chunks(f"c/{name[:2]}/{name}-")
