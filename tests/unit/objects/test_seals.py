"""Sealed objects: only the right name in the right repository opens, and everything else is told as damage."""

from __future__ import annotations

import copy
import os
import pickle
import random
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from backy_core.builtin.hashes import new_hash
from backy_core.encryption.keys import MasterKey
from backy_core.errors import KeyRefused, ObjectCorrupt
from backy_core.objects.envelope import Envelope

HASH = new_hash("sha256")
assert HASH is not None
REPOSITORY = "11111111-2222-3333-4444-555555555555"
SECRET = bytes(range(32))
MASTER = MasterKey(REPOSITORY, SECRET)
WRITER = MASTER.write_key()
STEP = 32 * 1024
KEY = "c/ab/abcd-0123"
LIMIT = 4 * 1024 * 1024

READER = Envelope(HASH, 1, MASTER.seal())
BY_KEY, FOR_KEY = READER, Envelope(HASH, 1, WRITER.seal())
RAW_BY_KEY = Envelope(HASH, None, MASTER.seal())
PLAIN = Envelope(HASH, 1)
SEALED = [BY_KEY, FOR_KEY]


def wrapped(envelope: Envelope, content: bytes, key: str = KEY) -> bytes:
    return b"".join(bytes(part) for part in envelope.wrap(key, content))


def hkdf(key: bytes, salt: bytes, info: bytes, length: int = 32) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(key)


def opened_by_the_page(data: bytes, name: str) -> tuple[bytes, bytes]:
    """Header and plaintext of a sealed object, by what docs/format.md says and the library's other interface."""
    seal, epoch = data[7], struct.unpack_from("<Q", data, 8)[0]
    repository = REPOSITORY.encode()
    salt, commitment = data[16:48], data[48:80]
    info = b"backy 1 object\n" + repository + b"\n" + name.encode()
    if seal == 1:
        start, key = 80, hkdf(SECRET, repository, f"backy 1 seal {epoch}".encode())
    else:
        start = 112
        reader = X25519PrivateKey.from_private_bytes(hkdf(SECRET, repository, b"backy 1 reader"))
        key = reader.exchange(X25519PublicKey.from_public_bytes(data[80:112]))
        key += hkdf(SECRET, repository, b"backy 1 write")
        info += b"\n" + data[80:112] + reader.public_key().public_bytes_raw()
    derived = hkdf(key, salt, info, 76)
    assert derived[44:] == commitment
    associated = data[:start] + repository + b"\n" + name.encode()
    return data[:start], AESGCM(derived[:32]).decrypt(derived[32:44], data[start:], associated)


@given(st.binary(max_size=70_000), st.sampled_from([*SEALED, RAW_BY_KEY]), st.sampled_from("cmva"))
def test_what_was_sealed_comes_back_as_long_as_a_multiple_of_32_kib(
    content: bytes, envelope: Envelope, kind: str
) -> None:
    data = wrapped(envelope, content, f"{kind}/x")
    assert len(data) % STEP == 0
    assert READER.unwrap(f"{kind}/x", data, LIMIT) == content


@pytest.mark.parametrize("envelope", SEALED)
@pytest.mark.parametrize("content", [b"", b"text " * 1000, os.urandom(100_000)])
def test_the_bytes_are_those_of_the_page(envelope: Envelope, content: bytes) -> None:
    head, plain = opened_by_the_page(wrapped(envelope, content), KEY)
    assert head[:8] == b"BKY\x1a\x01c\x00" + bytes([1 if envelope is BY_KEY else 2])
    assert head[8:16] == bytes(8)
    codec, zero, length, payload_length = struct.unpack_from("<B7sQQ", plain)
    assert (zero, length) == (bytes(7), len(content))
    payload, padding = plain[24 : 24 + payload_length], plain[24 + payload_length :]
    assert (zstandard.decompress(payload) if codec else payload) == content
    assert padding.count(0) == len(padding) < STEP


