"""The part of the store suite about many objects: list, delete, threads, leaks."""

from __future__ import annotations

import gc
import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from backy_core.contracts.store import Store
from backy_core.errors import ObjectExists, ObjectMissing
from backy_core.testing.store_objects import Reopen, fresh

__all__ = ["ListingConformance"]


class ListingConformance:
    """Not to be subclassed alone: see `backy_core.testing.store.StoreConformance`."""

    many = 10_050

    # -- list ----------------------------------------------------------------------------------------------------

    def test_a_prefix_is_the_beginning_of_a_key_not_a_folder(self, store: Store) -> None:
        stem = f"p{secrets.token_hex(6)}"
        names = ["c/aa/11-x", "c/aa/12-x", "c/ab/11-x", "c/b", "ca", "d/c/aa/11-x", "c.d/e"]
        keys = {name: f"{stem}/{name}" for name in names}
        for number, key in enumerate(keys.values()):
            store.put(key, [bytes(number)])
        store.sync()

        def listed(prefix: str) -> list[str]:
            found = [info.key.removeprefix(f"{stem}/") for info in store.list(prefix)]
            assert len(found) == len(set(found))
            return sorted(found)

        assert listed(stem) == listed(f"{stem}/") == sorted(names)
        assert listed(f"{stem}/c") == ["c.d/e", "c/aa/11-x", "c/aa/12-x", "c/ab/11-x", "c/b", "ca"]
        assert listed(f"{stem}/c/") == ["c/aa/11-x", "c/aa/12-x", "c/ab/11-x", "c/b"]
        assert listed(f"{stem}/c/a") == ["c/aa/11-x", "c/aa/12-x", "c/ab/11-x"]
        assert listed(f"{stem}/c/aa") == listed(f"{stem}/c/aa/") == ["c/aa/11-x", "c/aa/12-x"]
        assert listed(f"{stem}/c/aa/11") == listed(f"{stem}/c/aa/11-x") == ["c/aa/11-x"]
        assert listed(f"{stem}/c/aa/11-xy") == listed(f"{stem}/e") == listed(f"{stem}/c/aa/11-x/") == []
        assert {info.key: info.size for info in store.list(f"{stem}/")} == {
            key: number for number, key in enumerate(keys.values())
        }

    @pytest.mark.parametrize("prefix", ["/", "..", "../", "a/../", "//", ".", "A", "a//", "%2e", "*", "c/*", "[a-z]"])
    def test_a_prefix_that_no_key_can_have_finds_nothing(self, store: Store, prefix: str) -> None:
        store.put(fresh("a/"), [b"x"])
        store.sync()
        assert list(store.list(prefix)) == []

    def test_more_than_ten_thousand_objects_are_listed_each_once(self, store: Store) -> None:
        stem = f"many{secrets.token_hex(6)}"
        keys = [f"{stem}/{number % 16:x}/{number}" for number in range(self.many)]
        with ThreadPoolExecutor(store.parallel_requests) as pool:
            list(pool.map(lambda key: store.put(key, [b"x"]), keys))
        store.sync()
        listed = [info.key for info in store.list(stem)]
        assert len(listed) == len(keys)
        assert set(listed) == set(keys)
        assert len(list(store.list(f"{stem}/7/"))) == len(range(7, self.many, 16))
        # and one call deletes them all
        assert not store.delete(keys)
        assert list(store.list(stem)) == []

    def test_objects_put_and_deleted_meanwhile_do_not_disturb_a_listing(self, store: Store, reopen: Reopen) -> None:
        stem = f"calm{secrets.token_hex(6)}"
        there = {f"{stem}/{number % 3}/there{number}" for number in range(60)}
        for key in sorted(there):
            store.put(key, [b"x"])
        store.sync()
        done = threading.Event()

        def disturb() -> None:
            with reopen() as other:
                number = 0
                while not done.is_set():
                    keys = [f"{stem}/{part}/new{number}" for part in range(4)]
                    for key in keys:
                        other.put(key, [b"xy"])
                    other.sync()
                    assert not other.delete(keys[:3])
                    number += 1

        with ThreadPoolExecutor(1) as pool:
            disturbing = pool.submit(disturb)
            try:
                for _ in range(20):
                    listed = [info.key for info in store.list(f"{stem}/")]
                    assert len(listed) == len(set(listed))
                    assert there.issubset(listed)
            finally:
                done.set()
            disturbing.result(300)

    def test_an_abandoned_listing_holds_nothing_up(self, store: Store) -> None:
        stem = f"half{secrets.token_hex(6)}"
        keys = [f"{stem}/{number % 5}/{number}" for number in range(25)]
        for key in keys:
            store.put(key, [b"x"])
        store.sync()
        listing = store.list(f"{stem}/")
        first = next(listing)
        assert not store.delete([first.key])
        del listing
        assert len(list(store.list(f"{stem}/"))) == 24

    # -- delete --------------------------------------------------------------------------------------------------

    def test_what_was_deleted_is_missing_and_deleting_again_is_no_failure(self, store: Store, reopen: Reopen) -> None:
        key, other_key = fresh(), fresh()
        store.put(key, [b"x"])
        store.put(other_key, [b"y"])
        store.sync()
        for keys in ([key], [key], [key, fresh(), fresh("never/made/")], []):
            assert not store.delete(keys)
            with reopen() as other:
                with pytest.raises(ObjectMissing):
                    other.get(key)
                assert list(other.list(key)) == []
                assert other.get(other_key) == b"y"

    def test_thousands_of_objects_are_deleted_by_one_call_and_no_other(self, store: Store) -> None:
        stem = f"gone{secrets.token_hex(6)}"
        keys = [f"{stem}/{number % 9}/{number}" for number in range(1207)]
        with ThreadPoolExecutor(store.parallel_requests) as pool:
            list(pool.map(lambda key: store.put(key, [key.encode()]), keys))
        store.sync()
        kept = set(keys[::100])
        assert not store.delete([key for key in keys if key not in kept] + [fresh() for _ in range(20)])
        assert {info.key for info in store.list(f"{stem}/")} == kept
        assert all(store.get(key) == key.encode() for key in kept)

    def test_deleting_what_was_put_and_not_synced_leaves_nothing(self, store: Store, reopen: Reopen) -> None:
        key, kept = fresh(), fresh()
        store.put(key, [b"x" * 100_000])
        store.put(kept, [b"kept"])
        assert not store.delete([key])
        store.sync()
        with reopen() as other:
            with pytest.raises(ObjectMissing):
                other.get(key)
            assert other.get(kept) == b"kept"

    # -- threads and leaks ---------------------------------------------------------------------------------------

    def test_many_threads_may_do_everything_at_once(self, store: Store, reopen: Reopen) -> None:
        stem, threads, rounds = f"busy{secrets.token_hex(6)}", 12, 12
        together = threading.Barrier(threads)

        def work(number: int) -> dict[str, bytes]:
            mine: dict[str, bytes] = {}
            together.wait(60)
            for turn in range(rounds):
                key = f"{stem}/{turn % 3}/{number}-{turn}"
                data = secrets.token_bytes(turn * 9000)
                store.put(key, [data[:100], memoryview(data)[100:]])
                mine[key] = data
                if turn % 4 == number % 4:
                    store.sync()
                    for known, wanted in mine.items():
                        assert store.get(known) == wanted
                        assert store.size(known) == len(wanted)
                    assert set(mine) <= {info.key for info in store.list(stem)}
                    gone = mine.popitem()[0]
                    assert not store.delete([gone])
            store.sync()
            return mine

        with ThreadPoolExecutor(threads) as pool:
            results = list(pool.map(work, range(threads)))
        wanted = {key: data for result in results for key, data in result.items()}
        with reopen() as other:
            assert {info.key for info in other.list(stem)} == set(wanted)
            assert all(other.get(key) == data for key, data in wanted.items())

    def test_an_opening_gives_back_its_threads_and_descriptors(self, store: Store, reopen: Reopen) -> None:
        def use() -> None:
            with reopen() as other:
                keys = [fresh("leak/") for _ in range(20)]
                for key in keys:
                    other.put(key, [b"x"])
                other.sync()
                other.put(fresh("leak/"), [b"never synced"])
                with pytest.raises(ObjectExists):
                    other.put(keys[0], [b"y"])
                with pytest.raises(ObjectMissing):
                    other.get(fresh())
                next(iter(other.list("leak/")))
                assert not other.delete(keys)

        use()  # what a library opens once for the whole process is no leak
        gc.collect()
        threads, descriptors = threading.active_count(), _open_descriptors()
        for _ in range(5):
            use()
        gc.collect()
        assert threading.active_count() <= threads
        assert _open_descriptors() <= descriptors


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
