"""What every hash plugin must pass: subclass `HashConformance` and override its fixture `hash_function`."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from backy_core.contracts.hash import Hash

__all__ = ["HashConformance"]


class HashConformance:
    """The contract of `backy_core.contracts.hash.Hash`. Known answers are the plugin's own business, and its duty."""

    @pytest.fixture
    def hash_function(self) -> Hash:
        """The hash under test; the subclass overrides this."""
        raise NotImplementedError("override the fixture hash_function")

    def test_it_has_a_name_that_can_be_typed_and_recorded(self, hash_function: Hash) -> None:
        assert hash_function.name.isascii()
        assert hash_function.name.replace("-", "").replace("_", "").isalnum()
        assert hash_function.name == hash_function.name.lower()

    def test_a_digest_has_the_stated_size_of_at_least_32_bytes(self, hash_function: Hash) -> None:
        assert 32 <= hash_function.digest_size <= 64
        for data in (b"", b"a", bytes(5_000_001)):
            digest = hash_function.digest(data)
            assert type(digest) is bytes
            assert len(digest) == hash_function.digest_size

    def test_no_part_at_all_is_the_empty_string(self, hash_function: Hash) -> None:
        assert hash_function.digest() == hash_function.digest(b"") == hash_function.digest(b"", b"")

    @pytest.mark.parametrize("cuts", [(0,), (1,), (1, 2, 3), (4096, 4096, 70_000), (99_999,), (100_000,)])
    def test_parts_count_as_if_they_were_one(self, hash_function: Hash, cuts: tuple[int, ...]) -> None:
        data = bytes(range(250)) * 400
        edges = [0, *cuts, len(data)]
        parts = [data[start:end] for start, end in itertools.pairwise(edges)]
        assert hash_function.digest(*parts) == hash_function.digest(data)

    @pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 1023, 1024, 1025, 65_536, 4_194_304])
    def test_every_kind_of_buffer_gives_the_same_digest(self, hash_function: Hash, length: int) -> None:
        data = (bytes(range(251)) * (length // 251 + 1))[:length]
        wanted = hash_function.digest(data)
        room = bytearray(b"x" + data + b"y")
        assert hash_function.digest(bytearray(data)) == wanted
        assert hash_function.digest(memoryview(data)) == wanted
        assert hash_function.digest(memoryview(room)[1 : 1 + length]) == wanted
        assert room == b"x" + data + b"y"

    def test_one_flipped_bit_anywhere_gives_another_digest(self, hash_function: Hash) -> None:
        data = bytearray(10_000)
        digests = {hash_function.digest(data)}
        for place in (0, 1, 1023, 1024, 5000, 9999):
            data[place] ^= 1
            digests.add(hash_function.digest(data))
            data[place] ^= 1
        assert len(digests) == 7
        assert hash_function.digest(data) in digests

    def test_a_call_leaves_nothing_behind_for_the_next(self, hash_function: Hash) -> None:
        first = hash_function.digest(b"first")
        hash_function.digest(b"second", b"third")
        assert hash_function.digest(b"first") == first

    def test_a_failed_call_leaves_nothing_behind_for_the_next(self, hash_function: Hash) -> None:
        wanted = hash_function.digest(b"good")
        with pytest.raises(TypeError):
            hash_function.digest(b"half", "not bytes")  # type: ignore[arg-type]
        assert hash_function.digest(b"good") == wanted

    def test_one_object_serves_many_threads_at_once(self, hash_function: Hash) -> None:
        threads = 8
        blocks = [bytes([number]) * 300_000 for number in range(threads)]
        wanted = [hash_function.digest(block) for block in blocks]
        together = threading.Barrier(threads)

        def work(number: int) -> set[bytes]:
            together.wait(60)
            half = memoryview(blocks[number])
            return {hash_function.digest(half[:150_000], half[150_000:]) for _ in range(20)}

        with ThreadPoolExecutor(threads) as pool:
            assert list(pool.map(work, range(threads))) == [{digest} for digest in wanted]

    def test_a_key_gives_other_digests_of_the_same_length(self, hash_function: Hash) -> None:
        one, other = hash_function.keyed(bytes(32)), hash_function.keyed(b"k" * 32)
        assert one.name == other.name == hash_function.name
        assert one.digest_size == other.digest_size == hash_function.digest_size
        for data in (b"", b"a", bytes(1_000_001)):
            digests = {hash_function.digest(data), one.digest(data), other.digest(data)}
            assert len(digests) == 3
            assert {len(digest) for digest in digests} == {hash_function.digest_size}

    def test_every_bit_of_the_key_counts(self, hash_function: Hash) -> None:
        keys = [bytes(32)] + [(1 << bit).to_bytes(32, "little") for bit in range(256)]
        assert len({hash_function.keyed(key).digest(b"content") for key in keys}) == 257

    def test_the_same_key_gives_the_same_digests_and_leaves_the_function_without_key_alone(
        self, hash_function: Hash
    ) -> None:
        plain = hash_function.digest(b"content")
        first = hash_function.keyed(b"k" * 32).digest(b"content")
        assert hash_function.keyed(b"k" * 32).digest(b"content") == first
        assert hash_function.digest(b"content") == plain

    def test_a_keyed_function_takes_parts_and_every_kind_of_buffer(self, hash_function: Hash) -> None:
        keyed = hash_function.keyed(bytes(range(32)))
        data = bytes(range(250)) * 400
        wanted = keyed.digest(data)
        assert keyed.digest() == keyed.digest(b"", b"")
        assert keyed.digest(data[:1], bytearray(data[1:4096]), memoryview(data)[4096:]) == wanted

    def test_a_keyed_function_serves_many_threads_at_once(self, hash_function: Hash) -> None:
        threads = 8
        keyed = hash_function.keyed(bytes(range(32)))
        blocks = [bytes([number]) * 300_000 for number in range(threads)]
        wanted = [keyed.digest(block) for block in blocks]
        together = threading.Barrier(threads)

        def work(number: int) -> set[bytes]:
            together.wait(60)
            half = memoryview(blocks[number])
            return {keyed.digest(half[:150_000], half[150_000:]) for _ in range(20)}

        with ThreadPoolExecutor(threads) as pool:
            assert list(pool.map(work, range(threads))) == [{digest} for digest in wanted]

    def test_the_key_of_a_keyed_function_is_not_shown(self, hash_function: Hash) -> None:
        keyed = hash_function.keyed(b"canary-canary-canary-canary-cana")
        assert "canary" not in repr(keyed) + repr(getattr(keyed, "__dict__", ""))
