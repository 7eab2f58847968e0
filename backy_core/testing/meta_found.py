"""The part of the metadata contract suite about the objects and attributes that are found in the store."""

from __future__ import annotations

import pytest

from backy_core.contracts.meta import MOST_TAKEN, MetaStore, NewChunk
from backy_core.errors import InternalError, NotFound
from backy_core.model import (
    Attributes,
    Segment,
    SegmentPiece,
    VersionState,
    attributes_key,
    chunk_key,
    piece_key,
)
from backy_core.testing.meta_steps import (
    add_segment,
    backup,
    begin,
    chunk_of,
    clean,
    described,
    digest,
    expected,
    finish,
    interrupt,
    promise,
    remove,
    rows,
    shown,
    take_over,
    write,
)

__all__ = ["FoundConformance"]

NONE = bytes(8)


def doomed(meta: MetaStore) -> set[str]:
    return set(meta.doomed_keys(meta.generation() + 1))


class FoundConformance:
    """Chunks that have no object yet, objects that nobody needs, and what becomes of a key that had been doomed."""

    def test_chunks_are_bad_and_without_an_object_until_one_is_found(self, meta: MetaStore) -> None:
        session = meta.open_session("rebuild")
        taken = take_over(meta, session, described("a"), rows({0: "x", 1: "y", 2: "x"}))
        assert taken.state is VersionState.VALID
        chunk = chunk_of(meta, "x")
        assert (chunk.nonce, chunk.stored_size, chunk.bad) == (NONE, 0, True)
        assert [changed.state for changed in meta.refresh_states(session)] == [VersionState.INVALID]
        first, second = NewChunk(digest("x"), b"11111111", 10), NewChunk(digest("x"), b"22222222", 20)
        stray = NewChunk(digest("stray"), b"33333333", 30)
        found = meta.take_found(session, [first, second, stray])
        known = chunk_of(meta, "x")
        assert (known.id, known.nonce, known.stored_size, known.bad) == (chunk.id, first.nonce, 10, False)
        assert (found.known, found.others, found.unknown) == ((known.id,), ((known, second),), (stray,))
        again = meta.take_found(session, [second, stray, first])
        assert (again.known, again.others, again.unknown) == ((known.id,), ((known, second),), (stray,))
        assert meta.refresh_states(session) == []
        meta.take_found(session, [NewChunk(digest("y"), b"44444444", 40)])
        assert [changed.state for changed in meta.refresh_states(session)] == [VersionState.VALID]
        assert meta.usage().stored_bytes == 50
        assert meta.take_found(session, []).known == ()

    def test_a_chunk_that_was_found_bad_stays_so_when_its_object_is_met(self, meta: MetaStore) -> None:
        backup(meta, {0: "a"})
        session = meta.open_session("reconcile")
        chunk = chunk_of(meta, "a")
        meta.mark_bad(session, [chunk])
        assert meta.take_found(session, [NewChunk(chunk.digest, chunk.nonce, 100)]).known == (chunk.id,)
        assert chunk_of(meta, "a").bad

    def test_a_chunk_without_an_object_dooms_no_key_when_it_is_healed_or_goes(self, meta: MetaStore) -> None:
        session = meta.open_session("rebuild")
        taken = take_over(meta, session, described("a"), rows({0: "x", 1: "y"}))
        healing = backup(meta, {3: "x"}, "vm-2")
        assert not chunk_of(meta, "x").bad
        assert doomed(meta) == set()
        remove(meta, taken)
        assert clean(meta) == []
        assert meta.chunk(digest("y")) is None
        assert shown(meta, healing) == expected({3: "x"})

    def test_a_chunk_is_moved_to_the_object_that_was_read(self, meta: MetaStore) -> None:
        backup(meta, {0: "a"})
        session = meta.open_session("reconcile")
        old = chunk_of(meta, "a")
        meta.mark_bad(session, [old])
        better = NewChunk(old.digest, b"87654321", 90)
        meta.move_chunk(session, better)
        new = chunk_of(meta, "a")
        assert (new.id, new.nonce, new.stored_size, new.bad) == (old.id, better.nonce, 90, False)
        assert doomed(meta) == {old.key}
        assert [changed.state for changed in meta.refresh_states(session)] == [VersionState.VALID]
        meta.move_chunk(session, NewChunk(old.digest, old.nonce, 100))
        assert doomed(meta) == {new.key}
        meta.move_chunk(session, NewChunk(old.digest, old.nonce, 100))
        assert doomed(meta) == {new.key}
        with pytest.raises(InternalError, match="no chunk"):
            meta.move_chunk(session, NewChunk(digest("none"), b"87654321", 1))

    def test_what_becomes_known_is_not_doomed_any_more(self, meta: MetaStore) -> None:
        session = meta.open_session("reconcile")
        version = begin(meta, session).version
        write(meta, session, version, {0: "a"})
        segment = add_segment(meta, session, version)
        known = finish(meta, session, version)
        chunk = chunk_of(meta, "a")
        entries = list(meta.entries(known, None))
        remove(meta, known)
        clean(meta)
        assert doomed(meta) == {chunk.key, *(piece.key for piece in segment.pieces)}
        taken = take_over(meta, session, known, entries, [segment])
        assert doomed(meta) == {chunk.key}
        meta.take_found(session, [NewChunk(chunk.digest, chunk.nonce, chunk.stored_size)])
        assert doomed(meta) == set()
        assert not chunk_of(meta, "a").bad
        [listed] = meta.segments(taken)
        assert listed.pieces == segment.pieces

    def test_an_object_that_was_found_is_not_doomed_with_the_run_that_put_it(self, meta: MetaStore) -> None:
        session, writer = meta.open_session("reconcile"), meta.open_session("backup")
        taken = take_over(meta, session, described("a", volume="vm-2"), rows({0: "x"}))
        version = begin(meta, writer).version
        [nonce] = meta.plan(writer, version, [(0, digest("x"))]).values()
        [piece] = meta.plan_pieces(writer, version, [digest("p")])
        segment = Segment(7, 0, 1, (SegmentPiece(digest("p"), piece, 5, 0),))
        assert len(meta.take_found(session, [NewChunk(digest("x"), nonce, 10)]).known) == 1
        other = take_over(meta, session, described("b", birth=2, volume="vm-2"), rows({0: "x"}), [segment])
        meta.close_session(writer)
        assert doomed(meta) == set()
        assert meta.usage().uploads == 0
        assert shown(meta, taken) == shown(meta, other) == expected({0: "x"})

    def test_segments_that_are_known_are_linked_and_not_made_twice(self, meta: MetaStore) -> None:
        session = meta.open_session("rebuild")
        pieces = [SegmentPiece(digest(f"p{number}"), b"12345678", 5, number) for number in range(4)]
        base = Segment(7, 0, 3, tuple(pieces[:2]))
        first = take_over(meta, session, described("a"), rows({0: "x"}), [base])
        second = take_over(
            meta, session, described("b", birth=2), rows({0: "y"}), [base, Segment(7, 1, 1, (pieces[2],))]
        )
        [shared] = meta.segments(first)
        assert meta.segments(second)[0] == shared
        assert len(meta.segments(second)) == 2
        remove(meta, first)
        assert doomed(meta) == set()
        remove(meta, second)
        assert doomed(meta) == {piece.key for piece in pieces[:3]}

    def test_segments_may_share_pieces_and_keep_them_for_each_other(self, meta: MetaStore) -> None:
        session = meta.open_session("rebuild")
        pieces = [SegmentPiece(digest(f"p{number}"), b"12345678", 5, number) for number in range(4)]
        lists = [(0, 1), (0, 2), (0,), (3, 0)]
        taken = []
        for number, places in enumerate(lists):
            segment = Segment(0, 0, 3, tuple(pieces[place] for place in places))
            taken.append(take_over(meta, session, described("abcd"[number], birth=number + 1), [], [segment]))
        for version, places in zip(taken, lists, strict=True):
            [listed] = meta.segments(version)
            assert listed.pieces == tuple(pieces[place] for place in places)
        remove(meta, taken[0])
        assert doomed(meta) == {pieces[1].key}
        remove(meta, *taken[1:3])
        assert doomed(meta) == {pieces[1].key, pieces[2].key}
        remove(meta, taken[3])
        assert doomed(meta) == {piece.key for piece in pieces}

    def test_attributes_are_taken_over_unless_newer_ones_wait(self, meta: MetaStore) -> None:
        version = backup(meta, {})
        session = meta.open_session("reconcile")
        before = meta.generation()
        meta.take_attributes(session, version.uid, Attributes(("x",)), 3)
        assert meta.versions()[0].attributes == Attributes(("x",))
        assert (meta.pending_attributes(), meta.generation()) == ([], before)
        assert meta.keys_of(version.uid)[1:] == [attributes_key(version.uid, 3)]
        assert meta.set_attributes(session, version.uid, Attributes(("mine",))) == 4
        meta.take_attributes(session, version.uid, Attributes(("x",)), 3)
        assert [pending.serial for pending in meta.pending_attributes()] == [4]
        meta.take_attributes(session, version.uid, Attributes(("theirs",)), 4)
        assert meta.versions()[0].attributes == Attributes(("theirs",))
        assert meta.pending_attributes() == []
        for uid in ("f" * 16, interrupt(meta, {}, volume="vm-2").uid):
            with pytest.raises(NotFound):
                meta.take_attributes(session, uid, Attributes(), 1)

    def test_chunks_are_listed_in_windows_and_found_by_their_digests(self, meta: MetaStore) -> None:
        backup(meta, {index: f"c{index}" for index in range(7)})
        first = meta.chunks(0, 3)
        second = meta.chunks(first[-1].id, 10)
        assert [len(first), len(second)] == [3, 4]
        assert sorted({chunk.id for chunk in first + second}) == [chunk.id for chunk in first + second]
        assert meta.chunks(second[-1].id) == []
        assert meta.find_chunks([digest("c1"), digest("none"), digest("c1")]) == {digest("c1"): chunk_of(meta, "c1")}
        assert meta.find_chunks([]) == {}
        with pytest.raises(InternalError):
            meta.find_chunks([digest("c1")] * (MOST_TAKEN + 1))
        with pytest.raises(InternalError):
            meta.take_found(meta.open_session("x"), [NewChunk(digest("c1"), NONE, 1)] * (MOST_TAKEN + 1))

    def test_orphans_are_doomed_and_nothing_else(self, meta: MetaStore) -> None:
        session = meta.open_session("reconcile")
        version = begin(meta, session).version
        write(meta, session, version, {0: "a"})
        segment = add_segment(meta, session, version)
        [chunk_nonce] = meta.plan(session, version, [(1, digest("b"))]).values()
        [piece_nonce] = meta.plan_pieces(session, version, [digest("q")])
        chunk = chunk_of(meta, "a")
        used = [chunk.key, chunk_key(digest("b"), chunk_nonce), piece_key(digest("q"), piece_nonce)]
        used += [piece.key for piece in segment.pieces]
        orphans = [
            chunk_key(digest("a"), b"elsewher"),
            piece_key(digest("q"), chunk_nonce),
            # The same digest and nonce, but as the other kind of object.
            piece_key(chunk.digest, chunk.nonce),
            chunk_key(segment.pieces[0].digest, segment.pieces[0].nonce),
        ]
        foreign = ["c/zz/nothing", "m/", f"c/00/{'1' * 64}-{'0' * 16}", f"m/{'A' * 64}-{'0' * 16}"]
        assert meta.doom_orphans(session, used + orphans + foreign + orphans[:1]) == len(orphans)
        assert doomed(meta) == set(orphans)
        assert meta.doom_orphans(session, used + orphans) == 0
        for key in ("config", f"v/{version.uid}", "gens/000000000001"):
            with pytest.raises(InternalError, match="orphan"):
                meta.doom_orphans(session, [orphans[0], key])
        promise(meta, session, version)
        assert meta.doom_orphans(session, [chunk_key(digest(f"{n}"), NONE) for n in range(2500)]) == 2500
