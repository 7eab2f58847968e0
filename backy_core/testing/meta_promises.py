"""The part of the metadata contract suite about fences, promised manifests, attributes and protection."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from backy_core.contracts.meta import Fence, MetaStore, PendingAttributes
from backy_core.errors import Guarded, InternalError, NotFound, RepositoryError, VersionBusy
from backy_core.model import (
    NO_ATTRIBUTES,
    Attributes,
    BackupStatistics,
    Protection,
    Version,
    VersionState,
    attributes_key,
    manifest_key,
)
from backy_core.testing.meta_steps import (
    FACTS,
    NOW,
    add_segment,
    backup,
    begin,
    chunk_of,
    clean,
    expected,
    finish,
    interrupt,
    promise,
    remove,
    shown,
    write,
)

__all__ = ["PromisesConformance"]

SOON = datetime.now(UTC) + timedelta(days=365)
FULL = Attributes(("daily", "kept"), Protection("audit", "ann", SOON), NOW)


def promised(meta: MetaStore, attributes: Attributes = NO_ATTRIBUTES) -> Version:
    """A version whose run ended after it was promised."""
    session = meta.open_session("backup")
    version = begin(meta, session).version
    write(meta, session, version, {0: "promised"})
    promise(meta, session, version, attributes=attributes)
    meta.close_session(session)
    return version


class PromisesConformance:
    """What is decided in the database before it is put into the store is neither lost nor decided twice."""

    def test_every_change_of_what_the_store_says_begins_a_generation(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session).version
        write(meta, session, version, {0: "a"})
        assert (meta.generation(), meta.fences()) == (0, [])
        promise(meta, session, version)
        assert meta.generation() == 1
        meta.finish_version(session, version)
        assert meta.generation() == 1
        meta.set_attributes(session, version.uid, Attributes(("t",)))
        assert meta.generation() == 2
        meta.attributes_stored(session, version.uid, 1)
        meta.remove_version(session, version.uid)
        assert meta.generation() == 3
        meta.remove_version(session, version.uid)
        meta.purge(session, version.uid)
        assert meta.generation() == 3
        assert meta.next_generation(session) == 4
        assert [fence.generation for fence in meta.fences()] == [1, 2, 3, 4]

    def test_fences_are_pending_until_they_are_confirmed_whoever_began_them(
        self, meta: MetaStore, another: Callable[[], MetaStore]
    ) -> None:
        dying = another()
        session = dying.open_session("cleanup")
        for _ in range(3):
            dying.next_generation(session)
        dying.close()
        fences = meta.fences()
        assert [fence.generation for fence in fences] == [1, 2, 3]
        assert len({fence.token for fence in fences}) == 3
        assert all(len(fence.token) == 32 and int(fence.token, 16) >= 0 for fence in fences)
        session = meta.open_session("cleanup")
        meta.fences_stored(session, [1, 3, 99])
        assert meta.fences() == [fences[1]] == [Fence(2, fences[1].token)]
        meta.fences_stored(session, [2])
        assert meta.fences() == []
        assert meta.generation() == 3

    def test_the_next_generation_is_above_what_the_store_has(self, meta: MetaStore) -> None:
        session = meta.open_session("cleanup")
        assert meta.next_generation(session, 41) == 42
        assert meta.next_generation(session, 7) == 43
        assert meta.next_generation(session, 43) == 44
        assert [fence.generation for fence in meta.fences()] == [42, 43, 44]

    def test_a_step_that_fails_begins_no_generation(self, meta: MetaStore) -> None:
        version = backup(meta, {0: "a"})
        session, reader = meta.open_session("rm"), meta.open_session("restore")
        meta.pin(reader, version.uid)
        before = meta.generation(), meta.fences()
        for step in (
            lambda: meta.remove_version(session, version.uid),
            lambda: meta.remove_version(session, "f" * 16),
            lambda: meta.set_attributes(session, "f" * 16, FULL),
            lambda: promise(meta, session, version),
        ):
            with pytest.raises((VersionBusy, NotFound, InternalError)):
                step()
        assert before == (meta.generation(), meta.fences())

    def test_without_a_repository_there_is_no_generation_to_raise(self, another: Callable[[], MetaStore]) -> None:
        empty = another()
        session = empty.open_session("rebuild")
        with pytest.raises(RepositoryError):
            empty.next_generation(session)
        empty.initialise(FACTS)
        assert empty.next_generation(session, 10) == 11

    def test_a_promised_version_shows_nothing_yet_of_how_it_ended(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session).version
        manifest = promise(meta, session, version, BackupStatistics(read_bytes=7), FULL)
        [unfinished] = meta.versions()
        assert unfinished.state is VersionState.WRITING
        assert (unfinished.finished, unfinished.statistics) == (None, None)
        assert unfinished.manifest == sha256(manifest).digest()
        assert unfinished.attributes == FULL
        assert meta.promises() == []
        finished = meta.finish_version(session, version)
        assert (finished.state, finished.finished) == (VersionState.VALID, NOW)
        assert finished.statistics == BackupStatistics(read_bytes=7)
        assert finished.manifest == sha256(manifest).digest()
        assert finished.attributes == FULL

    def test_a_promised_version_can_only_be_finished(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session).version
        write(meta, session, version, {0: "a"})
        promise(meta, session, version)
        for step in (
            lambda: meta.plan(session, version, [(0, None)]),
            lambda: meta.publish(session, version, [], [], 5),
            lambda: meta.link_segments(session, version, []),
            lambda: add_segment(meta, session, version),
            lambda: promise(meta, session, version),
        ):
            with pytest.raises(InternalError, match="not being written"):
                step()
        assert meta.finish_version(session, version).state is VersionState.VALID
        assert shown(meta, version) == expected({0: "a"})

    def test_what_was_not_promised_is_not_finished(self, meta: MetaStore) -> None:
        session = meta.open_session("backup")
        version = begin(meta, session).version
        with pytest.raises(InternalError, match="not promised"):
            meta.finish_version(session, version)
        old = interrupt(meta, {}, volume="other")
        with pytest.raises(InternalError, match="not promised"):
            meta.finish_version(session, old)
        assert meta.promises() == []

    def test_a_promise_outlives_its_process_and_any_other_keeps_it(
        self, meta: MetaStore, another: Callable[[], MetaStore]
    ) -> None:
        dying = another()
        session = dying.open_session("backup")
        version = begin(dying, session).version
        write(dying, session, version, {0: "a", 1: None})
        manifest = promise(dying, session, version)
        mending = meta.open_session("backup")
        assert meta.promises() == []
        with pytest.raises(VersionBusy):
            meta.finish_version(mending, version)
        dying.close()
        meta.reap()
        [found] = meta.promises()
        assert (found.version.uid, found.version.interrupted, found.manifest) == (version.uid, True, manifest)
        finished = meta.finish_version(mending, found.version)
        assert (finished.state, finished.interrupted) == (VersionState.VALID, False)
        assert meta.promises() == []
        # Another run had the same idea.
        assert another().finish_version(meta.open_session("backup"), found.version) == finished
        assert shown(meta, finished) == expected({0: "a", 1: None})

    def test_promises_are_listed_in_the_order_in_which_their_versions_began(self, meta: MetaStore) -> None:
        first, second = promised(meta), promised(meta)
        assert [found.version.uid for found in meta.promises()] == [first.uid, second.uid]
        assert len({found.manifest for found in meta.promises()}) == 2

    def test_a_promised_version_is_neither_continued_nor_purged(self, meta: MetaStore) -> None:
        base = backup(meta, {0: "a", 5: "b"})
        kept = promised(meta)
        again = begin(meta, meta.open_session("backup"))
        assert not again.continued
        assert again.base == base
        assert again.version.uid != kept.uid
        assert shown(meta, again.version) == expected({0: "a", 5: "b"})
        other = begin(meta, meta.open_session("backup"), blocks=9)
        assert not other.continued
        assert [found.version.uid for found in meta.promises()] == [kept.uid]
        finished = meta.finish_version(meta.open_session("backup"), kept)
        assert shown(meta, finished) == expected({0: "promised", 5: "b"})

    def test_a_promised_version_keeps_what_it_sees_of_a_base_that_was_removed(self, meta: MetaStore) -> None:
        base = backup(meta, {0: "a", 5: "b"})
        kept = promised(meta)
        remove(meta, base)
        clean(meta)
        finished = meta.finish_version(meta.open_session("backup"), kept)
        assert shown(meta, finished) == expected({0: "promised", 5: "b"})

    def test_a_promised_version_that_uses_a_bad_chunk_finishes_invalid(self, meta: MetaStore) -> None:
        version = promised(meta)
        session = meta.open_session("scrub")
        meta.mark_bad(session, [chunk_of(meta, "promised")])
        assert meta.finish_version(session, version).state is VersionState.INVALID

    def test_an_interrupted_promised_version_may_be_removed_and_is_not_finished_then(self, meta: MetaStore) -> None:
        version = promised(meta)
        session = meta.open_session("rm")
        removing = meta.remove_version(session, version.uid)
        assert (removing.state, removing.finished, removing.statistics) == (VersionState.REMOVING, None, None)
        assert meta.promises() == []
        with pytest.raises(NotFound):
            meta.finish_version(session, version)
        # Its manifest may have been put by the run that promised it.
        assert meta.keys_of(version.uid) == [manifest_key(version.uid)]
        assert meta.purge(session, version.uid).done
        clean(meta)
        assert (meta.usage().versions, meta.usage().map_rows, meta.usage().chunks) == (0, 0, 0)

    def test_attributes_are_pending_until_their_object_is_confirmed(
        self, meta: MetaStore, another: Callable[[], MetaStore]
    ) -> None:
        version, other = backup(meta, {}), backup(meta, {}, volume="vm-2")
        assert version.attributes == NO_ATTRIBUTES
        assert meta.pending_attributes() == []
        dying = another()
        gone = dying.open_session("tag")
        assert dying.set_attributes(gone, version.uid, FULL) == 1
        assert dying.set_attributes(gone, other.uid, Attributes(("x",))) == 1
        assert dying.set_attributes(gone, version.uid, Attributes(expires=NOW)) == 2
        dying.close()
        assert meta.pending_attributes() == [
            PendingAttributes(version.uid, 2, Attributes(expires=NOW)),
            PendingAttributes(other.uid, 1, Attributes(("x",))),
        ]
        assert [found.attributes for found in meta.versions()] == [Attributes(expires=NOW), Attributes(("x",))]
        session = meta.open_session("tag")
        meta.attributes_stored(session, version.uid, 1)
        assert len(meta.pending_attributes()) == 2
        meta.attributes_stored(session, version.uid, 2)
        meta.attributes_stored(session, other.uid, 1)
        assert meta.pending_attributes() == []
        assert meta.set_attributes(session, version.uid, NO_ATTRIBUTES) == 3
        assert meta.pending_attributes() == [PendingAttributes(version.uid, 3, NO_ATTRIBUTES)]

    def test_the_keys_of_older_attributes_are_doomed_with_the_confirmation_of_newer_ones(self, meta: MetaStore) -> None:
        version = backup(meta, {})
        session = meta.open_session("tag")
        for _ in range(5):
            meta.set_attributes(session, version.uid, FULL)
        keys = [attributes_key(version.uid, serial) for serial in range(6)]

        def doomed() -> list[str]:
            return meta.doomed_keys(meta.generation() + 1)

        assert doomed() == []
        meta.attributes_stored(session, version.uid, 3)
        assert doomed() == keys[1:3]
        assert meta.keys_of(version.uid) == [manifest_key(version.uid), *keys[3:]]
        meta.attributes_stored(session, version.uid, 2)
        assert doomed() == keys[1:3]
        meta.attributes_stored(session, version.uid, 5)
        assert doomed() == keys[1:5]
        with pytest.raises(InternalError):
            meta.attributes_stored(session, version.uid, 6)
        meta.attributes_stored(session, "f" * 16, 1)

    def test_only_a_finished_version_gets_new_attributes(self, meta: MetaStore) -> None:
        going, unfinished, waiting = backup(meta, {}), interrupt(meta, {}, volume="vm-2"), promised(meta, FULL)
        session = meta.open_session("rm")
        meta.remove_version(session, going.uid)
        for uid in (going.uid, unfinished.uid, waiting.uid, "f" * 16):
            with pytest.raises(NotFound):
                meta.set_attributes(session, uid, Attributes(("t",)))
        assert meta.pending_attributes() == []
        assert meta.finish_version(session, waiting).attributes == FULL

    def test_a_version_names_all_its_keys_until_it_is_purged(self, meta: MetaStore) -> None:
        version = backup(meta, {0: "a"})
        session = meta.open_session("rm")
        assert meta.keys_of(version.uid) == [manifest_key(version.uid)]
        meta.set_attributes(session, version.uid, FULL)
        meta.set_attributes(session, version.uid, NO_ATTRIBUTES)
        keys = [manifest_key(version.uid), attributes_key(version.uid, 1), attributes_key(version.uid, 2)]
        assert meta.keys_of(version.uid) == keys
        meta.remove_version(session, version.uid)
        assert meta.pending_attributes() == []
        assert meta.keys_of(version.uid) == keys
        meta.purge(session, version.uid)
        with pytest.raises(NotFound):
            meta.keys_of(version.uid)

    @pytest.mark.parametrize("until", [None, SOON])
    def test_a_protected_version_is_not_removed(self, meta: MetaStore, until: datetime | None) -> None:
        session = meta.open_session("rm")
        version = begin(meta, session).version
        finish(meta, session, version, Attributes(protected=Protection("audit", "ann", until)))
        with pytest.raises(Guarded, match="unprotect"):
            meta.remove_version(session, version.uid)
        assert meta.versions()[0].state is VersionState.VALID
        meta.set_attributes(session, version.uid, NO_ATTRIBUTES)
        assert meta.remove_version(session, version.uid).state is VersionState.REMOVING

    def test_a_protection_that_has_run_out_holds_nothing(self, meta: MetaStore) -> None:
        version = backup(meta, {})
        session = meta.open_session("rm")
        past = datetime.now(UTC) - timedelta(minutes=1)
        meta.set_attributes(session, version.uid, Attributes(protected=Protection(until=past)))
        assert meta.remove_version(session, version.uid).state is VersionState.REMOVING

    def test_a_promised_version_is_as_protected_as_it_will_be(self, meta: MetaStore) -> None:
        version = promised(meta, FULL)
        with pytest.raises(Guarded):
            meta.remove_version(meta.open_session("rm"), version.uid)
        assert [found.version.uid for found in meta.promises()] == [version.uid]
