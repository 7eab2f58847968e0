"""Reads what a store says about versions: manifests, attributes, block maps. No database is needed for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from backy_core.contracts.hash import Hash
from backy_core.contracts.meta import NewChunk
from backy_core.contracts.store import Store
from backy_core.errors import ObjectCorrupt, ObjectMissing, ObjectUnreadable
from backy_core.model import (
    NONCE_LENGTH,
    Attributes,
    Damage,
    DamageKind,
    Segment,
    SegmentPiece,
    attributes_key,
    manifest_key,
    piece_key,
)
from backy_core.objects.envelope import Envelope
from backy_core.objects.manifest import (
    ATTRIBUTES_LIMIT,
    MANIFEST_LIMIT,
    Manifest,
    StoredSegment,
    read_attributes,
    read_manifest,
)
from backy_core.objects.segment import PIECE_LIMIT, Entry, entries_of, newest

__all__ = ["ObjectDamaged", "StoredVersions", "examined"]

_NAME = re.compile(rf"(?:c/[0-9a-f]{{2}}|m)/([0-9a-f]+)-([0-9a-f]{{{2 * NONCE_LENGTH}}})")
_UID = re.compile(r"v/([0-9a-f]{16})")
_SERIAL = re.compile(r"a/([0-9a-f]{16})\.([1-9][0-9]{0,17})")


class ObjectDamaged(ObjectCorrupt):
    """An object that describes a version is not what its name says, or is not there; `damage` says which and how."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(f"{damage.key} {damage.reason}")
        self.damage = damage


def examined(key: str, look: Callable[[], bytes]) -> bytes:
    """What `look` returns; when it finds the object damaged, twice, raises `ObjectDamaged`."""
    try:
        return look()
    except (ObjectMissing, ObjectCorrupt, ObjectUnreadable):
        pass  # a read can go wrong on its way here
    try:
        return look()
    except ObjectMissing as error:
        raise ObjectDamaged(Damage(DamageKind.MISSING, key, "is not in the store")) from error
    except ObjectCorrupt as error:
        raise ObjectDamaged(Damage(DamageKind.CORRUPT, key, str(error))) from error
    except ObjectUnreadable as error:
        raise ObjectDamaged(Damage(DamageKind.UNREADABLE, key, str(error))) from error


