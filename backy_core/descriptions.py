"""Reads back what the store says about versions: with all of it whole, the database could be made anew today."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from backy_core.engine import Engine
from backy_core.errors import ObjectCorrupt
from backy_core.model import Damage, DamageKind, Segment, SegmentPiece, Version, manifest_key
from backy_core.objects.identity import generation_key, read_generation, stored_generations
from backy_core.objects.texts import TEXT_OBJECT_LIMIT, decode_text
from backy_core.stored import ObjectDamaged, StoredVersions, examined

__all__ = ["Descriptions"]


class Descriptions:
    """Examines descriptions in one session; each object once."""

    def __init__(self, engine: Engine, session: int) -> None:
        self._engine = engine
        self._session = session
        self._stored = StoredVersions(engine.store, engine.hash, engine.envelope)
        self._pieces: dict[str, Damage | None] = {}

    @property
    def read_bytes(self) -> int:
        """Bytes read from the store so far."""
        return self._stored.read_bytes

    def of_version(self, version: Version) -> Iterator[Damage]:
        """What is wrong with the manifest, the attributes and the segments of a pinned version.

        A segment with a damaged piece is marked, so that the next backup of the volume does not build on it.
        """
        if version.manifest is None:
            return  # made by a backy that wrote none, or taken over from an export
        try:
            if self._stored.manifest(version.uid).version.manifest != version.manifest:
                reason = "is not the manifest that the database knows: another database wrote it"
                yield Damage(DamageKind.CORRUPT, manifest_key(version.uid), reason, version.uid)
        except ObjectDamaged as error:
            yield replace(error.damage, version_uid=version.uid)
        yield from self._attributes(version)
        for segment in self._engine.meta.segments(version):
            yield from (replace(damage, version_uid=version.uid) for damage in self._segment(segment))

    def of_repository(self) -> Iterator[Damage]:
        """What is wrong with key slots and generations. `config` was read when the repository was opened."""
        for info in list(self._engine.store.list("keys/")):
            try:
                examined(info.key, partial(self._slot, info.key))
            except ObjectDamaged as error:
                yield error.damage
        for generation in stored_generations(self._engine.store):
            key = generation_key(generation)
            try:
                examined(key, partial(self._generation, generation))
            except ObjectDamaged as error:
                if error.damage.kind is not DamageKind.MISSING:  # a cleanup may have deleted it meanwhile
                    yield error.damage

    def _attributes(self, version: Version) -> Iterator[Damage]:
        meta = self._engine.meta
        keys = [key for key in meta.keys_of(version.uid) if key.startswith("a/")]
        if not keys or any(pending.uid == version.uid for pending in meta.pending_attributes()):
            return
        serial = int(keys[-1].rpartition(".")[2])
        try:
            found = self._stored.attributes(version.uid, serial)
        except ObjectDamaged as error:
            yield replace(error.damage, version_uid=version.uid)
            return
        now = {other.uid: other for other in meta.versions(version.volume)}.get(version.uid, version)
        if found != now.attributes and meta.keys_of(version.uid)[-1] == keys[-1]:
            yield Damage(DamageKind.CORRUPT, keys[-1], "differs from what the database knows", version.uid)

    def _segment(self, segment: Segment) -> Iterator[Damage]:
        damaged = [damage for piece in segment.pieces if (damage := self._piece(piece)) is not None]
        if damaged and not segment.bad:
            self._engine.meta.mark_segment_bad(self._session, segment)
        yield from damaged

    def _piece(self, piece: SegmentPiece) -> Damage | None:
        if piece.key not in self._pieces:
            try:
                self._stored.piece(piece.digest, piece.nonce)
                self._pieces[piece.key] = None
            except ObjectDamaged as error:
                self._pieces[piece.key] = error.damage
        return self._pieces[piece.key]

    def _slot(self, key: str) -> bytes:
        data = self._engine.store.get(key, 0, TEXT_OBJECT_LIMIT + 1)
        slot = decode_text(data, "key slot")
        if (slot["repository"], f"keys/{slot.get('slot')}") != (self._engine.facts.repository_id, key):
            raise ObjectCorrupt("is the slot of another repository, or another slot")
        return data

    def _generation(self, number: int) -> bytes:
        read_generation(self._engine.store, number, self._engine.facts.repository_id)
        return b""
