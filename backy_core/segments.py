"""Writes the block map of a version to the store: what is new as a segment, merged with as many older ones as pays.

A segment is merged into the new one while it is not at least twice as long, so the list stays short and every entry is
written again only a few times in its life. What is merged is taken from the metadata store, nothing is read back.
"""

from __future__ import annotations

from backy_core.contracts.meta import Writing
from backy_core.engine import Engine
from backy_core.model import Segment, SegmentPiece, Version, piece_key
from backy_core.objects.manifest import MOST_SEGMENTS
from backy_core.objects.segment import cut

__all__ = ["write_segments"]


def write_segments(engine: Engine, session: int, writing: Writing) -> list[Segment]:
    """Put the segments that the version needs beyond those of its base, durably; all it has, oldest first."""
    meta, version = engine.meta, writing.version
    kept = _segments_of_base(engine, writing)
    since = None if kept is None or writing.base is None else (writing.base.lineage, writing.base.birth)
    kept = kept or []
    if any(segment.bad for segment in kept):
        sound = next(place for place, segment in enumerate(kept) if segment.bad)
        since = _beginning(kept[sound])
        kept = kept[:sound]
    entries = meta.count_entries(version, since)
    while entries and kept and (kept[-1].entries < 2 * entries or len(kept) >= MOST_SEGMENTS):
        merged = kept.pop()
        since = _beginning(merged)
        entries += merged.entries
    if since is None:
        kept = []  # what is written holds all there is; what others say of the rest may be out of date
    meta.link_segments(session, version, kept)
    if not entries:
        return kept
    written = _write(engine, session, version, since)
    return [*kept, written] if written else kept


def _segments_of_base(engine: Engine, writing: Writing) -> list[Segment] | None:
    """The segments that describe what the version inherits, None when none do: it is described from the beginning."""
    version, base = writing.version, writing.base
    if base is None or base.manifest is None:
        return None
    if version.lineage != base.lineage and version.parent != (base.lineage, base.birth):
        return None  # the base's rows were copied, so they are the version's own
    return engine.meta.segments(base)


def _beginning(segment: Segment) -> tuple[int, int] | None:
    return (segment.lineage, segment.since) if segment.lineage else None


def _write(engine: Engine, session: int, version: Version, since: tuple[int, int] | None) -> Segment | None:
    pieces: list[SegmentPiece] = []
    entries = 0
    for piece in cut(engine.meta.entries(version, since)):
        digest = engine.hash.digest(piece.content)
        [nonce] = engine.meta.plan_pieces(session, version, [digest])
        key = piece_key(digest, nonce)
        parts = engine.envelope.wrap(key, piece.content)
        engine.store.put(key, parts)
        pieces.append(SegmentPiece(digest, nonce, sum(len(part) for part in parts), piece.first))
        entries += piece.entries
    if not pieces:
        return None
    engine.store.sync()
    lineage, birth = since or (0, 0)
    return engine.meta.publish_segment(session, version, Segment(lineage, birth, entries, tuple(pieces)))
