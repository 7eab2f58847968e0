"""What sources and targets must pass: subclass `SourceConformance` and `TargetConformance` and give them a place."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from backy_core.contracts.source import Source
from backy_core.contracts.target import Target
from backy_core.errors import OutOfSpace, SourceError, TargetError

__all__ = ["MakeSource", "SourceConformance", "TargetConformance", "TargetPlace"]

MakeSource = Callable[[int, Sequence[tuple[int, bytes]]], Source]
"""Makes a volume of `size` bytes holding these `(offset, bytes)` pieces and zeros elsewhere, and opens it."""

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class TargetPlace:
    """Somewhere to restore to, as often as asked. Each `open` may find what the one before left.

    `open(size)` opens it for a restore (with force). `read(size)` gives the first `size` bytes found there afterwards,
    in a way that owes nothing to the target, or None when nothing is there.
    """

    open: Callable[[int], Target]
    read: Callable[[int], bytes | None]


def noise(length: int, seed: int = 1) -> bytes:
    """Bytes that look random, the same for the same seed, none of them zero: so lost ones cannot pass for holes."""
    return random.Random(seed).randbytes(length).replace(b"\0", b"\1")


def read(source: Source, offset: int, length: int) -> bytes:
    """What `read_into` gives, its untouched surroundings checked."""
    guard = 16
    space = bytearray(b"\xee" * (length + 2 * guard))
    source.read_into(offset, memoryview(space)[guard : guard + length])
    assert space[:guard] == space[guard + length :] == b"\xee" * guard, "read_into wrote outside the buffer"
    return bytes(space[guard : guard + length])


class SourceConformance:
    """The contract of `backy_core.contracts.source.Source`, checked from outside.

    `granularity`: volumes of this kind have sizes that are multiples of it (512 for block devices).
    """

    granularity = 1

    @pytest.fixture
    def make_source(self) -> MakeSource:
        """The subclass overrides this."""
        raise NotImplementedError("override the fixture make_source")

    def size(self, wanted: int) -> int:
        """The nearest size a volume can have."""
        return -(-wanted // self.granularity) * self.granularity

    @pytest.mark.parametrize("wanted", [0, 1, 511, 512, 4095, 4097, 1_000_003])
    def test_the_size_is_exact_and_every_byte_is_read(self, make_source: MakeSource, wanted: int) -> None:
        size = self.size(wanted)
        data = noise(size)
        with make_source(size, [(0, data)] if size else []) as source:
            assert source.size == size
            assert read(source, 0, size) == data

    def test_any_range_can_be_read_in_any_order(self, make_source: MakeSource) -> None:
        size = self.size(300_001)
        data = noise(size)
        with make_source(size, [(0, data)]) as source:
            for offset, length in [(size - 1, 1), (0, 1), (4095, 2), (99_999, 131_073), (1, size - 1), (size - 7, 7)]:
                assert read(source, offset, length) == data[offset : offset + length]

    def test_reading_nothing_is_allowed_anywhere_up_to_the_end(self, make_source: MakeSource) -> None:
        size = self.size(4096)
        with make_source(size, [(0, noise(size))]) as source:
            assert read(source, 0, 0) == read(source, size, 0) == b""

    @pytest.mark.parametrize("length", [1, 4096, 8192])
    def test_a_range_beyond_the_end_is_refused(self, make_source: MakeSource, length: int) -> None:
        size = self.size(8192)
        with make_source(size, [(0, noise(size))]) as source, pytest.raises(SourceError):
            source.read_into(size - length + 1, memoryview(bytearray(length)))

    def test_holes_read_as_zeros_whatever_was_in_the_buffer(self, make_source: MakeSource) -> None:
        with make_source(self.size(2 * MIB), [(MIB, noise(4096))]) as source:
            assert read(source, 0, MIB) == bytes(MIB)

    def test_several_threads_read_at_once_and_each_gets_its_own_bytes(self, make_source: MakeSource) -> None:
        size, step = self.size(8 * MIB), 64 * KIB
        data = noise(size)
        with make_source(size, [(0, data)]) as source, ThreadPoolExecutor(max(2, source.parallel_requests)) as pool:
            offsets = list(range(0, size, step)) * 2
            random.Random(2).shuffle(offsets)
            found = list(pool.map(lambda offset: read(source, offset, min(step, size - offset)), offsets))
            assert found == [data[offset : offset + step] for offset in offsets]

    @pytest.mark.parametrize(
        "pieces",
        [
            [],
            [(0, 1)],
            [(0, 5 * MIB)],
            [(MIB + 1, 1), (3 * MIB - 1, 2)],
            [(4096, 4096), (65_537, 3), (2 * MIB, MIB), (5 * MIB - 1, 1)],
        ],
        ids=["empty", "first-byte", "full", "odd", "mixed"],
    )
    def test_what_lies_between_the_extents_is_zero(
        self, make_source: MakeSource, pieces: list[tuple[int, int]]
    ) -> None:
        size = self.size(5 * MIB)
        whole = bytearray(size)
        given = [(offset, noise(length, offset)) for offset, length in pieces]
        for offset, data in given:
            whole[offset : offset + len(data)] = data
        with make_source(size, given) as source:
            extents = list(source.data_extents())
            rebuilt = bytearray(size)
            end = 0
            for extent in extents:
                assert extent.length > 0
                assert extent.offset >= end, "extents overlap or are not in order"
                end = extent.end
                rebuilt[extent.offset : end] = read(source, extent.offset, extent.length)
            assert end <= size
            assert rebuilt == whole

    def test_a_volume_of_no_bytes_has_no_extents(self, make_source: MakeSource) -> None:
        with make_source(0, []) as source:
            assert list(source.data_extents()) == []

    def test_extents_can_be_asked_for_again_and_left_halfway_while_others_read(self, make_source: MakeSource) -> None:
        pieces = [(0, noise(4096)), (MIB, noise(4096)), (2 * MIB, noise(4096))]
        with make_source(self.size(3 * MIB), pieces) as source:
            first = source.data_extents()
            next(first)
            assert read(source, 2 * MIB, 4096) == pieces[2][1]
            second = list(source.data_extents())
            assert list(first) == second[1:]

    def test_the_location_is_a_url_without_a_secret(self, make_source: MakeSource) -> None:
        with make_source(self.size(4096), []) as source:
            parts = urlsplit(source.location)
            assert parts.scheme
            assert parts.password is None

    def test_it_declares_how_many_requests_help_and_what_proves_sameness(self, make_source: MakeSource) -> None:
        with make_source(self.size(4096), [(0, noise(100))]) as source:
            assert source.parallel_requests >= 1
            assert source.identity is None or source.identity

    def test_different_volumes_never_have_an_equal_identity(self, make_source: MakeSource) -> None:
        with make_source(self.size(4096), [(0, noise(100, 1))]) as one:
            first = one.identity
        with make_source(self.size(4096), [(0, noise(100, 2))]) as other:
            assert first is None or first != other.identity


class TargetConformance:
    """The contract of `backy_core.contracts.target.Target`, checked from outside.

    `granularity`: as for sources. `capacity`: the largest size that fits the place. `can_hide`: after `abandon` there
    is nothing of the full size (a file is gone or empty); where it cannot (a device), the place needs old bytes in it.
    """

    granularity = 1
    capacity = 8 * MIB
    can_hide = True

    @pytest.fixture
    def place(self) -> TargetPlace:
        """The subclass overrides this; filling the place with old bytes beforehand makes the suite sharper."""
        raise NotImplementedError("override the fixture place")

    def size(self, wanted: int) -> int:
        """The nearest size that makes sense for this kind."""
        return min(-(-wanted // self.granularity) * self.granularity, self.capacity)

    @pytest.mark.parametrize("wanted", [0, 1, 511, 512, 4097, 1_000_003])
    def test_what_was_written_is_there_after_finish(self, place: TargetPlace, wanted: int) -> None:
        size = self.size(wanted)
        data = noise(size)
        target = place.open(size)
        target.write(0, data)
        target.finish()
        assert place.read(size) == data

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_every_kind_of_buffer_is_taken(self, place: TargetPlace, kind: Callable[[bytes], bytes]) -> None:
        data = noise(self.size(10_000))
        target = place.open(len(data))
        target.write(0, kind(data))
        target.finish()
        assert place.read(len(data)) == data

    def test_a_buffer_may_be_used_again_as_soon_as_write_returns(self, place: TargetPlace) -> None:
        size = self.size(256 * KIB)
        buffer, expected = bytearray(size), bytearray()
        target = place.open(size)
        for number, offset in enumerate(range(0, size, 64 * KIB)):
            piece = noise(min(64 * KIB, size - offset), number)
            buffer[: len(piece)] = piece
            target.write(offset, memoryview(buffer)[: len(piece)])
            expected += piece
        buffer[:] = b"\xaa" * size
        target.finish()
        assert place.read(size) == bytes(expected)

    def test_several_threads_write_and_clear_at_once_without_touching_each_other(self, place: TargetPlace) -> None:
        size, step = self.size(4 * MIB), 64 * KIB + 1
        expected = bytearray(noise(size))
        target = place.open(size)
        offsets = list(range(0, size, step))
        random.Random(3).shuffle(offsets)
        clear = set(offsets[::3])
        start = threading.Barrier(4)

        def work(mine: list[int]) -> None:
            start.wait()
            for offset in mine:
                length = min(step, size - offset)
                if offset in clear:
                    target.zero(offset, length)
                else:
                    target.write(offset, memoryview(expected)[offset : offset + length])

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(work, offsets[number::4]) for number in range(4)]:
                done.result()
        target.finish()
        for offset in clear:
            length = min(step, size - offset)
            expected[offset : offset + length] = bytes(length)
        assert place.read(size) == bytes(expected)

    @pytest.mark.parametrize("edge", [0, 1, 511, 4095, 4096])
    def test_a_cleared_range_is_zero_to_the_byte_and_its_neighbours_stay(self, place: TargetPlace, edge: int) -> None:
        size = self.size(MIB)
        expected = bytearray(noise(size))
        target = place.open(size)
        target.write(0, expected)
        for offset, length in [(edge, 1), (20_000 + edge, 200_001), (300_000, 0), (size - 8193 - edge, 8192)]:
            target.zero(offset, length)
            expected[offset : offset + length] = bytes(length)
        target.finish()
        assert place.read(size) == bytes(expected)

    def test_a_cleared_range_can_be_written_again(self, place: TargetPlace) -> None:
        data = noise(self.size(MIB))
        target = place.open(len(data))
        target.zero(0, len(data))
        target.write(0, data)
        target.finish()
        assert place.read(len(data)) == data

    def test_nothing_that_was_there_before_survives(self, place: TargetPlace) -> None:
        size = self.size(2 * MIB)
        before = place.open(size)
        before.write(0, noise(size))
        before.finish()
        target = place.open(size)
        data = noise(4096, 7)
        target.write(MIB + 5, data)
        if not target.starts_zeroed:
            target.zero(0, MIB + 5)
            target.zero(MIB + 5 + len(data), size - MIB - 5 - len(data))
        target.finish()
        assert place.read(size) == bytes(MIB + 5) + data + bytes(size - MIB - 5 - len(data))

    def test_what_is_given_up_is_never_a_finished_restore(self, place: TargetPlace) -> None:
        size = self.size(MIB)
        target = place.open(size)
        half = noise(size // 2)
        target.write(0, half)
        target.abandon()
        target.abandon()
        left = place.read(size)
        if self.can_hide:
            assert left is None or len(left) < size
        else:
            assert left != half + bytes(size - len(half)), "give the place old bytes, then a half restore shows"

    def test_giving_up_leaves_the_place_free_for_the_next_restore(self, place: TargetPlace) -> None:
        size = self.size(MIB)
        place.open(size).abandon()
        target = place.open(size)
        target.write(0, noise(size))
        target.finish()
        assert place.read(size) == noise(size)

    def test_giving_up_after_finish_changes_nothing(self, place: TargetPlace) -> None:
        data = noise(self.size(100_000))
        target = place.open(len(data))
        target.write(0, data)
        target.finish()
        target.abandon()
        assert place.read(len(data)) == data

    def test_a_range_beyond_the_size_is_refused_and_changes_nothing(self, place: TargetPlace) -> None:
        size = self.size(64 * KIB)
        target = place.open(size)
        target.write(0, noise(size))
        with pytest.raises((TargetError, OutOfSpace)):
            target.write(size - 1, b"\xbb\xbb")
        with pytest.raises((TargetError, OutOfSpace)):
            target.zero(size - 1, 2)
        target.finish()
        assert place.read(size) == noise(size)

    def test_the_location_is_a_url_without_a_secret(self, place: TargetPlace) -> None:
        target = place.open(self.size(4096))
        try:
            parts = urlsplit(target.location)
            assert parts.scheme
            assert parts.password is None
            assert target.parallel_requests >= 1
        finally:
            target.abandon()
