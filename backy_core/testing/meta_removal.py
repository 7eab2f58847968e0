"""The part of the metadata contract suite about pins, removing, purging and cleanup."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backy_core.contracts.meta import MetaStore
from backy_core.errors import NotFound, VersionBusy
from backy_core.model import VersionState
from backy_core.testing.meta_steps import (
    Contents,
    backup,
    begin,
    chunk_of,
    clean,
    digest,
    expected,
    interrupt,
    remove,
    shown,
)

__all__ = ["RemovalConformance"]


class RemovalConformance:
    """What may go, when, and that nothing else does and nothing stays behind."""

    def test_a_pinned_version_is_not_removed_until_the_session_closes(self, meta: MetaStore) -> None:
        version = backup(meta, {0: "a"})
        reader, remover = meta.open_session("restore"), meta.open_session("rm")
        assert meta.pin(reader, version.uid) == version
        with pytest.raises(VersionBusy, match=r"restore.*process \d+"):
            meta.remove_version(remover, version.uid)
        meta.close_session(reader)
        assert meta.remove_version(remover, version.uid).state is VersionState.REMOVING

    def test_an_unpinned_version_may_be_removed_while_the_session_goes_on(self, meta: MetaStore) -> None:
        first, second = backup(meta, {0: "a"}), backup(meta, {0: "b"})
        reader, remover = meta.open_session("scrub"), meta.open_session("rm")
        meta.pin(reader, first.uid)
        meta.pin(reader, second.uid)
        meta.unpin(reader, first.uid)
        meta.unpin(reader, "f" * 16)
        meta.unpin(remover, second.uid)
        assert meta.remove_version(remover, first.uid).state is VersionState.REMOVING
        with pytest.raises(VersionBusy):
            meta.remove_version(remover, second.uid)

    def test_the_pin_of_a_dead_process_holds_nothing(self, meta: MetaStore, another: Callable[[], MetaStore]) -> None:
        version = backup(meta, {0: "a"})
        remover = meta.open_session("rm")
        dying = another()
        dying.pin(dying.open_session("restore"), version.uid)
        dying.close()
        assert meta.remove_version(remover, version.uid).state is VersionState.REMOVING

    def test_what_is_gone_going_or_unfinished_is_not_pinned(self, meta: MetaStore) -> None:
        going = backup(meta, {0: "a"})
        unfinished = interrupt(meta, {}, volume="vm-2")
        session = meta.open_session("rm")
        meta.remove_version(session, going.uid)
        for uid in (going.uid, unfinished.uid, "f" * 16):
            with pytest.raises(NotFound):
                meta.pin(session, uid)

    def test_a_version_is_removed_once_and_purged_however_often(self, meta: MetaStore) -> None:
        version = backup(meta, {0: "a"})
        session = meta.open_session("rm")
        meta.remove_version(session, version.uid)
        assert meta.remove_version(session, version.uid).state is VersionState.REMOVING
        assert meta.purge(session, version.uid).done
        again = meta.purge(session, version.uid)
        assert (again.rows, again.done) == (0, True)
        with pytest.raises(NotFound):
            meta.remove_version(session, version.uid)

    def test_a_version_being_written_is_not_removed(self, meta: MetaStore) -> None:
        writer, remover = meta.open_session("backup"), meta.open_session("rm")
        version = begin(meta, writer).version
        with pytest.raises(VersionBusy, match="being written"):
            meta.remove_version(remover, version.uid)
        meta.close_session(writer)
        assert meta.remove_version(remover, version.uid).state is VersionState.REMOVING

    def test_its_own_session_may_give_up_what_it_is_writing(self, meta: MetaStore) -> None:
        base = backup(meta, {0: "a"})
        session = meta.open_session("backup")
        writing = begin(meta, session)
        meta.plan(session, writing.version, [(1, None)])
        assert meta.remove_version(session, writing.version.uid).state is VersionState.REMOVING
        while not meta.purge(session, writing.version.uid).done:
            pass
        assert [version.uid for version in meta.versions()] == [base.uid]
        # Its pin on the base went with it, though the session goes on.
        assert meta.remove_version(session, base.uid).state is VersionState.REMOVING

    def test_rows_of_a_version_that_is_not_removing_are_never_purged(self, meta: MetaStore) -> None:
        version = backup(meta, {0: "a"})
        with pytest.raises(Exception, match="not removing"):
            meta.purge(meta.open_session("rm"), version.uid)
        assert shown(meta, version) == expected({0: "a"})

    @pytest.mark.parametrize("limit", [1, 2, 512])
    @pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 2, 0, 3), (2, 0, 3, 1)])
    def test_removing_in_any_order_leaves_the_others_whole_and_nothing_behind(
        self, meta: MetaStore, order: tuple[int, ...], limit: int
    ) -> None:
        steps: list[Contents] = [
            {0: "a0", 1: "a1", 2: "a2", 3: None},
            {0: "b0", 3: "b3"},
            {1: None, 3: "c3", 4: "c4"},
            {0: "d0", 4: None},
        ]
        made, contents, state = [], [], dict[int, str | None]()
        for step in steps:
            made.append(backup(meta, step))
            state.update(step)
            contents.append(dict(state))
        left = set(range(4))
        for number in order:
            remove(meta, made[number], limit=limit)
            left.discard(number)
            for other in left:
                assert shown(meta, made[other]) == expected(contents[other])
        clean(meta)
        usage = meta.usage()
        assert (usage.versions, usage.map_rows, usage.chunks, usage.queued_chunks) == (0, 0, 0, 0)

    def test_a_branch_keeps_what_it_sees_of_a_removed_base(self, meta: MetaStore) -> None:
        first = backup(meta, {0: "a", 1: "b"})
        second = backup(meta, {0: "c"})
        third = backup(meta, {1: "d"}, base_uid=first.uid)
        remove(meta, first, second)
        assert shown(meta, third) == expected({0: "a", 1: "d"})
        remove(meta, third)
        clean(meta)
        usage = meta.usage()
        assert (usage.map_rows, usage.chunks) == (0, 0)

    @pytest.mark.parametrize("limit", [1, 2, 512])
    def test_what_only_a_branch_saw_of_its_parent_goes_with_the_branch(self, meta: MetaStore, limit: int) -> None:
        first = backup(meta, {0: "a"})
        second = backup(meta, {0: "b"})
        branch = backup(meta, {1: "x"}, base_uid=first.uid)
        remove(meta, first, limit=limit)
        assert shown(meta, branch) == expected({0: "a", 1: "x"})
        remove(meta, branch, limit=limit)
        assert shown(meta, second) == expected({0: "b"})
        clean(meta)
        assert (meta.usage().map_rows, meta.usage().chunks) == (1, 1)

    def test_neighbours_may_be_purged_in_turns(self, meta: MetaStore) -> None:
        versions = [backup(meta, {index: f"{number} {index}" for index in range(6)}) for number in range(5)]
        session = meta.open_session("rm")
        for version in versions[1:4]:
            meta.remove_version(session, version.uid)
        going = [version.uid for version in versions[1:4]]
        while going:
            going = [uid for uid in going if not meta.purge(session, uid, 1).done]
        assert shown(meta, versions[0]) == expected({index: f"0 {index}" for index in range(6)})
        assert shown(meta, versions[4]) == expected({index: f"4 {index}" for index in range(6)})
        assert meta.usage().map_rows == 12

    def test_an_abandoned_version_holds_nobody_up(self, meta: MetaStore) -> None:
        base = backup(meta, {0: "a", 1: "b"})
        old = interrupt(meta, {0: "x"})
        remove(meta, base)
        assert [version.uid for version in meta.versions()] == [old.uid]
        remove(meta, old)
        clean(meta)
        assert meta.usage().chunks == meta.usage().map_rows == 0

    def test_only_chunks_that_nothing_uses_are_doomed(self, meta: MetaStore) -> None:
        first = backup(meta, {0: "shared", 1: "lonely"})
        backup(meta, {0: "shared"}, volume="other")
        lonely = chunk_of(meta, "lonely")
        remove(meta, first)
        session = meta.open_session("cleanup")
        step = meta.doom_chunks(session)
        assert (step.examined, step.doomed, step.stored_bytes) == (2, 1, 100)
        assert meta.doom_chunks(session).examined == 0
        assert meta.chunk(digest("shared")) is not None
        assert meta.chunk(digest("lonely")) is None
        assert meta.doomed_keys(meta.generation() + 1) == [lonely.key]

    def test_a_chunk_used_again_after_it_was_queued_is_kept(self, meta: MetaStore) -> None:
        first = backup(meta, {0: "a"})
        remove(meta, first)
        again = backup(meta, {0: "a"})
        assert clean(meta) == []
        assert shown(meta, again) == expected({0: "a"})

    def test_content_that_was_doomed_comes_back_under_another_key(self, meta: MetaStore) -> None:
        first = backup(meta, {0: "a"})
        old = chunk_of(meta, "a")
        remove(meta, first)
        assert clean(meta) == [old.key]
        backup(meta, {0: "a"})
        assert chunk_of(meta, "a").key != old.key
        assert meta.doomed_keys(10) == [old.key]

    def test_a_key_may_be_deleted_only_in_a_later_generation(self, meta: MetaStore) -> None:
        session = meta.open_session("cleanup")
        assert meta.next_generation(session) == 1
        meta.doom_keys(session, ["gens/0"])
        assert meta.doomed_keys(1) == []
        assert meta.next_generation(session) == 2
        meta.doom_keys(session, ["gens/0", "gens/1"])
        assert meta.doomed_keys(2) == ["gens/0"]
        assert meta.doomed_keys(3, limit=1) == ["gens/0"]
        meta.forget_doomed(session, ["gens/0", "gens/never"])
        assert meta.doomed_keys(3) == ["gens/1"]
        assert meta.generation() == 2

    def test_a_chunks_key_is_never_doomed_from_outside(self, meta: MetaStore) -> None:
        backup(meta, {0: "a"})
        with pytest.raises(Exception, match="chunk"):
            meta.doom_keys(meta.open_session("cleanup"), [chunk_of(meta, "a").key])
        assert meta.doomed_keys(9) == []

    def test_usage_counts_what_is_there(self, meta: MetaStore) -> None:
        backup(meta, {0: "a", 1: "b", 2: None, 3: "a"})
        session = meta.open_session("scrub")
        meta.mark_bad(session, [chunk_of(meta, "a")])
        usage = meta.usage()
        assert (usage.versions, usage.chunks, usage.stored_bytes, usage.bad_chunks) == (1, 2, 200, 1)
        assert (usage.map_rows, usage.uploads, usage.doomed_keys, usage.queued_chunks) == (4, 0, 0, 0)
