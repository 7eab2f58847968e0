"""What every store must pass: subclass `StoreConformance` in a test module and give it `store` and `reopen`."""

from __future__ import annotations

import gc
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from backy_core.contracts.store import MAX_KEY_LENGTH, ObjectInfo, Store
from backy_core.errors import InternalError, ObjectExists, ObjectMissing, StoreError

__all__ = ["Reopen", "StoreConformance"]

Reopen = Callable[[], Store]
"""Opens the same place once more; who calls it closes what it returns."""

MIB = 1024 * 1024


def fresh(prefix: str = "c/ab/") -> str:
    """A key that was never used."""
    return f"{prefix}{secrets.token_hex(32)}-{secrets.token_hex(8)}"


class StoreConformance:
    """The contract of `backy_core.contracts.store.Store`, checked from outside.

    The store may hold other objects; a test only looks at those it made. Override what costs money or hours elsewhere:
    `many` (objects in the largest listing) and `largest` (bytes in the largest object).
    """

    many = 10_050
    largest = 64 * MIB

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """An open store; the subclass overrides this."""
        raise NotImplementedError("override the fixture store")

    @pytest.fixture
    def reopen(self, store: Store) -> Reopen:
        """Opens the place of `store` again, as another process would; the subclass overrides this."""
        raise NotImplementedError("override the fixture reopen")

    @pytest.fixture
    def cut_off(self, store: Store) -> Callable[[], None]:
        """Makes the place of `store` unreachable for good, for real."""
        pytest.skip("this suite has no way to make the store unreachable")

    # -- put, get, size ------------------------------------------------------------------------------------------

    def test_what_was_put_and_synced_is_read_back_by_another_opening(self, store: Store, reopen: Reopen) -> None:
        key, data = fresh(), secrets.token_bytes(100_000)
        store.put(key, [data])
        store.sync()
        with reopen() as other:
            assert other.get(key) == data
            assert other.size(key) == len(data)
            assert list(other.list(key)) == [ObjectInfo(key, len(data))]
        assert store.get(key) == data

    def test_it_names_its_location_and_its_parallelism(self, store: Store) -> None:
        assert "://" in store.location
        assert store.parallel_requests >= 1

    @pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, MIB, 4 * MIB + 1])
    def test_every_byte_of_objects_of_many_sizes_comes_back(self, store: Store, size: int) -> None:
        key, data = fresh(), secrets.token_bytes(size)
        store.put(key, [data])
        store.sync()
        found = store.get(key)
        assert type(found) is bytes
        assert found == data
        assert store.size(key) == size

    def test_every_byte_of_a_very_large_object_comes_back(self, store: Store) -> None:
        key, piece = fresh(), secrets.token_bytes(MIB)
        count = self.largest // MIB
        store.put(key, [piece] * count)
        store.sync()
        assert store.size(key) == count * MIB
        assert store.get(key) == piece * count
        assert store.get(key, (count - 1) * MIB + 5) == piece[5:]

    def test_parts_are_joined_in_order_whatever_kind_of_buffer_they_are(self, store: Store) -> None:
        key, room = fresh(), bytearray(b"..middle..")
        store.put(key, [b"start,", b"", bytearray(b"array,"), memoryview(room)[2:8], memoryview(b""), b",end"])
        store.sync()
        assert store.get(key) == b"start,array,middle,end"

    def test_thousands_of_small_parts_are_joined(self, store: Store) -> None:
        key, parts = fresh(), [bytes([number % 256]) * (number % 7) for number in range(5000)]
        store.put(key, parts)
        store.sync()
        assert store.get(key) == b"".join(parts)

    def test_no_part_at_all_makes_an_empty_object(self, store: Store) -> None:
        key = fresh()
        store.put(key, [])
        store.sync()
        assert store.get(key) == b""
        assert store.size(key) == 0

    def test_a_buffer_may_be_used_again_as_soon_as_put_returns(self, store: Store) -> None:
        buffer = bytearray(2 * MIB)
        keys = [fresh() for _ in range(8)]
        for number, key in enumerate(keys):
            buffer[:] = bytes([number + 1]) * len(buffer)
            store.put(key, [memoryview(buffer)[:MIB], memoryview(buffer)[MIB:]])
        buffer[:] = bytes(len(buffer))
        buffer.append(0)  # raises BufferError if anybody still holds a view
        store.sync()
        for number, key in enumerate(keys):
            assert store.get(key) == bytes([number + 1]) * (2 * MIB)

    def test_an_urgent_object_is_like_any_other(self, store: Store, reopen: Reopen) -> None:
        key = fresh("gens/")
        store.put(key, [b"7", b"8"], urgent=True)
        store.sync()
        with reopen() as other:
            assert other.get(key) == b"78"
        with pytest.raises(ObjectExists):
            self.put_and_sync(store, key, b"other", urgent=True)
        assert store.get(key) == b"78"

    def test_sync_with_nothing_to_do_may_be_called_at_any_time(self, store: Store) -> None:
        store.sync()
        store.sync()

    # -- create-only ---------------------------------------------------------------------------------------------

    def test_an_object_is_never_overwritten(self, store: Store, reopen: Reopen) -> None:
        key = fresh()
        store.put(key, [b"first"])
        store.sync()
        with pytest.raises(ObjectExists):
            store.put(key, [b"second"])
        with reopen() as other, pytest.raises(ObjectExists):
            other.put(key, [b"third"])
        store.sync()
        assert store.get(key) == b"first"

    def test_a_key_put_twice_before_the_sync_keeps_the_first_object(self, store: Store) -> None:
        key = fresh()
        store.put(key, [b"first"])
        with pytest.raises(ObjectExists):
            store.put(key, [b"second"])
        store.sync()
        assert store.get(key) == b"first"

    def test_of_many_threads_that_put_one_key_exactly_one_wins(self, store: Store) -> None:
        for _ in range(5):
            key, count = fresh(), 8
            together = threading.Barrier(count)

            def attempt(number: int, key: str = key, together: threading.Barrier = together) -> bool:
                together.wait(60)
                try:
                    store.put(key, [bytes([number]) * 100_000])
                except ObjectExists:
                    return False
                return True

            with ThreadPoolExecutor(count) as pool:
                won = list(pool.map(attempt, range(count)))
            store.sync()
            assert won.count(True) == 1
            assert store.get(key) == bytes([won.index(True)]) * 100_000

    def test_of_several_openings_that_put_one_key_exactly_one_wins(self, reopen: Reopen) -> None:
        for _ in range(5):
            key, count = fresh("gens/"), 4
            together = threading.Barrier(count)

            def attempt(number: int, key: str = key, together: threading.Barrier = together) -> bool:
                with reopen() as own:
                    together.wait(60)
                    try:
                        self.put_and_sync(own, key, bytes([number]) * 1000)
                    except ObjectExists:
                        return False
                    return True

            with ThreadPoolExecutor(count) as pool:
                won = list(pool.map(attempt, range(count)))
            assert won.count(True) == 1
            with reopen() as other:
                assert other.get(key) == bytes([won.index(True)]) * 1000

    # -- atomicity -----------------------------------------------------------------------------------------------

    def test_a_reader_finds_the_whole_object_or_none(self, store: Store, reopen: Reopen) -> None:
        keys, size = [fresh() for _ in range(6)], 4 * MIB
        done = threading.Event()
        wrong: list[str] = []
        seen: set[str] = set()

        def read() -> None:
            with reopen() as other:
                last = False
                while not last:
                    last = done.is_set()
                    for key in keys:
                        try:
                            data = other.get(key)
                        except ObjectMissing:
                            continue
                        seen.add(key)
                        if data != key[-1:].encode() * size:
                            wrong.append(f"get of {len(data)} bytes")
                    wrong.extend(f"list of {info.size} bytes" for info in other.list("c/ab/") if info.size != size)

        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read)
            try:
                for key in keys:
                    store.put(key, [key[-1:].encode() * (size // 2)] * 2)
                    store.sync()
            finally:
                done.set()
            reading.result(300)
        assert not wrong
        assert seen == set(keys)

    # -- ranges --------------------------------------------------------------------------------------------------

    def test_a_range_is_cut_at_the_end_of_the_object(self, store: Store) -> None:
        key, data = fresh(), bytes(range(256)) * 40
        store.put(key, [data])
        store.sync()
        for offset, length in [
            (0, None),
            (0, 0),
            (0, 1),
            (0, len(data)),
            (0, len(data) + 1),
            (1, None),
            (100, 4096),
            (5000, 0),
            (len(data) - 1, 1),
            (len(data) - 1, 500),
            (len(data), None),
            (len(data), 1),
            (len(data), 0),
            (len(data) + 1, None),
            (len(data) + 1000, 10),
        ]:
            wanted = data[offset:] if length is None else data[offset : offset + length]
            assert store.get(key, offset, length) == wanted, (offset, length)

    def test_a_range_of_an_empty_object_is_empty(self, store: Store) -> None:
        key = fresh()
        store.put(key, [b""])
        store.sync()
        assert store.get(key, 0, 10) == store.get(key, 5, 10) == store.get(key, 5) == b""

    # -- absent --------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("key", ["nothing", "c/00/nothing", "never/made/so/deep/a/folder"])
    def test_what_is_absent_is_said_to_be_missing(self, store: Store, key: str) -> None:
        with pytest.raises(ObjectMissing) as caught:
            store.get(key)
        assert key in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(ObjectMissing):
            store.get(key, 5, 5)
        with pytest.raises(ObjectMissing):
            store.size(key)
        assert list(store.list(key)) == []

    def test_unreachable_is_never_taken_for_absent(self, store: Store, cut_off: Callable[[], None]) -> None:
        key = fresh()
        store.put(key, [b"here"])
        store.sync()
        cut_off()
        actions: list[Callable[[], object]] = [
            lambda: store.get(key),
            lambda: store.get(fresh("d/")),
            lambda: store.size(key),
            lambda: list(store.list()),
            lambda: list(store.list("c/ab/")),
            lambda: store.delete([key]),
            lambda: self.put_and_sync(store, fresh("d/"), b"new"),
        ]
        for number, action in enumerate(actions):
            with pytest.raises(StoreError) as caught:
                action()
            assert not isinstance(caught.value, (ObjectMissing, ObjectExists)), number
            assert "\n" not in str(caught.value)

    # -- names ---------------------------------------------------------------------------------------------------

    def test_names_at_the_limits_of_the_contract_work(self, store: Store, reopen: Reopen) -> None:
        stem = secrets.token_hex(8)
        keys = [
            f"{stem}-{'n' * (MAX_KEY_LENGTH - len(stem) - 1)}",
            f"{stem}/{'/'.join('p' * 90)}"[:MAX_KEY_LENGTH].rstrip("/"),
            f"c/{stem[:2]}/{'f' * 128}-{stem}",
            f"v/{stem}.1",
            f"v/{stem}.10",
            f"{stem}/a..b",
            f"{stem}/a-_.",
            f"{stem}/0",
        ]
        assert len(keys[0]) == MAX_KEY_LENGTH
        for key in keys:
            store.put(key, [key.encode()])
        store.sync()
        with reopen() as other:
            assert {key: other.get(key) for key in keys} == {key: key.encode() for key in keys}
            listed = {info.key for info in other.list()}
        assert listed.issuperset(keys)
        assert not store.delete(keys)
        for key in keys:
            with pytest.raises(ObjectMissing):
                store.get(key)

    @pytest.mark.parametrize(
        "key", ["", "/", "/etc", "a/", "a//b", ".", "..", "a/../b", "../a", "a/.b", "A", "a b", "a\n", "a\0", "ä", "a%"]
    )
    def test_illegal_names_are_refused_before_they_touch_anything(self, store: Store, key: str) -> None:
        for action in (
            lambda: store.put(key, [b"x"]),
            lambda: store.get(key),
            lambda: store.size(key),
            lambda: store.delete([key]),
        ):
            with pytest.raises(InternalError):
                action()

    def test_a_name_that_is_too_long_is_refused(self, store: Store) -> None:
        with pytest.raises(InternalError):
            store.put("n" * (MAX_KEY_LENGTH + 1), [b"x"])

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

    def put_and_sync(self, store: Store, key: str, data: bytes, *, urgent: bool = False) -> None:
        """Put one object and make it durable; raises what either of the two raises."""
        store.put(key, [data], urgent=urgent)
        store.sync()


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
