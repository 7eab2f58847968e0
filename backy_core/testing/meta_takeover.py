"""The part of the metadata contract suite about taking versions over from the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from backy_core.contracts.meta import MOST_TAKEN, MetaStore
from backy_core.errors import InternalError
from backy_core.model import (
    Attributes,
    Protection,
    Segment,
    SegmentPiece,
    Version,
    VersionState,
    attributes_key,
)
from backy_core.testing.meta_steps import (
    BLOCK,
    FACTS,
    NOW,
    Contents,
    Rows,
    backup,
    begin,
    clean,
    described,
    digest,
    expected,
    finish,
    interrupt,
    remove,
    rows,
    shown,
    take_over,
    write,
)

__all__ = ["TakeoverConformance"]


def data(meta: MetaStore, version: Version) -> dict[int, bytes]:
    return {index: name for index, name in shown(meta, version).items() if name is not None}


def doomed(meta: MetaStore) -> set[str]:
    return set(meta.doomed_keys(meta.generation() + 1))


def copied(meta: MetaStore, versions: Sequence[Version]) -> list[tuple[Version, Rows, list[Segment], dict[int, bytes]]]:
    """All that manifests and segments say of these versions."""
    return [(v, list(meta.entries(v, None)), meta.segments(v), data(meta, v)) for v in versions]


class TakeoverConformance:
    """A database made anew, or made right, from descriptions; beside one that is in use."""

    def test_a_version_is_taken_over_with_all_that_is_said_of_it(self, another: Callable[[], MetaStore]) -> None:
        meta = another()
        session = meta.open_session("rebuild")
        attributes = Attributes(("a", "b"), Protection("why", "who", NOW), NOW)
        wished = described("a", 7, 3, identity="i", base_uid="b" * 16, attributes=attributes)
        piece = SegmentPiece(digest("p"), b"12345678", 70, 2)
        segment = Segment(7, 0, 2, (piece, SegmentPiece(digest("q"), b"12345678", 70, 5)))
        taken = take_over(meta, session, wished, rows({2: "x", 3: None, 5: "y"}), [segment], 4)
        assert taken == wished
        assert meta.versions() == [taken]
        assert shown(meta, taken) == expected({2: "x", 5: "y"})
        [listed] = meta.segments(taken)
        assert replace(listed, id=0) == segment
        assert meta.keys_of(taken.uid)[1:] == [attributes_key(taken.uid, 4)]
        assert (meta.pending_attributes(), meta.promises()) == ([], [])
        meta.initialise(FACTS)
        assert (meta.generation(), meta.fences()) == (0, [])
        # Whatever comes later finds its place above.
        session = meta.open_session("backup")
        writing = begin(meta, session)
        assert writing.base == taken
        assert (writing.version.lineage, writing.version.birth) == (7, 4)
        write(meta, session, writing.version, {2: "z"})
        assert shown(meta, finish(meta, session, writing.version)) == expected({2: "z", 5: "y"})
        assert begin(meta, session, "vm-2").version.lineage > 7

    def test_what_was_removed_is_taken_over_as_it_was(self, meta: MetaStore) -> None:
        first = backup(meta, {0: "a", 1: "b", 7: "c"})
        second = backup(meta, {1: None, 2: "d"}, blocks=5)
        third = backup(meta, {0: "e"}, blocks=9)
        branch = backup(meta, {5: "f"}, base_uid=first.uid)
        newest = backup(meta, {5: "g"})
        other = backup(meta, {0: "a"}, "vm-2", base_uid=second.uid)
        assert newest.lineage == branch.lineage
        versions = [first, second, third, branch, newest, other]
        before = copied(meta, versions)
        map_rows = meta.usage().map_rows
        remove(meta, *versions)
        clean(meta)
        session = meta.open_session("reconcile")
        for version, entries, segments, _ in before:
            assert take_over(meta, session, version, entries, segments) == version
        assert meta.versions() == versions
        assert [data(meta, version) for version in versions] == [shows for *_, shows in before]
        assert meta.usage().map_rows <= map_rows
        assert meta.refresh_states(session) == [replace(v, state=VersionState.INVALID) for v in versions]

    def test_a_version_without_its_predecessor_or_parent_stands_alone(self, meta: MetaStore) -> None:
        first = backup(meta, {0: "a", 1: "b"})
        second = backup(meta, {1: "c"})
        backup(meta, {0: "x"})
        branch = backup(meta, {2: "d"}, base_uid=second.uid)
        before = copied(meta, [second, branch])
        remove(meta, *meta.versions())
        clean(meta)
        session = meta.open_session("reconcile")
        (second, entries, _, _), (branch, more, _, shows) = before
        lonely = take_over(meta, session, branch, more)
        assert (lonely.parent, lonely.lineage, lonely.birth) == (None, branch.lineage, branch.birth)
        assert data(meta, lonely) == shows
        late = take_over(meta, session, second, entries)
        assert (late.lineage, late.birth) == (first.lineage, second.birth)
        assert data(meta, late) == {0: digest("a"), 1: digest("c")}
        assert data(meta, lonely) == shows

    def test_a_database_that_is_behind_says_so_until_it_was_made_right(
        self, meta: MetaStore, another: Callable[[], MetaStore]
    ) -> None:
        assert not meta.is_behind()
        dying = another()
        dying.set_behind(dying.open_session("reconcile"), True)
        dying.close()
        assert meta.is_behind()
        session = meta.open_session("reconcile")
        meta.next_generation(session, 100)
        assert meta.is_behind()
        meta.set_behind(session, False)
        assert not another().is_behind()

    def test_rows_that_are_inherited_are_not_written(self, meta: MetaStore) -> None:
        session = meta.open_session("reconcile")
        contents: Contents = {index: f"c{index}" for index in range(6)}
        take_over(meta, session, described("a"), rows(contents))
        placed = meta.place_version(session, described("b", birth=2))
        before = meta.counters.map_rows_written
        wished: Contents = {**contents, 1: "new", 2: None, 6: None, 7: "seven"}
        assert meta.take_rows(session, placed, rows(wished)) == 3
        assert meta.counters.map_rows_written - before == 3
        taken = meta.take_version(session, placed, [], 0)
        assert shown(meta, taken) == {**expected(contents), 1: digest("new"), 2: None, 7: digest("seven")}

    def test_rows_come_ascending_and_not_too_many_at_once(self, meta: MetaStore) -> None:
        session = meta.open_session("reconcile")
        placed = meta.place_version(session, described("a"))
        with pytest.raises(InternalError):
            meta.take_rows(session, placed, [(index, None) for index in range(MOST_TAKEN + 1)])
        for wrong in ([(1, None), (0, None)], [(1, None), (1, digest("a"))]):
            with pytest.raises(InternalError, match="ascending"):
                meta.take_rows(session, placed, wrong)
        assert meta.take_rows(session, placed, []) == 0

    def test_a_version_is_seen_only_when_it_was_taken(self, meta: MetaStore) -> None:
        base = backup(meta, {0: "a"})
        session = meta.open_session("reconcile")
        placed = meta.place_version(session, replace(base, uid="f" * 16, birth=base.birth + 1))
        meta.take_rows(session, placed, rows({0: "b", 1: "c"}))
        assert meta.versions() == [base]
        assert shown(meta, base) == expected({0: "a"})
        # A backup that begins meanwhile shows nothing of it, neither now nor later.
        writer = meta.open_session("backup")
        writing = begin(meta, writer)
        assert writing.base == base
        assert writing.version.lineage != base.lineage
        assert shown(meta, writing.version) == expected({0: "a"})
        taken = meta.take_version(session, placed, [], 0)
        assert shown(meta, finish(meta, writer, writing.version)) == expected({0: "a"})
        assert shown(meta, taken) == expected({0: "b", 1: "c"})

    def test_no_backup_begins_above_a_place_before_its_rows_are_there(self, meta: MetaStore) -> None:
        base = backup(meta, {0: "a"})
        session, writer = meta.open_session("reconcile"), meta.open_session("backup")
        placed = meta.place_version(session, replace(base, uid="f" * 16, birth=base.birth + 1))
        writing = begin(meta, writer)
        meta.take_rows(session, placed, rows({0: "b", 1: "c"}))
        taken = meta.take_version(session, placed, [], 0)
        assert shown(meta, finish(meta, writer, writing.version)) == expected({0: "a"})
        assert shown(meta, taken) == expected({0: "b", 1: "c"})

    def test_a_place_that_is_seen_from_above_is_not_given_again(self, meta: MetaStore) -> None:
        first = backup(meta, {0: "a"})
        second = backup(meta, {0: "b"})
        third = backup(meta, {0: "c"})
        backup(meta, {1: "branch"}, base_uid=second.uid)
        session = meta.open_session("reconcile")
        before = {v.uid: shown(meta, v) for v in meta.versions()}
        for number, birth in enumerate((first.birth, second.birth, third.birth)):
            made = take_over(meta, session, replace(first, uid=f"{number}" * 16, birth=birth), rows({5: "new"}))
            assert made.lineage not in {v.lineage for v in meta.versions() if v.uid != made.uid}
            assert made.parent is None
            assert shown(meta, made) == expected({5: "new"})
        remove(meta, third)
        # Another lineage branches from the second, so that birth stays taken; the third's is free.
        again = take_over(meta, session, replace(third, uid="9" * 16), rows({0: "b", 5: "x"}))
        assert (again.lineage, again.birth) == (third.lineage, third.birth)
        assert data(meta, again) == {0: digest("b"), 5: digest("x")}
        after = {v.uid: shown(meta, v) for v in meta.versions()}
        assert {uid: after[uid] for uid in before if uid != third.uid} == {
            uid: shows for uid, shows in before.items() if uid != third.uid
        }

    def test_nothing_is_placed_where_a_run_is_writing(self, meta: MetaStore) -> None:
        base = backup(meta, {0: "a"})
        unfinished = interrupt(meta, {1: "x"})
        assert unfinished.lineage == base.lineage
        session = meta.open_session("reconcile")
        made = take_over(meta, session, replace(base, uid="f" * 16, birth=9), rows({0: "a"}))
        assert made.lineage != base.lineage
        assert shown(meta, made) == expected({0: "a"})

    def test_nothing_is_placed_in_a_lineage_of_another_volume_or_block_size(self, meta: MetaStore) -> None:
        base = backup(meta, {0: "a"})
        session = meta.open_session("reconcile")
        above = replace(base, birth=base.birth + 1)
        for version in (
            replace(above, uid="f" * 16, volume="vm-2"),
            replace(above, uid="e" * 16, block_size=2 * BLOCK),
        ):
            made = take_over(meta, session, version, rows({1: "b"}))
            assert made.lineage != base.lineage
            assert (made.volume, made.block_size) == (version.volume, version.block_size)
            assert shown(meta, made) == expected({1: "b"})

    @pytest.mark.parametrize("alone", [False, True])
    def test_a_killed_run_leaves_rows_that_the_next_one_clears(
        self, meta: MetaStore, another: Callable[[], MetaStore], alone: bool
    ) -> None:
        base = backup(meta, {0: "a"})
        version = replace(base, uid="f" * 16, birth=base.birth if alone else base.birth + 1)
        for attempt in range(3):
            dying = another()
            session = dying.open_session("reconcile")
            placed = dying.place_version(session, version)
            assert (placed.lineage == base.lineage) is not alone
            dying.take_rows(session, placed, rows({attempt: "old", attempt + 4: "old"}))
            dying.close()
            assert meta.usage().map_rows == 3
        session = meta.open_session("reconcile")
        taken = take_over(meta, session, version, rows({0: "b"}))
        assert taken.lineage == placed.lineage
        assert shown(meta, taken) == expected({0: "b"})
        assert shown(meta, base) == expected({0: "a"})
        assert meta.usage().map_rows == 2
        remove(meta, taken, base)
        clean(meta)
        assert (meta.usage().map_rows, meta.usage().chunks) == (0, 0)

    def test_rows_of_a_run_that_was_given_up_never_show(
        self, meta: MetaStore, another: Callable[[], MetaStore]
    ) -> None:
        base = backup(meta, {0: "a"})
        dying = another()
        session = dying.open_session("reconcile")
        placed = dying.place_version(session, replace(base, uid="f" * 16, birth=base.birth + 5))
        dying.take_rows(session, placed, rows({1: "old"}))
        dying.close()
        assert shown(meta, backup(meta, {2: "b"})) == expected({0: "a", 2: "b"})
        session = meta.open_session("reconcile")
        below = take_over(meta, session, replace(base, uid="e" * 16, birth=base.birth + 1), rows({0: "c"}))
        assert below.lineage == base.lineage
        assert shown(meta, below) == expected({0: "c"})
        assert shown(meta, backup(meta, {3: "d"}, base_uid=below.uid)) == expected({0: "c", 3: "d"})

    def test_only_the_run_that_placed_a_version_writes_it(self, meta: MetaStore) -> None:
        one, two = meta.open_session("reconcile"), meta.open_session("reconcile")
        version = described("a")
        placed = meta.place_version(one, version)
        for step in (
            lambda: meta.take_rows(two, placed, rows({0: "a"})),
            lambda: meta.take_version(two, placed, [], 0),
            lambda: meta.take_rows(one, replace(placed, birth=2), rows({0: "a"})),
            lambda: meta.take_version(one, replace(placed, lineage=8), [], 0),
        ):
            with pytest.raises(InternalError, match="not placed"):
                step()
        again = meta.place_version(two, version)
        with pytest.raises(InternalError, match="not placed"):
            meta.take_rows(one, placed, rows({0: "a"}))
        taken = meta.take_version(two, again, [], 0)
        with pytest.raises(InternalError, match="known already"):
            meta.place_version(two, version)
        with pytest.raises(InternalError, match="not placed"):
            meta.take_version(two, again, [], 0)
        assert meta.versions() == [taken]

    def test_what_a_placed_version_inherits_is_not_purged_under_it(self, meta: MetaStore) -> None:
        first, second = backup(meta, {0: "a", 1: "b"}), backup(meta, {1: "c"})
        session = meta.open_session("reconcile")
        placed = meta.place_version(session, replace(second, uid="f" * 16, birth=second.birth + 1))
        meta.take_rows(session, placed, rows({0: "a", 1: "c"}))
        remove(meta, first, second)
        clean(meta)
        meta.take_rows(session, placed, rows({2: "d"}))
        taken = meta.take_version(session, placed, [], 0)
        assert shown(meta, taken) == expected({0: "a", 1: "c", 2: "d"})
