"""The part of the metadata contract suite about segments, their pieces, and the entries of a version's map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from backy_core.contracts.meta import MOST_PLANNED, MetaStore
from backy_core.errors import InternalError
from backy_core.model import Segment, SegmentPiece, Version, VersionState, piece_key
from backy_core.testing.meta_steps import (
    add_segment,
    backup,
    begin,
    clean,
    digest,
    expected,
    finish,
    interrupt,
    promise,
    remove,
    write,
)

__all__ = ["SegmentsConformance"]


def with_segment(meta: MetaStore, volume: str = "vm-1", link: bool = True) -> Version:
    """A version that lists its base's segments and one of its own."""
    session = meta.open_session("backup")
    writing = begin(meta, session, volume)
    if link and writing.base is not None:
        meta.link_segments(session, writing.version, meta.segments(writing.base))
    add_segment(meta, session, writing.version, f"{writing.version.uid}", writing.version.birth - 1)
    version = finish(meta, session, writing.version)
    meta.close_session(session)
    return version


def keys(*segments: Segment) -> set[str]:
    return {piece.key for segment in segments for piece in segment.pieces}


def doomed(meta: MetaStore) -> set[str]:
    return set(meta.doomed_keys(meta.generation() + 1))


def held(meta: MetaStore, version: Version, since: tuple[int, int] | None) -> dict[int, bytes | None]:
    """The entries, which must be ascending and no more than were counted."""
    found = list(meta.entries(version, since))
    assert [index for index, _ in found] == sorted({index for index, _ in found})
    assert len(found) <= meta.count_entries(version, since)
    return dict(found)


