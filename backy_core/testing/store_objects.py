"""The part of the store suite about single objects: put, get, ranges, atomicity, names, what is absent."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from backy_core.contracts.store import MAX_KEY_LENGTH, ObjectInfo, Store
from backy_core.errors import InternalError, ObjectExists, ObjectMissing, StoreError

__all__ = ["MIB", "ObjectConformance", "Reopen", "fresh", "put_and_sync"]

Reopen = Callable[[], Store]
"""Opens the same place once more; who calls it closes what it returns."""

MIB = 1024 * 1024


def fresh(prefix: str = "c/ab/") -> str:
    """A key that was never used."""
    return f"{prefix}{secrets.token_hex(32)}-{secrets.token_hex(8)}"


def put_and_sync(store: Store, key: str, data: bytes, *, urgent: bool = False) -> None:
    """Put one object and make it durable; raises what either of the two raises."""
    store.put(key, [data], urgent=urgent)
    store.sync()


class ObjectConformance:
    """Not to be subclassed alone: see `backy_core.testing.store.StoreConformance`."""

    largest = 64 * MIB

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
            put_and_sync(store, key, b"other", urgent=True)
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
                        put_and_sync(own, key, bytes([number]) * 1000)
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
            lambda: put_and_sync(store, fresh("d/"), b"new"),
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