@pytest.mark.parametrize("start", [80, 112])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_the_padding_is_right_at_its_edges(start: int, over: int) -> None:
    envelope = RAW_BY_KEY if start == 80 else Envelope(HASH, None, WRITER.seal())
    content = os.urandom(STEP - start - 24 - 16 + over)
    data = wrapped(envelope, content)
    assert len(data) == (STEP if over <= 0 else 2 * STEP)
    assert READER.unwrap(KEY, data, LIMIT) == content


@pytest.mark.parametrize("envelope", [*SEALED, PLAIN])
def test_every_flipped_bit_of_a_head_and_a_thousand_others_are_noticed(envelope: Envelope) -> None:
    rng = random.Random(11)
    content = os.urandom(60_000)
    reader = PLAIN if envelope is PLAIN else READER
    data = bytearray(wrapped(envelope, content))
    head = 32 if envelope is PLAIN else 112
    places = [bit for byte in range(head) for bit in range(byte * 8, byte * 8 + 8)]
    places += [byte * 8 + rng.randrange(8) for byte in rng.sample(range(head, len(data)), 1000)]
    for bit in places:
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ObjectCorrupt):
            reader.unwrap(KEY, bytes(data), LIMIT)
        data[bit // 8] ^= 1 << bit % 8
    assert reader.unwrap(KEY, bytes(data), LIMIT) == content


@pytest.mark.parametrize("envelope", SEALED)
def test_every_truncation_and_any_addition_is_noticed(envelope: Envelope) -> None:
    data = wrapped(envelope, os.urandom(50_000))
    lengths = {*range(200), STEP - 1, STEP, STEP + 1, len(data) - 16, len(data) - 1}
    for length in lengths:
        with pytest.raises(ObjectCorrupt):
            READER.unwrap(KEY, data[:length], LIMIT)
    for added in (b"\0", bytes(STEP), data):
        with pytest.raises(ObjectCorrupt):
            READER.unwrap(KEY, data + added, LIMIT)


@pytest.mark.parametrize("envelope", SEALED)
def test_an_object_opens_under_its_own_name_and_in_its_own_repository_only(envelope: Envelope) -> None:
    data = wrapped(envelope, b"content")
    for name in ("c/ab/abcd-0124", "c/ab/abcd-012", "m/ab/abcd-0123", "v/abcd", "a/abcd.1"):
        with pytest.raises(ObjectCorrupt):
            READER.unwrap(name, data, LIMIT)
        assert data[5:6] == b"c"
        renamed = data[:5] + name[:1].encode() + data[6:]
        with pytest.raises(ObjectCorrupt):
            READER.unwrap(name, renamed, LIMIT)
    for other in (MasterKey("another", SECRET), MasterKey(REPOSITORY, bytes(32))):
        with pytest.raises(ObjectCorrupt, match="was not sealed for this repository"):
            Envelope(HASH, 1, other.seal()).unwrap(KEY, data, LIMIT)


def test_sealed_and_plain_objects_never_stand_in_for_each_other() -> None:
    with pytest.raises(ObjectCorrupt, match="not encrypted"):
        PLAIN.unwrap(KEY, wrapped(BY_KEY, b"x"), LIMIT)
    with pytest.raises(ObjectCorrupt, match="is not sealed"):
        READER.unwrap(KEY, wrapped(PLAIN, b"x"), LIMIT)
    for number in (0, 2, 3, 255):
        data = bytearray(wrapped(BY_KEY, b"x"))
        data[7] = number
        with pytest.raises(ObjectCorrupt):
            READER.unwrap(KEY, bytes(data), LIMIT)


def test_a_host_with_the_write_key_opens_nothing_not_even_its_own() -> None:
    for envelope in SEALED:
        with pytest.raises(KeyRefused, match="holds only the write key"):
            FOR_KEY.unwrap(KEY, wrapped(envelope, b"x"), LIMIT)


def test_all_holders_give_a_content_the_same_digest_and_nobody_else_does() -> None:
    assert HASH is not None
    assert MASTER.keyed(HASH).digest(b"x") == WRITER.keyed(HASH).digest(b"x") != HASH.digest(b"x")
    digest_key = hkdf(SECRET, REPOSITORY.encode(), b"backy 1 digest")
    assert MASTER.keyed(HASH).digest(b"x") == HASH.keyed(digest_key).digest(b"x")


def test_one_content_is_never_sealed_to_the_same_bytes_twice() -> None:
    for envelope in SEALED:
        assert len({wrapped(envelope, b"x")[16:] for _ in range(50)}) == 50
        assert len({wrapped(envelope, b"x")[-100:] for _ in range(50)}) == 50


def forged(codec: int, length: int, payload: bytes, key: str = KEY) -> bytes:
    """An object with any fields inside its seal, as a host with the write key could make it."""
    return bytes(WRITER.seal().seal(key, codec, length, payload))


def peak() -> int:
    """The most memory this process had at once, in KiB, since that was reset."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def test_a_sealed_bomb_is_refused_before_it_goes_off() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 30))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = peak()
    for claimed in (LIMIT, 1 << 30, 1 << 62):
        with pytest.raises(ObjectCorrupt):
            READER.unwrap(KEY, forged(1, claimed, bomb), LIMIT)
    assert peak() - before < 64 * 1024, "KiB"


@pytest.mark.parametrize(
    ("codec", "length", "payload"), [(2, 1, b"x"), (0, 2, b"x"), (0, 0, b"x"), (1, 1, b"x"), (0, LIMIT + 1, b"x")]
)
def test_nonsense_under_a_true_seal_is_damage(codec: int, length: int, payload: bytes) -> None:
    with pytest.raises(ObjectCorrupt):
        READER.unwrap(KEY, forged(codec, length, payload), LIMIT)


def test_more_than_the_content_can_need_is_not_even_decrypted() -> None:
    with pytest.raises(ObjectCorrupt, match="more than its 4096 bytes"):
        READER.unwrap(KEY, forged(0, 200_000, bytes(200_000)), 4096)


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_an_ephemeral_key_that_shares_nothing_is_damage(point: bytes) -> None:
    data = wrapped(FOR_KEY, b"x")
    with pytest.raises(ObjectCorrupt, match="ephemeral"):
        READER.unwrap(KEY, data[:80] + point + data[112:], LIMIT)


def test_one_seal_serves_many_threads() -> None:
    blocks = [os.urandom(1_000_000) for _ in range(6)]
    together = threading.Barrier(len(blocks))

    def work(number: int) -> bool:
        together.wait(60)
        envelope, key = SEALED[number % 2], f"c/{number}"
        return all(READER.unwrap(key, wrapped(envelope, blocks[number], key), LIMIT) == blocks[number] for _ in "123")

    with ThreadPoolExecutor(len(blocks)) as pool:
        assert all(pool.map(work, range(len(blocks))))


@pytest.mark.parametrize("holder", [MASTER, WRITER, MASTER.seal(), WRITER.seal()])
def test_a_key_shows_and_gives_itself_to_nobody(holder: object) -> None:
    with pytest.raises(TypeError):
        vars(holder)
    secrets = [SECRET, *WRITER.parts()[:2]]
    for secret in secrets:
        assert secret.hex() not in repr(holder) + str(holder)
        assert repr(secret)[2:-1] not in repr(holder)
    for stolen in (lambda: pickle.dumps(holder), lambda: copy.deepcopy(holder)):
        with pytest.raises(TypeError):
            stolen()


def test_a_seal_needs_no_copy_of_its_content() -> None:
    content = bytearray(os.urandom(LIMIT))
    (part,) = RAW_BY_KEY.wrap(KEY, memoryview(content))
    assert type(part) is bytearray
    content[:] = bytes(LIMIT)
    assert READER.unwrap(KEY, bytes(part), LIMIT) != content
    assert sys.getsizeof(part) < LIMIT + 2 * STEP