class SegmentsConformance:
    """Which segments a version lists, when they go, and what is to be written into them."""

    def test_a_segment_comes_back_as_it_was_published(self, meta: MetaStore, another: Callable[[], MetaStore]) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session).version
        assert meta.segments(version) == []
        first = add_segment(meta, session, version, "first", pieces=3)
        assert first.id > 0
        assert [piece.first for piece in first.pieces] == [0, 1, 2]
        assert (first.lineage, first.since, first.entries, first.bad) == (version.lineage, 0, 3, False)
        second = add_segment(meta, session, version, "second", since=1)
        empty = meta.publish_segment(session, version, Segment(version.lineage, 2, 0, ()))
        assert meta.segments(version) == [first, second, empty]
        assert meta.usage().uploads == 0
        finish(meta, session, version)
        assert another().segments(version) == [first, second, empty]

    def test_pieces_are_planned_under_fresh_names(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session).version
        nonces = meta.plan_pieces(session, version, [digest("same"), digest("same"), digest("other")])
        assert len(set(nonces)) == 3
        assert {len(nonce) for nonce in nonces} == {8}
        assert meta.usage().uploads == 3
        assert meta.plan_pieces(session, version, []) == []
        with pytest.raises(InternalError):
            meta.plan_pieces(session, version, [digest("x")] * (MOST_PLANNED + 1))

    def test_a_piece_that_was_never_planned_is_refused(self, meta: MetaStore) -> None:
        session, other = meta.open_session("backup"), meta.open_session("backup")
        version, foreign = begin(meta, session).version, begin(meta, other, "vm-2").version
        [nonce] = meta.plan_pieces(other, foreign, [digest("p")])
        chunk = meta.plan(session, version, [(0, digest("c"))])[digest("c")]
        for piece in (
            SegmentPiece(digest("p"), b"12345678", 1, 0),
            SegmentPiece(digest("p"), nonce, 1, 0),
            SegmentPiece(digest("c"), chunk, 1, 0),
        ):
            with pytest.raises(InternalError, match="never planned"):
                meta.publish_segment(session, version, Segment(version.lineage, 0, 1, (piece,)))
        assert meta.segments(version) == []
        assert meta.usage().uploads == 2

    def test_the_pieces_of_a_dead_session_are_doomed(self, meta: MetaStore, another: Callable[[], MetaStore]) -> None:
        dying = another()
        session = dying.open_session("backup")
        version = begin(dying, session).version
        published = add_segment(dying, session, version)
        [nonce] = dying.plan_pieces(session, version, [digest("late")])
        dying.close()
        assert meta.reap().uploads == 1
        assert doomed(meta) == {piece_key(digest("late"), nonce)}
        # What was published belongs to the version, which may be continued.
        assert meta.segments(meta.versions()[0]) == [published]

    def test_segments_are_shared_and_go_with_the_last_version_that_lists_them(self, meta: MetaStore) -> None:
        first, second, third = (with_segment(meta) for _ in range(3))
        one, two, three = meta.segments(third)
        assert meta.segments(first) == [one]
        assert meta.segments(second) == [one, two]
        remove(meta, first)
        assert doomed(meta) == set()
        remove(meta, third)
        assert doomed(meta) == keys(three)
        assert meta.segments(second) == [one, two]
        remove(meta, second)
        assert doomed(meta) == keys(one, two, three)

    def test_segments_of_a_base_stay_for_a_run_that_lists_them(self, meta: MetaStore) -> None:
        base = with_segment(meta)
        session = meta.open_session("backup")
        version = begin(meta, session).version
        [shared] = meta.segments(base)
        meta.link_segments(session, version, [shared])
        meta.close_session(session)
        remove(meta, base)
        assert doomed(meta) == set()
        remove(meta, version)
        assert doomed(meta) == keys(shared)

    def test_linking_again_lets_go_of_what_was_linked_before(self, meta: MetaStore) -> None:
        base = with_segment(meta)
        [shared] = meta.segments(base)
        session = meta.open_session("backup")
        version = begin(meta, session).version
        meta.link_segments(session, version, [shared])
        own = add_segment(meta, session, version, "own")
        meta.link_segments(session, version, [own, shared])
        assert meta.segments(version) == [own, shared]
        meta.link_segments(session, version, [shared])
        assert meta.segments(version) == [shared]
        assert doomed(meta) == keys(own)
        with pytest.raises(InternalError, match="not there"):
            meta.link_segments(session, version, [shared, own])
        assert meta.segments(version) == [shared]
        meta.link_segments(session, version, [])
        assert doomed(meta) == keys(own)
        assert meta.segments(base) == [shared]

    def test_a_version_that_is_continued_lists_nothing_of_what_it_had_listed(self, meta: MetaStore) -> None:
        base = with_segment(meta)
        session = meta.open_session("backup")
        version = begin(meta, session).version
        meta.link_segments(session, version, meta.segments(base))
        own = add_segment(meta, session, version, "own")
        meta.close_session(session)
        session = meta.open_session("backup")
        again = begin(meta, session)
        assert (again.continued, again.version.uid) == (True, version.uid)
        assert meta.segments(again.version) == []
        meta.link_segments(session, again.version, meta.segments(base))
        fresh = add_segment(meta, session, again.version, "own")
        assert meta.segments(again.version) == [*meta.segments(base), fresh]
        assert doomed(meta) == keys(own)

    def test_the_segments_of_a_version_that_is_given_up_are_doomed(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session).version
        own = add_segment(meta, session, version)
        meta.close_session(session)
        begin(meta, meta.open_session("backup"), blocks=9)
        assert version.uid not in {found.uid for found in meta.versions()}
        assert doomed(meta) == keys(own)

    def test_a_segment_found_damaged_stays_marked(self, meta: MetaStore) -> None:
        first = with_segment(meta)
        second = with_segment(meta)
        one, two = meta.segments(second)
        session = meta.open_session("scrub")
        meta.mark_segment_bad(session, one)
        meta.mark_segment_bad(session, one)
        assert meta.segments(second) == [replace(one, bad=True), two]
        assert meta.segments(first) == [replace(one, bad=True)]

    def test_a_pieces_key_is_never_doomed_from_outside(self, meta: MetaStore) -> None:
        [segment] = meta.segments(with_segment(meta))
        with pytest.raises(InternalError, match="piece"):
            meta.doom_keys(meta.open_session("cleanup"), ["gens/1", segment.pieces[0].key])
        assert doomed(meta) == set()

    def test_all_entries_are_what_the_version_holds_wherever_its_chain_has_a_row(self, meta: MetaStore) -> None:
        first = backup(meta, {0: "a", 1: "b", 7: "c"})
        second = backup(meta, {1: None, 3: "d"}, blocks=5)
        backup(meta, {0: "younger"}, blocks=5)
        assert held(meta, first, None) == expected({0: "a", 1: "b", 7: "c"})
        # Beyond its end lies the hole that keeps old data from coming back.
        assert held(meta, second, None) == expected({0: "a", 1: None, 3: "d", 7: None})
        assert held(meta, second, (first.lineage, first.birth)) == expected({1: None, 3: "d", 7: None})
        assert held(meta, second, (second.lineage, second.birth)) == {}

    def test_entries_of_a_branch_go_through_the_lineages_it_descends_from(self, meta: MetaStore) -> None:
        first = backup(meta, {0: "a", 1: "b"})
        second = backup(meta, {1: "c"})
        backup(meta, {0: "not seen", 6: "not seen"})
        branch = backup(meta, {2: "x"}, base_uid=second.uid)
        newest = backup(meta, {0: "y"})
        assert branch.lineage == newest.lineage != second.lineage
        assert newest.parent == (second.lineage, second.birth)
        assert held(meta, newest, None) == expected({0: "y", 1: "c", 2: "x"})
        assert held(meta, newest, (first.lineage, first.birth)) == expected({0: "y", 1: "c", 2: "x"})
        assert held(meta, newest, (second.lineage, second.birth)) == expected({0: "y", 2: "x"})
        assert held(meta, newest, (branch.lineage, branch.birth)) == expected({0: "y"})
        # Of a lineage outside of its chain a version knows nothing: then everything is younger.
        assert held(meta, second, (branch.lineage, 1)) == held(meta, second, None)

    def test_entries_are_known_while_the_version_is_written(self, meta: MetaStore) -> None:
        base = backup(meta, {0: "a"})
        session = meta.open_session("backup")
        version = begin(meta, session).version
        write(meta, session, version, {5: "new", 0: None})
        assert held(meta, version, (base.lineage, base.birth)) == expected({0: None, 5: "new"})
        promise(meta, session, version)
        assert held(meta, version, None) == expected({0: None, 5: "new"})
        assert meta.finish_version(session, version).state is VersionState.VALID

    def test_the_cost_of_recent_entries_does_not_depend_on_the_size_of_the_map(self, meta: MetaStore) -> None:
        costs = set()
        for volume, blocks in (("small", 8), ("large", 64)):
            base = backup(meta, {index: f"{volume} {index}" for index in range(blocks)}, volume, blocks)
            version = backup(meta, {3: "x", 1: "y"}, volume, blocks)
            since = (base.lineage, base.birth)
            assert meta.count_entries(version, since) == 2
            before = meta.counters.statements
            assert held(meta, version, since) == expected({1: "y", 3: "x"})
            costs.add(meta.counters.statements - before)
        assert len(costs) == 1

    def test_an_interrupted_version_is_purged_with_its_segments_and_chunks(self, meta: MetaStore) -> None:
        old = interrupt(meta, {0: "a"})
        remove(meta, old)
        assert len(clean(meta)) == 1
