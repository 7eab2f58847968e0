"""The part of the metadata contract suite about sessions, bases, continuing, sizes and lineages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from backy_core.contracts.meta import MetaStore, NewChunk
from backy_core.errors import InvalidInput, SessionFenced
from backy_core.model import Attributes, Segment, VersionState, chunk_key
from backy_core.testing.meta_steps import (
    BLOCK,
    NOW,
    Contents,
    backup,
    begin,
    chunk_of,
    digest,
    expected,
    finish,
    interrupt,
    promise,
    remove,
    shown,
    write,
)

__all__ = ["VersionsConformance"]


class VersionsConformance:
    """Which base, which lineage, whose rows, and who may go on writing."""

    def test_sessions_have_numbers_of_their_own(self, meta: MetaStore, another: Callable[[], MetaStore]) -> None:
        first, second = meta.open_session("backup"), another().open_session("restore")
        meta.close_session(first)
        assert len({first, second, meta.open_session("backup")}) == 3

    def test_a_closed_session_may_not_write_on(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session).version
        meta.close_session(session)
        finished = backup(meta, {0: "a"}, volume="other")
        chunk = chunk_of(meta, "a")
        placed = replace(finished, uid="f" * 16, lineage=4711, birth=1)
        found = NewChunk(chunk.digest, chunk.nonce, 9)
        before = meta.generation(), meta.fences(), meta.versions(), meta.usage()
        for step in (
            lambda: begin(meta, session),
            lambda: meta.plan(session, version, [(0, None)]),
            lambda: meta.publish(session, version, [], []),
            lambda: meta.link_segments(session, version, []),
            lambda: meta.plan_pieces(session, version, [digest("p")]),
            lambda: meta.publish_segment(session, version, Segment(1, 0, 0, ())),
            lambda: meta.mark_segment_bad(session, Segment(1, 0, 0, (), 1)),
            lambda: promise(meta, session, version),
            lambda: meta.finish_version(session, version),
            lambda: meta.finish_version(session, finished),
            lambda: meta.set_attributes(session, finished.uid, Attributes(("t",))),
            lambda: meta.attributes_stored(session, finished.uid, 1),
            lambda: meta.fences_stored(session, [1]),
            lambda: meta.set_behind(session, True),
            lambda: meta.place_version(session, placed),
            lambda: meta.take_rows(session, placed, [(0, digest("x"))]),
            lambda: meta.take_version(session, placed, [], 0),
            lambda: meta.take_attributes(session, finished.uid, Attributes(("t",)), 1),
            lambda: meta.take_found(session, [found]),
            lambda: meta.move_chunk(session, found),
            lambda: meta.doom_orphans(session, [chunk_key(digest("o"), b"12345678")]),
            lambda: meta.pin(session, finished.uid),
            lambda: meta.mark_bad(session, [chunk]),
            lambda: meta.mark_good(session, [chunk]),
            lambda: meta.refresh_states(session),
            lambda: meta.remove_version(session, finished.uid),
            lambda: meta.purge(session, finished.uid),
            lambda: meta.next_generation(session),
            lambda: meta.doom_chunks(session),
            lambda: meta.doom_keys(session, ["gens/1"]),
            lambda: meta.forget_doomed(session, ["gens/1"]),
        ):
            with pytest.raises(SessionFenced):
                step()
        assert before == (meta.generation(), meta.fences(), meta.versions(), meta.usage())
        assert not meta.is_behind()

    def test_closing_a_session_twice_is_no_error(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        meta.close_session(session)
        meta.close_session(session)

    def test_a_living_session_is_not_reaped(self, meta: MetaStore, another: Callable[[], MetaStore]) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session).version
        assert another().reap().sessions == 0
        assert meta.reap().sessions == 0
        write(meta, session, version, {0: "a"})

    def test_a_dead_session_is_fenced_and_its_uploads_doomed(
        self, meta: MetaStore, another: Callable[[], MetaStore]
    ) -> None:
        dying = another()
        session = dying.open_session("backup")
        version = begin(dying, session).version
        nonces = dying.plan(session, version, [(0, digest("a")), (1, digest("b"))])
        dying.close()
        reaped = meta.reap()
        assert (reaped.sessions, reaped.uploads, reaped.interrupted) == (1, 2, (version.uid,))
        assert meta.reap().sessions == 0
        assert set(meta.doomed_keys(meta.generation() + 1)) == {
            chunk_key(name, nonce) for name, nonce in nonces.items()
        }
        assert meta.usage().uploads == 0
        assert meta.versions()[0].interrupted

    def test_opening_a_session_reaps_first(self, meta: MetaStore, another: Callable[[], MetaStore]) -> None:
        dying = another()
        begin(dying, dying.open_session("backup"))
        dying.close()
        meta.open_session("ls")
        assert [version.interrupted for version in meta.versions()] == [True]

    def test_a_session_taken_for_dead_may_not_publish_what_it_had_planned(
        self, meta: MetaStore, another: Callable[[], MetaStore]
    ) -> None:
        zombie = another()
        session = zombie.open_session("backup")
        version = begin(zombie, session).version
        [(name, nonce)] = zombie.plan(session, version, [(0, digest("a"))]).items()
        zombie.close()  # drops the proof of life; what follows is the zombie waking up
        meta.reap()
        with pytest.raises(SessionFenced):
            meta.publish(session, version, [NewChunk(name, nonce, 1)], [(0, name)])
        assert meta.chunk(name) is None

    def test_the_first_version_has_no_base(self, meta: MetaStore) -> None:
        writing = begin(meta, meta.open_session("backup"), source="file:///disk", identity="snap-1")
        version = writing.version
        assert (writing.base, writing.continued, writing.position) == (None, False, 0)
        assert (version.state, version.size, version.block_size) == (VersionState.WRITING, 8 * BLOCK, BLOCK)
        assert (version.source, version.identity, version.created) == ("file:///disk", "snap-1", NOW)
        assert not version.interrupted
        assert len(version.uid) == 16
        assert version.uid == version.uid.lower()

    def test_the_next_version_continues_the_lineage_of_the_newest_finished_one(self, meta: MetaStore) -> None:
        first = backup(meta, {0: "a"})
        second = begin(meta, meta.open_session("backup"))
        assert second.base == first
        assert second.version.base_uid == first.uid
        assert second.version.lineage == first.lineage
        assert second.version.birth > first.birth

    def test_an_older_base_starts_a_lineage_of_its_own(self, meta: MetaStore) -> None:
        first = backup(meta, {0: "a", 1: "b"})
        second = backup(meta, {0: "c"})
        third = backup(meta, {2: "d"}, base_uid=first.uid)
        assert third.lineage != first.lineage
        assert shown(meta, third) == expected({0: "a", 1: "b", 2: "d"})
        assert shown(meta, second) == expected({0: "c", 1: "b"})
        assert shown(meta, first) == expected({0: "a", 1: "b"})

    def test_a_second_writer_of_a_volume_starts_a_lineage_of_its_own(self, meta: MetaStore) -> None:
        base = backup(meta, {0: "a"})
        one, two = meta.open_session("backup"), meta.open_session("backup")
        left, right = begin(meta, one), begin(meta, two)
        assert left.base == right.base == base
        assert left.version.lineage != right.version.lineage
        write(meta, one, left.version, {1: "l"})
        write(meta, two, right.version, {1: "r"})
        for session, writing in ((two, right), (one, left)):
            finish(meta, session, writing.version)
        assert shown(meta, left.version) == expected({0: "a", 1: "l"})
        assert shown(meta, right.version) == expected({0: "a", 1: "r"})

    def test_another_volume_may_serve_as_base(self, meta: MetaStore) -> None:
        base = backup(meta, {0: "a"}, volume="golden")
        other = backup(meta, {1: "b"}, volume="vm-2", base_uid=base.uid)
        assert other.lineage != base.lineage
        assert shown(meta, other) == expected({0: "a", 1: "b"})

    def test_another_block_size_finds_no_base(self, meta: MetaStore) -> None:
        old = backup(meta, {0: "a"})
        assert begin(meta, meta.open_session("backup"), block_size=2 * BLOCK).base is None
        with pytest.raises(InvalidInput):
            begin(meta, meta.open_session("backup"), block_size=2 * BLOCK, base_uid=old.uid)

    def test_a_base_must_be_there_and_finished(self, meta: MetaStore) -> None:
        unfinished = interrupt(meta, {0: "a"})
        gone = backup(meta, {0: "a"}, volume="vm-2")
        session = meta.open_session("rm")
        meta.remove_version(session, gone.uid)
        for uid in (unfinished.uid, gone.uid, "f" * 16):
            with pytest.raises(InvalidInput):
                begin(meta, session, base_uid=uid)

    def test_impossible_sizes_and_names_are_refused(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        for bad in ({"volume": ""}, {"blocks": -1}, {"block_size": 0}):
            with pytest.raises(InvalidInput):
                begin(meta, session, **bad)
        assert meta.versions() == []

    def test_a_removed_version_above_the_base_is_never_seen(self, meta: MetaStore) -> None:
        first = backup(meta, {0: "a"})
        second = backup(meta, {0: "b", 1: "c"})
        session = meta.open_session("rm")
        meta.remove_version(session, second.uid)
        third = backup(meta, {2: "d"})
        assert third.base_uid == first.uid
        assert shown(meta, third) == expected({0: "a", 2: "d"})
        while not meta.purge(session, second.uid, 1).done:
            assert shown(meta, third) == expected({0: "a", 2: "d"})
        assert shown(meta, third) == expected({0: "a", 2: "d"})

    def test_an_interrupted_version_is_continued_with_its_rows(self, meta: MetaStore) -> None:
        backup(meta, {0: "a"})
        old = interrupt(meta, {1: "b"})
        session = meta.open_session("backup")
        again = begin(meta, session, source="file:///b")
        assert (again.version.uid, again.continued) == (old.uid, True)
        assert again.version.source == "file:///b"
        assert not again.version.interrupted
        assert shown(meta, again.version) == expected({0: "a", 1: "b"})
        assert list(meta.own_indexes(again.version)) == [1]

    @pytest.mark.parametrize(
        ("before", "after", "kept"), [("s", "s", 5), ("s", "t", 0), (None, None, 0), ("s", None, 0)]
    )
    def test_the_position_is_kept_only_for_a_source_that_proves_its_sameness(
        self, meta: MetaStore, before: str | None, after: str | None, kept: int
    ) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session, identity=before).version
        meta.publish(session, version, [], [], position=5)
        meta.publish(session, version, [], [], position=3)  # never goes back
        meta.close_session(session)
        again = begin(meta, meta.open_session("backup"), identity=after)
        assert (again.continued, again.position, again.version.identity) == (True, kept, after)

    @pytest.mark.parametrize("change", [{"blocks": 9}, {"block_size": 2 * BLOCK, "blocks": 8}])
    def test_an_interrupted_version_of_another_shape_is_purged(self, meta: MetaStore, change: dict[str, Any]) -> None:
        old = interrupt(meta, {1: "b"})
        again = begin(meta, meta.open_session("backup"), **change)
        assert not again.continued
        assert old.uid not in {version.uid for version in meta.versions()}
        assert shown(meta, again.version) == {}
        assert meta.usage().map_rows == 0

    def test_an_interrupted_version_of_another_base_is_purged(self, meta: MetaStore) -> None:
        first = backup(meta, {0: "a"})
        backup(meta, {0: "b"})
        old = interrupt(meta, {1: "x"})
        again = begin(meta, meta.open_session("backup"), base_uid=first.uid)
        assert not again.continued
        assert old.uid not in {version.uid for version in meta.versions()}
        assert shown(meta, again.version) == expected({0: "a"})

    def test_an_interrupted_version_is_not_continued_when_its_base_was_removed(self, meta: MetaStore) -> None:
        base = backup(meta, {0: "a"})
        old = interrupt(meta, {1: "x"})
        remove(meta, base)
        again = begin(meta, meta.open_session("backup"))
        assert (again.continued, again.base) == (False, None)
        assert [version.uid for version in meta.versions()] == [again.version.uid] != [old.uid]

    def test_growing_after_shrinking_shows_no_old_data(self, meta: MetaStore) -> None:
        whole = {index: f"c{index}" for index in range(8)}
        backup(meta, {**whole})
        small = backup(meta, {}, blocks=3)
        large = backup(meta, {7: "new"}, blocks=10)
        assert shown(meta, small) == expected({0: "c0", 1: "c1", 2: "c2"})
        data = {index: name for index, name in shown(meta, large).items() if name is not None}
        assert data == expected({0: "c0", 1: "c1", 2: "c2", 7: "new"})

    def test_a_branch_smaller_than_its_base_shows_no_old_data_when_it_grows(self, meta: MetaStore) -> None:
        base = backup(meta, {index: f"c{index}" for index in range(8)})
        backup(meta, {})
        small = backup(meta, {}, blocks=2, base_uid=base.uid)
        large = backup(meta, {}, blocks=8)
        assert large.base_uid == small.uid
        assert large.lineage == small.lineage != base.lineage
        data = {index: name for index, name in shown(meta, large).items() if name is not None}
        assert data == expected({0: "c0", 1: "c1"})

    def test_a_branch_larger_than_its_base_sees_nothing_of_younger_siblings(self, meta: MetaStore) -> None:
        base = backup(meta, {0: "a"}, blocks=2)
        backup(meta, {index: f"x{index}" for index in range(8)}, blocks=8)
        branch = backup(meta, {}, blocks=8, base_uid=base.uid)
        assert shown(meta, branch) == expected({0: "a"})

    def test_a_version_of_no_blocks_is_a_version(self, meta: MetaStore) -> None:
        backup(meta, {0: "a"})
        empty = backup(meta, {}, blocks=0)
        assert empty.state is VersionState.VALID
        assert shown(meta, empty) == {}
        grown = backup(meta, {}, blocks=4)
        assert not {name for name in shown(meta, grown).values() if name is not None}

    def test_long_chains_of_branches_are_flattened_and_show_the_same(self, meta: MetaStore) -> None:
        newest = backup(meta, {0: "root", 1: "old", 2: None})
        contents: Contents = {0: "root", 1: "old"}
        for generation in range(9):
            backup(meta, {5: f"sibling {generation}"}, base_uid=newest.uid)
            contents[generation % 3 + 1] = f"g{generation}"
            newest = backup(
                meta, {generation % 3 + 1: f"g{generation}"}, volume=f"branch {generation}", base_uid=newest.uid
            )
            data = {index: name for index, name in shown(meta, newest).items() if name is not None}
            assert data == expected(contents)
            before = meta.counters.statements
            meta.view(newest, range(8))
            assert meta.counters.statements - before <= 5
