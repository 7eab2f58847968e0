"""The part of the metadata contract suite about viewing, planning, publishing, finishing and damage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from backy_core.contracts.meta import MetaStore, NewChunk
from backy_core.errors import RepositoryError, VersionBusy
from backy_core.model import BackupStatistics, VersionState, chunk_key
from backy_core.testing.meta_steps import (
    FACTS,
    backup,
    begin,
    chunk_of,
    clean,
    digest,
    expected,
    finish,
    promise,
    shown,
    write,
)

__all__ = ["BlocksConformance"]


class BlocksConformance:
    """What a version shows, what writing it costs, and what a bad chunk means."""

    def test_facts_come_back_as_they_were_recorded(self, meta: MetaStore, another: Callable[[], MetaStore]) -> None:
        assert meta.facts() == FACTS
        assert another().facts() == FACTS
        assert meta.generation() == 0

    def test_a_repository_may_be_encrypted(self, another: Callable[[], MetaStore]) -> None:
        facts = replace(FACTS, encryption="aes-256-gcm")
        another().initialise(facts)
        assert another().facts() == facts

    def test_a_repository_is_initialised_once(self, meta: MetaStore) -> None:
        with pytest.raises(RepositoryError):
            meta.initialise(FACTS)

    def test_an_uninitialised_database_has_no_facts(self, another: Callable[[], MetaStore]) -> None:
        empty = another()
        with pytest.raises(RepositoryError):
            empty.facts()
        with pytest.raises(RepositoryError):
            empty.generation()

    def test_the_location_holds_no_secret_and_is_a_url(self, meta: MetaStore) -> None:
        assert "://" in meta.location
        assert "@" not in meta.location.partition("://")[2].partition("/")[0] or ":" not in meta.location.split("@")[0]

    def test_a_view_is_bounded_by_the_version_and_ascending(self, meta: MetaStore) -> None:
        version = backup(meta, {7: "h", 0: "a", 3: None})
        blocks = meta.view(version, range(0, 1000))
        assert list(blocks) == [0, 3, 7]
        assert blocks[3].chunk is None
        assert list(meta.view(version, [0, 7, 8, 10**9])) == [0, 7]
        assert meta.view(version, []) == {}
        assert meta.view(version, range(100, 200)) == {}

    def test_a_view_tells_own_rows_from_inherited_ones(self, meta: MetaStore) -> None:
        first = backup(meta, {0: "a", 1: "b"})
        second = backup(meta, {1: "c"})
        blocks = meta.view(second, range(8))
        assert [(block.index, block.birth, block.own) for block in blocks.values()] == [
            (0, first.birth, False),
            (1, second.birth, True),
        ]

    def test_a_view_takes_one_statement_however_many_indexes(self, meta: MetaStore) -> None:
        version = backup(meta, {index: f"c{index}" for index in range(0, 60, 7)}, blocks=2000)
        meta.view(version, [0])
        costs = set()
        for indexes in ([1], range(1024), list(range(0, 2000, 2))[:1000]):
            before = meta.counters.statements
            meta.view(version, indexes)
            costs.add(meta.counters.statements - before)
        assert costs == {1}

    def test_own_indexes_are_ascending_and_without_inherited_ones(self, meta: MetaStore) -> None:
        backup(meta, {0: "a", 1: "b"})
        version = backup(meta, {5: "c", 2: None, 1: "d"})
        assert list(meta.own_indexes(version)) == [1, 2, 5]

    def test_known_content_and_holes_are_mapped_at_once(self, meta: MetaStore) -> None:
        backup(meta, {0: "a"}, volume="other")
        session = meta.open_session("backup")
        version = begin(meta, session).version
        missing = meta.plan(session, version, [(0, digest("a")), (1, None), (2, digest("new")), (3, digest("new"))])
        assert list(missing) == [digest("new")]
        assert len(missing[digest("new")]) == 8
        assert shown(meta, version) == expected({0: "a", 1: None})
        assert meta.usage().uploads == 1
        result = meta.publish(
            session,
            version,
            [NewChunk(digest("new"), missing[digest("new")], 77)],
            [(2, digest("new")), (3, digest("new"))],
        )
        assert (result.new, result.lost, result.healed) == (1, 0, 0)
        assert shown(meta, version) == expected({0: "a", 1: None, 2: "new", 3: "new"})
        chunk = chunk_of(meta, "new")
        assert (chunk.nonce, chunk.stored_size, chunk.bad) == (missing[digest("new")], 77, False)
        assert meta.usage().uploads == 0

    def test_every_plan_gives_fresh_nonces(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session).version
        nonces = {meta.plan(session, version, [(0, digest("a"))])[digest("a")] for _ in range(20)}
        assert len(nonces) == 20

    def test_the_loser_of_a_race_uses_the_winners_chunk(self, meta: MetaStore) -> None:
        one, two = meta.open_session("backup"), meta.open_session("backup")
        left, right = begin(meta, one, "l").version, begin(meta, two, "r").version
        name = digest("same")
        first, second = meta.plan(one, left, [(0, name)])[name], meta.plan(two, right, [(4, name)])[name]
        assert meta.publish(two, right, [NewChunk(name, second, 10)], [(4, name)]).new == 1
        lost = meta.publish(one, left, [NewChunk(name, first, 10)], [(0, name)])
        assert (lost.new, lost.lost) == (0, 1)
        assert shown(meta, left) == {0: name}
        assert chunk_of(meta, "same").nonce == second
        assert meta.doomed_keys(meta.generation() + 1) == [chunk_key(name, first)]

    def test_a_row_written_twice_by_one_version_is_replaced(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session).version
        write(meta, session, version, {0: "a", 1: "b"})
        write(meta, session, version, {0: "c", 1: None})
        finish(meta, session, version)
        meta.close_session(session)
        assert shown(meta, version) == expected({0: "c", 1: None})
        assert meta.usage().map_rows == 2
        assert len(clean(meta)) == 2
        assert meta.chunk(digest("a")) is None
        assert meta.chunk(digest("c")) is not None

    def test_a_published_chunk_that_no_block_uses_is_cleaned_up(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session).version
        nonce = meta.plan(session, version, [(0, digest("a"))])[digest("a")]
        meta.publish(session, version, [NewChunk(digest("a"), nonce, 10)], [])
        meta.close_session(session)
        assert clean(meta) == [chunk_key(digest("a"), nonce)]

    def test_an_upload_that_was_never_planned_is_refused(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session).version
        with pytest.raises(Exception, match="never planned"):
            meta.publish(session, version, [NewChunk(digest("a"), b"12345678", 10)], [(0, digest("a"))])
        with pytest.raises(Exception, match="no chunk"):
            meta.publish(session, version, [], [(0, digest("a"))])
        assert meta.chunk(digest("a")) is None
        assert shown(meta, version) == {}

    def test_rows_and_statements_depend_on_the_changes_alone(self, meta: MetaStore) -> None:
        costs = set()
        for volume, blocks in (("small", 64), ("large", 2**28)):
            backup(meta, {0: f"first of {volume}"}, volume=volume, blocks=blocks)
            session = meta.open_session("backup")
            version = begin(meta, session, volume, blocks).version
            statements, rows = meta.counters.statements, meta.counters.map_rows_written
            step = blocks // 64
            write(meta, session, version, {index * step: f"{volume} {index}" for index in range(50)})
            costs.add((meta.counters.statements - statements, meta.counters.map_rows_written - rows))
            meta.close_session(session)
        assert len(costs) == 1
        [(_, rows)] = costs
        assert rows == 50

    def test_a_batch_of_one_takes_as_many_statements_as_a_batch_of_many(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session, blocks=1000).version
        costs = set()
        for count in (1, 64):
            before = meta.counters.statements
            write(meta, session, version, {index: f"{count} {index}" for index in range(count)})
            costs.add(meta.counters.statements - before)
        assert len(costs) == 1

    def test_a_finished_version_keeps_its_statistics(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session).version
        statistics = BackupStatistics(1, 2, 3, 4, 5, 6, 7, 8, 9, 1.5)
        promise(meta, session, version, statistics)
        finished = meta.finish_version(session, version)
        assert (finished.state, finished.statistics) == (VersionState.VALID, statistics)
        assert finished.finished is not None
        assert finished.finished.tzinfo is not None
        assert meta.versions() == [finished]

    def test_a_finished_version_cannot_be_written(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session).version
        finish(meta, session, version)
        with pytest.raises(Exception, match="not being written"):
            meta.plan(session, version, [(0, None)])

    def test_the_base_is_held_while_it_is_needed_and_no_longer(self, meta: MetaStore) -> None:
        base = backup(meta, {0: "a"})
        session, other = meta.open_session("backup"), meta.open_session("rm")
        writing = begin(meta, session)
        with pytest.raises(VersionBusy, match=base.uid):
            meta.remove_version(other, base.uid)
        finish(meta, session, writing.version)
        assert meta.remove_version(other, base.uid).state is VersionState.REMOVING

    def test_versions_are_listed_in_the_order_in_which_they_began(self, meta: MetaStore) -> None:
        uids = [backup(meta, {}, volume=volume).uid for volume in ("b", "a", "b")]
        assert [version.uid for version in meta.versions()] == uids
        assert [version.uid for version in meta.versions("b")] == [uids[0], uids[2]]
        assert meta.versions("c") == []

    def test_a_version_is_found_by_the_start_of_its_uid(self, meta: MetaStore) -> None:
        made = [backup(meta, {}, volume=f"v{number}") for number in range(12)]
        assert meta.find_uid(made[3].uid) == [made[3]]
        assert made[3] in meta.find_uid(made[3].uid[:4])
        assert meta.find_uid("") == made[:10]
        assert meta.find_uid("g") == []
        assert meta.find_uid("%") == []

    def test_a_bad_chunk_makes_exactly_the_versions_invalid_that_show_it(self, meta: MetaStore) -> None:
        first = backup(meta, {0: "bad", 1: "good"})
        second = backup(meta, {1: "other"})
        third = backup(meta, {0: "fine"})
        branch = backup(meta, {}, base_uid=first.uid)
        covered = backup(meta, {0: "fine"}, volume="c", base_uid=second.uid)
        small = backup(meta, {5: "bad"}, volume="d", blocks=8)
        cut = backup(meta, {}, volume="d", blocks=5)
        session = meta.open_session("scrub")
        chunk = chunk_of(meta, "bad")
        changed = meta.mark_bad(session, [chunk])
        assert [version.uid for version in changed] == [first.uid, second.uid, branch.uid, small.uid]
        states = {version.uid: version.state for version in meta.versions()}
        assert {uid for uid, state in states.items() if state is VersionState.VALID} == {
            third.uid,
            covered.uid,
            cut.uid,
        }
        assert meta.bad_indexes(first) == [0]
        assert meta.bad_indexes(branch) == [0]
        assert meta.bad_indexes(small) == [5]
        assert meta.bad_indexes(third) == meta.bad_indexes(covered) == meta.bad_indexes(cut) == []
        assert meta.mark_bad(session, [chunk]) == []
        assert meta.refresh_states(session) == []
        back = meta.mark_good(session, [chunk])
        assert [version.uid for version in back] == [first.uid, second.uid, branch.uid, small.uid]
        assert {version.state for version in meta.versions()} == {VersionState.VALID}

    def test_a_version_with_two_bad_chunks_stays_invalid_until_both_are_good(self, meta: MetaStore) -> None:
        version = backup(meta, {0: "x", 1: "y"})
        session = meta.open_session("scrub")
        meta.mark_bad(session, [chunk_of(meta, "x"), chunk_of(meta, "y")])
        assert meta.mark_good(session, [chunk_of(meta, "x")]) == []
        assert [changed.uid for changed in meta.mark_good(session, [chunk_of(meta, "y")])] == [version.uid]

    def test_a_bad_chunk_is_no_match_and_publishing_its_content_heals_it(self, meta: MetaStore) -> None:
        damaged = backup(meta, {0: "a"})
        session = meta.open_session("backup")
        old = chunk_of(meta, "a")
        meta.mark_bad(session, [old])
        version = begin(meta, session).version
        missing = meta.plan(session, version, [(3, digest("a"))])
        assert list(missing) == [digest("a")]
        result = meta.publish(session, version, [NewChunk(digest("a"), missing[digest("a")], 55)], [(3, digest("a"))])
        assert (result.new, result.healed, result.lost) == (0, 1, 0)
        new = chunk_of(meta, "a")
        assert (new.id, new.nonce, new.stored_size, new.bad) == (old.id, missing[digest("a")], 55, False)
        assert meta.doomed_keys(meta.generation() + 1) == [old.key]
        assert finish(meta, session, version).state is VersionState.VALID
        assert [changed.uid for changed in meta.refresh_states(session)] == [damaged.uid]
        assert meta.mark_bad(session, [old]) == []
        assert not chunk_of(meta, "a").bad

    def test_a_version_that_inherits_a_bad_chunk_finishes_invalid(self, meta: MetaStore) -> None:
        backup(meta, {0: "a"})
        session = meta.open_session("backup")
        version = begin(meta, session).version
        meta.mark_bad(session, [chunk_of(meta, "a")])
        assert finish(meta, session, version).state is VersionState.INVALID
