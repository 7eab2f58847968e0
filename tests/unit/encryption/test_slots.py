"""Key slots: who has the passphrase or the key gets the master key, and nobody else; whatever lies in their place."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from backy_core.encryption.passphrases import Argon2, check_new, fresh_argon2, normalised, read_argon2, read_file
from backy_core.encryption.slots import KeySlot, parse_slot, wrap_by_passphrase, wrap_for_recovery
from backy_core.errors import InvalidInput, KeyRefused, ObjectCorrupt
from backy_core.objects.texts import decode_text, encode_text

REPOSITORY, SLOT, SECRET = "11111111-2222-3333-4444-555555555555", "0123456789abcdef", bytes(range(32))
QUICK = Argon2(64, 1, 4, bytes(16))
"""Far below what a writer gives; a reader must not mind."""


def by_passphrase(passphrase: str = "correct horse", label: str = "") -> bytes:
    return wrap_by_passphrase(SLOT, REPOSITORY, SECRET, passphrase, QUICK, label)


def parsed(data: bytes) -> KeySlot:
    return parse_slot(data, SLOT, REPOSITORY)


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1).filter(str.strip), st.text(st.characters(categories=["L", "N"]), max_size=20))
def test_the_passphrase_opens_and_another_does_not(passphrase: str, label: str) -> None:
    slot = parsed(by_passphrase(passphrase, label))
    assert (slot.kind, slot.label) == ("passphrase", label)
    assert slot.open_with_passphrase(passphrase) == SECRET
    assert slot.open_with_passphrase(passphrase + "x") is None


def test_a_passphrase_means_the_same_however_its_letters_are_composed() -> None:
    assert parsed(by_passphrase("Zürich caf\u00e9")).open_with_passphrase("Zu\u0308rich cafe\u0301") == SECRET


def test_a_slot_is_as_the_page_says() -> None:
    said = decode_text(by_passphrase("correct horse", "é"), "key slot")
    kdf = said["kdf"]
    key = Argon2id(
        salt=bytes.fromhex(kdf["salt"]), length=32, iterations=1, lanes=4, memory_cost=kdf["memory_kib"]
    ).derive(b"correct horse")
    derived = HKDF(SHA256(), 64, bytes.fromhex(kdf["salt"]), b"backy 1 slot").derive(key)
    assert derived[32:].hex() == said["commitment"]
    wrapped = bytes.fromhex(said.pop("wrapped"))
    associated = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    assert b"\\u00e9" in associated
    assert AESGCM(derived[:32]).decrypt(bytes.fromhex(said["nonce"]), wrapped, associated) == SECRET


def test_a_recovery_slot_is_opened_by_its_recipient_alone() -> None:
    private, other = X25519PrivateKey.generate(), X25519PrivateKey.generate()

    def tried(slot: KeySlot, key: X25519PrivateKey) -> bytes | None:
        public = key.public_key().public_bytes_raw()
        return slot.open_with_recovery_key(public, lambda p: key.exchange(X25519PublicKey.from_public_bytes(p)))

    data = wrap_for_recovery(SLOT, REPOSITORY, SECRET, private.public_key().public_bytes_raw(), "escrow")
    slot = parsed(data)
    assert (slot.kind, slot.label) == ("recovery", "escrow")
    assert tried(slot, private) == SECRET
    assert tried(slot, other) is None
    assert slot.open_with_passphrase("correct horse") is None
    for spoiled in (replace(slot, ephemeral=bytes(32)), replace(slot, commitment=bytes(32))):
        with pytest.raises(ObjectCorrupt):
            tried(spoiled, private)


def test_nothing_is_wrapped_for_a_key_that_shares_nothing() -> None:
    with pytest.raises(InvalidInput, match="public key"):
        wrap_for_recovery(SLOT, REPOSITORY, SECRET, bytes(32))


def test_every_flipped_byte_of_a_slot_is_told() -> None:
    rng = random.Random(3)
    data = by_passphrase()
    for place in range(len(data)):
        spoiled = bytearray(data)
        spoiled[place] ^= 1 << rng.randrange(8)
        with pytest.raises(ObjectCorrupt):
            parsed(bytes(spoiled))


@pytest.mark.parametrize("field", ["label", "created", "nonce", "wrapped"])
def test_a_change_with_a_fitting_checksum_is_told_when_the_passphrase_is_right(field: str) -> None:
    said = decode_text(by_passphrase(label="mine"), "key slot")
    other = {"label": "theirs", "created": "2020-01-01T00:00:00+00:00", "nonce": "00" * 12, "wrapped": "00" * 48}
    with pytest.raises(ObjectCorrupt, match="was changed"):
        parsed(encode_text({**said, field: other[field]})).open_with_passphrase("correct horse")


def test_a_slot_is_no_slot_under_another_name_or_in_another_repository() -> None:
    data = by_passphrase()
    with pytest.raises(ObjectCorrupt, match="another slot"):
        parse_slot(data, "f" * 16, REPOSITORY)
    with pytest.raises(ObjectCorrupt, match="belongs to the repository"):
        parse_slot(data, SLOT, "another")
    said = decode_text(data, "key slot")
    moved = parse_slot(encode_text({**said, "slot": "f" * 16}), "f" * 16, REPOSITORY)
    with pytest.raises(ObjectCorrupt):
        moved.open_with_passphrase("correct horse")


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "magic"},
        {"kind": ["passphrase"]},
        {"kdf": None},
        {"kdf": {"name": "md5"}},
        {"kdf": {"name": "argon2id", "memory_kib": True, "iterations": 3, "lanes": 4, "salt": "00" * 16}},
        {"kdf": {"name": "argon2id", "memory_kib": 64, "iterations": -3, "lanes": 4, "salt": "00" * 16}},
        {"kdf": {"name": "argon2id", "memory_kib": 64, "iterations": 3, "lanes": 4, "salt": "zz"}},
        {"kdf": {"name": "argon2id", "memory_kib": 3, "iterations": 3, "lanes": 4, "salt": "00" * 16}},
        {"nonce": "00"},
        {"wrapped": 7},
        {"commitment": "x" * 64},
        {"created": "2026-11-20"},
        {"label": None},
    ],
)
def test_fields_that_cannot_be_are_damage(fields: dict[str, object]) -> None:
    said = decode_text(by_passphrase(), "key slot")
    with pytest.raises(ObjectCorrupt, match="does not say"):
        parsed(encode_text({**said, **fields}))


@pytest.mark.parametrize(
    "asked", [{"memory_kib": 2**30}, {"memory_kib": 1024 * 1024 + 1}, {"iterations": 17}, {"lanes": 17}]
)
def test_a_slot_that_demands_too_much_is_refused_before_anything_is_allocated(asked: dict[str, int]) -> None:
    said = decode_text(by_passphrase(), "key slot")
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    with pytest.raises(KeyRefused, match="at most 1024 MiB, 16 and 16"):
        parsed(encode_text({**said, "kdf": {**said["kdf"], **asked}}))
    assert peak() - before < 8 * 1024, "KiB"


def peak() -> int:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def test_the_most_that_is_granted_is_granted() -> None:
    most = {"name": "argon2id", "memory_kib": 1024 * 1024, "iterations": 16, "lanes": 16, "salt": "00" * 16}
    assert read_argon2(most) == Argon2(1024 * 1024, 16, 16, bytes(16))


def test_a_writer_gives_a_quarter_gib_and_three_iterations_or_what_is_asked_within_bounds() -> None:
    fresh = fresh_argon2()
    assert (fresh.memory_kib, fresh.iterations, fresh.lanes, len(fresh.salt)) == (256 * 1024, 3, 4, 16)
    assert fresh_argon2().salt != fresh.salt
    assert fresh_argon2(64 * 1024 * 1024).memory_kib == 64 * 1024
    for wrong in (0, 64 * 1024 * 1024 - 1, 1024**3 + 1, 1024**4):
        with pytest.raises(InvalidInput, match="64MiB to 1GiB"):
            fresh_argon2(wrong)


@pytest.mark.parametrize("passphrase", ["", "   ", "\n\t", "short", "1234567", "e\u0301" * 7])
def test_a_new_passphrase_that_is_empty_or_short_is_refused(passphrase: str) -> None:
    with pytest.raises(InvalidInput, match="passphrase is"):
        check_new(passphrase)


@pytest.mark.parametrize("passphrase", ["", " \n", "\udcff bytes of another encoding"])
def test_a_passphrase_that_can_open_nothing_is_refused(passphrase: str) -> None:
    with pytest.raises(KeyRefused, match="the passphrase is"):
        normalised(passphrase)


@pytest.mark.parametrize("label", ["x" * 101, "a\nb", "\x1b[2J"])
def test_a_label_that_would_spoil_the_list_is_refused(label: str) -> None:
    with pytest.raises(InvalidInput, match="label"):
        by_passphrase(label=label)


def test_a_passphrase_file_loses_its_line_feed_and_is_read_with_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    path.write_bytes(b" with spaces \r\n")
    assert read_file(path) == " with spaces "
    for content, said in ((b"\xff", "no UTF-8"), (b"x" * 100_000, "too long")):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=said):
            read_file(path)
    with pytest.raises(InvalidInput, match="too long"):
        read_file(Path("/dev/zero"))
    with pytest.raises(InvalidInput, match="No such file"):
        read_file(tmp_path / "none")