class StoredVersions:
    """The versions that one store describes. Raises `ObjectDamaged` where it cannot be read, or not believed."""

    def __init__(self, store: Store, hash_: Hash, envelope: Envelope) -> None:
        self._store = store
        self._hash = hash_
        self._envelope = envelope
        self.read_bytes = 0
        """Bytes of manifests, attributes and segments read so far."""
        self.read_objects = 0

    def uids(self) -> list[str]:
        """The versions that have a manifest, in no order."""
        return [found[1] for info in self._store.list("v/") if (found := _UID.fullmatch(info.key))]

    def has(self, uid: str) -> bool:
        """Whether the store is sure to have, or not to have, this manifest: it is asked for that one object."""
        try:
            self._store.size(manifest_key(uid))
        except ObjectMissing:
            return False
        return True

    def manifest(self, uid: str) -> Manifest:
        """The manifest of a version."""
        key = manifest_key(uid)
        content = self._content(key, MANIFEST_LIMIT)
        try:
            return read_manifest(content, uid, self._hash.digest(content))
        except ObjectCorrupt as error:
            raise ObjectDamaged(Damage(DamageKind.CORRUPT, key, str(error), uid)) from error

    def serials(self) -> dict[str, list[int]]:
        """The serials of the attributes of each version that has such objects, ascending."""
        found: dict[str, list[int]] = {}
        for info in self._store.list("a/"):
            if name := _SERIAL.fullmatch(info.key):
                found.setdefault(name[1], []).append(int(name[2]))
        return {uid: sorted(serials) for uid, serials in found.items()}

    def attributes(self, uid: str, serial: int) -> Attributes:
        """The attributes of that serial."""
        key = attributes_key(uid, serial)
        content = self._content(key, ATTRIBUTES_LIMIT)
        try:
            return read_attributes(content, uid, serial)
        except ObjectCorrupt as error:
            raise ObjectDamaged(Damage(DamageKind.CORRUPT, key, str(error), uid)) from error

    def pieces(self, digests: Sequence[bytes] | None = None) -> dict[bytes, list[NewChunk]]:
        """The objects that pieces of segments lie in, by digest: of these digests, or all.

        Asked for a few, the store lists only what begins with them.
        """
        found: dict[bytes, list[NewChunk]] = {}
        prefixes = ["m/"] if digests is None else [f"m/{digest.hex()}-" for digest in digests]
        for prefix in prefixes:
            for info in self._store.list(prefix):
                if name := named(info.key, info.size):
                    found.setdefault(name.digest, []).append(name)
        return found

    def chunks(self, prefix: str = "c/") -> Iterator[NewChunk]:
        """The objects of chunks whose keys begin so; names that cannot be a chunk's are passed over."""
        for info in self._store.list(prefix):
            if found := named(info.key, info.size):
                yield found

    def located(self, segment: StoredSegment, known: dict[bytes, list[NewChunk]]) -> Segment:
        """The segment with the objects of its pieces, the first there is of each."""
        pieces = []
        for digest, first in segment.pieces:
            if not known.get(digest):
                raise ObjectDamaged(Damage(DamageKind.MISSING, f"m/{digest.hex()}", "is not in the store"))
            found = known[digest][0]
            pieces.append(SegmentPiece(digest, found.nonce, found.stored_size, first))
        return Segment(segment.lineage, segment.since, segment.entries, tuple(pieces))

    def entries(self, segments: Sequence[StoredSegment], known: dict[bytes, list[NewChunk]]) -> Iterator[Entry]:
        """What these segments (oldest first) say together: ascending, the newest word for each index.

        Holds one piece of each segment in memory at a time. A piece whose first object is damaged is read from
        another of the same digest, which then comes first in `known`.
        """
        return newest([self._of_segment(segment, known) for segment in segments])

    def piece(self, digest: bytes, nonce: bytes) -> bytes:
        """The content of one piece, its digest checked."""
        key = piece_key(digest, nonce)
        content = self._content(key, PIECE_LIMIT)
        if self._hash.digest(content) != digest:
            raise ObjectDamaged(Damage(DamageKind.CORRUPT, key, "does not have the digest in its name"))
        return content

    def _of_segment(self, segment: StoredSegment, known: dict[bytes, list[NewChunk]]) -> Iterator[Entry]:
        left, below = segment.entries, -1
        for digest, first in segment.pieces:
            content = self._any_piece(digest, known)
            key = f"m/{digest.hex()}"
            started = False
            entries = entries_of(content, self._hash.digest_size, left)
            while True:
                try:
                    entry = next(entries, None)
                except ObjectCorrupt as error:
                    raise ObjectDamaged(Damage(DamageKind.CORRUPT, key, str(error))) from error
                if entry is None:
                    break
                if entry[0] <= below or (not started and entry[0] != first):
                    raise ObjectDamaged(Damage(DamageKind.CORRUPT, key, "is not the piece that its manifest means"))
                started, below = True, entry[0]
                left -= 1
                yield entry
        if left:
            key = f"m/{segment.pieces[-1][0].hex()}" if segment.pieces else "m/"
            raise ObjectDamaged(Damage(DamageKind.CORRUPT, key, f"lacks {left} entries that its manifest counts"))

    def _any_piece(self, digest: bytes, known: dict[bytes, list[NewChunk]]) -> bytes:
        objects = known.get(digest, [])
        worst: ObjectDamaged | None = None
        for place, found in enumerate(objects):
            try:
                content = self.piece(digest, found.nonce)
            except ObjectDamaged as error:
                worst = worst or error
                continue
            objects.insert(0, objects.pop(place))
            return content
        raise worst or ObjectDamaged(Damage(DamageKind.MISSING, f"m/{digest.hex()}", "is not in the store"))

    def _content(self, key: str, limit: int) -> bytes:
        return examined(key, partial(self._look, key, limit))

    def _look(self, key: str, limit: int) -> bytes:
        data = self._store.get(key)
        self.read_bytes += len(data)
        self.read_objects += 1
        return self._envelope.unwrap(key, data, limit)


def named(key: str, size: int) -> NewChunk | None:
    """The digest and nonce in the key of a chunk or piece, None for any other key."""
    found = _NAME.fullmatch(key)
    if found is None or len(found[1]) % 2:
        return None
    return NewChunk(bytes.fromhex(found[1]), bytes.fromhex(found[2]), size)
