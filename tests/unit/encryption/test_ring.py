"""Opening a repository's key from all places that may give it, and managing its slots, in a directory store."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backy_core.builtin.directory import open_store
from backy_core.contracts.store import Store
from backy_core.encryption import passphrases
from backy_core.encryption.codes import code_of
from backy_core.encryption.keys import MasterKey, WriteKey
from backy_core.encryption.passphrases import Argon2
from backy_core.encryption.recovery_keys import make_recovery_key
from backy_core.encryption.ring import KeyRing
from backy_core.encryption.slots import wrap_by_passphrase
from backy_core.encryption.stored_slots import put_slot, read_slots, remove_slots, slot_key
from backy_core.encryption.unlocking import Ask, Unlocked, unlock
from backy_core.errors import (
    AmbiguousSelector,
    ConfigurationError,
    Guarded,
    InvalidInput,
    KeyRefused,
    NotFound,
    RepositoryError,
)
from backy_core.model import RepositoryFacts
from backy_core.objects.texts import decode_text, encode_text
from backy_core.settings import RepositorySettings
from backy_core.settings_file import parse

REPOSITORY = "11111111-2222-3333-4444-555555555555"
FACTS = RepositoryFacts(REPOSITORY, 1, "sha256", 4096, datetime(2026, 11, 20, tzinfo=UTC), "aes-256-gcm")
MASTER = MasterKey(REPOSITORY, bytes(range(7, 39)))
RIGHT, OTHER, WRONG = "correct horse", "other battery", "wrong staple"
LEAST = 64 * 1024 * 1024


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKY_PASSPHRASE", raising=False)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(location=f"file://{tmp_path}/store", settings=None, create=True) as opened:
        yield opened


def put(store: Store, passphrase: str = RIGHT, master: MasterKey = MASTER) -> str:
    """A slot that takes next to no time to open."""
    quick = Argon2(64, 1, 4, os.urandom(16))
    return put_slot(
        store, REPOSITORY, lambda slot: wrap_by_passphrase(slot, REPOSITORY, master.secret(), passphrase, quick)
    )


def settings(table: str = "") -> RepositorySettings:
    text = f'store = "file:///s"\nmetadata = "sqlite:///m"\n[encryption]\n{table}\n'
    return parse(text, "vms", Path("/etc/backy/vms.toml"))


def opened(store: Store, table: str = "", *, passphrase: str | None = None, ask: Ask | None = None) -> Unlocked:
    return unlock(store, REPOSITORY, settings(table), passphrase=passphrase, ask=ask)


def secret(unlocked: Unlocked) -> bytes:
    assert isinstance(unlocked.key, MasterKey)
    return unlocked.key.secret()


class TestUnlocking:
    def test_each_place_may_give_the_key(self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put(store, OTHER)
        slot = put(store)
        (tmp_path / "pw").write_text(RIGHT + "\n")
        (tmp_path / "code").write_text(code_of(MASTER).lower())
        monkeypatch.setenv("THE_PW", RIGHT)
        found = opened(store, passphrase=RIGHT)
        assert found.slot is not None
        assert (secret(found), found.slot.slot) == (MASTER.secret(), slot)
        for table in (
            f'passphrase = {{ file = "{tmp_path}/pw" }}',
            'passphrase = { env = "THE_PW" }',
            f'passphrase = {{ command = ["cat", "{tmp_path}/pw"] }}',
            f'recovery_code = {{ file = "{tmp_path}/code" }}',
        ):
            assert secret(opened(store, table)) == MASTER.secret(), table
        assert secret(opened(store, ask=lambda words: RIGHT)) == MASTER.secret()
        monkeypatch.setenv("BACKY_PASSPHRASE", RIGHT)
        assert secret(opened(store)) == MASTER.secret()

    def test_the_settings_go_before_the_environment_and_that_before_a_question(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(store)
        monkeypatch.setenv("THE_PW", WRONG)
        monkeypatch.setenv("BACKY_PASSPHRASE", RIGHT)
        assert opened(store, ask=lambda words: pytest.fail("asked"))
        with pytest.raises(KeyRefused, match=r"the passphrase of /etc/backy/vms\.toml opens none"):
            opened(store, 'passphrase = { env = "THE_PW" }')

    def test_a_recovery_key_opens_its_slot(self, store: Store, tmp_path: Path) -> None:
        put(store)
        public = make_recovery_key(tmp_path / "escrow.pem")
        make_recovery_key(tmp_path / "other.pem")
        ring_of(store).add_recovery(public, label="escrow")
        found = opened(store, f'recovery_key = "{tmp_path}/escrow.pem"')
        assert secret(found) == MASTER.secret()
        assert found.slot is not None
        assert found.slot.label == "escrow"
        with pytest.raises(KeyRefused, match="opens none of the 2 key slots"):
            opened(store, f'recovery_key = "{tmp_path}/other.pem"')

    def test_a_write_key_is_what_it_is(self, store: Store, tmp_path: Path) -> None:
        put(store)
        ring_of(store).save_write_key(tmp_path / "write.key")
        assert stat.S_IMODE((tmp_path / "write.key").stat().st_mode) == 0o600
        found = opened(store, f'write_key = "{tmp_path}/write.key"')
        assert isinstance(found.key, WriteKey)
        ring = KeyRing(settings(), FACTS, lambda: store, lambda: found)
        for forbidden in (
            ring.unlock,
            ring.write_key,
            lambda: ring.sheet("text"),
            lambda: ring.add_passphrase(OTHER),
            lambda: ring.change_passphrase(OTHER),
        ):
            with pytest.raises(KeyRefused, match="holds only the write key"):
                forbidden()

    def test_without_any_key_the_message_says_what_to_do(self, store: Store) -> None:
        put(store)
        for ask in (None, lambda words: None):
            with pytest.raises(KeyRefused, match="no key was given: set BACKY_PASSPHRASE, or passphrase = "):
                opened(store, ask=ask)

    def test_a_wrong_passphrase_says_how_many_slots_were_tried_and_what_is_damaged(
        self, store: Store, tmp_path: Path
    ) -> None:
        with pytest.raises(KeyRefused, match="there is no key slot"):
            opened(store, passphrase=WRONG)
        put(store)
        with pytest.raises(KeyRefused) as caught:
            opened(store, passphrase=WRONG)
        assert str(caught.value) == f"the passphrase opens none of the 1 key slots in {store.location}"
        assert WRONG not in str(caught.value)
        bad = put(store, OTHER)
        path = tmp_path / "store" / slot_key(bad)
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(KeyRefused, match=rf"none of the 1 key slots .*; 1 cannot be used: {bad} its checksum"):
            opened(store, passphrase=WRONG)
        assert "\n" not in str(caught.value)

    def test_the_slots_that_can_be_used_are_tried_whatever_lies_beside_them(self, store: Store, tmp_path: Path) -> None:
        good = put(store)
        said = decode_text(store.get(slot_key(good)), "key slot")
        greedy = {**said["kdf"], "memory_kib": 2**30}
        hostile: dict[str, bytes] = {
            "0" * 16: encode_text({**said, "slot": "0" * 16, "kdf": greedy}),
            "1" * 16: encode_text({**said, "slot": "1" * 16, "repository": "another"}),
            "2" * 16: store.get(slot_key(good)),
            "3" * 16: b"",
            "4" * 16: os.urandom(100_000),
            "5" * 16: encode_text({**said, "slot": "5" * 16, "wrapped": "00" * 48}),
            "readme": b"hello",
        }
        for name, content in hostile.items():
            store.put(slot_key(name), [content])
        store.sync()
        assert secret(opened(store, passphrase=RIGHT)) == MASTER.secret()
        with pytest.raises(KeyRefused, match=r"none of the 2 key slots .*; 6 cannot be used"):
            opened(store, passphrase=WRONG)
        problems = {slot.slot: slot.problem for slot in read_slots(store, REPOSITORY) if slot.problem}
        assert set(problems) == set(hostile) - {"5" * 16}
        assert "1048576 MiB" in str(problems["0" * 16])

    def test_what_the_settings_name_and_is_not_there_is_told_without_secrets(self, store: Store) -> None:
        put(store)
        for table in ('passphrase = { file = "/none/pw" }', 'passphrase = { env = "NOT_SET_HERE" }'):
            with pytest.raises(ConfigurationError, match=r"/etc/backy/vms\.toml.*'passphrase' "):
                opened(store, table)
        with pytest.raises(KeyRefused, match="empty"):
            opened(store, passphrase="  ")


def ring_of(store: Store, passphrase: str = RIGHT, facts: RepositoryFacts = FACTS) -> KeyRing:
    return KeyRing(settings(), facts, lambda: store, lambda: opened(store, passphrase=passphrase))


class TestRing:
    def test_a_second_passphrase_opens_too(self, store: Store) -> None:
        put(store)
        slot = ring_of(store).add_passphrase(OTHER, label="deputy", memory=LEAST)
        found = opened(store, passphrase=OTHER)
        assert secret(found) == MASTER.secret()
        assert found.slot is not None
        assert (found.slot.slot, found.slot.label) == (slot, "deputy")
        assert found.slot.argon2 is not None
        assert (found.slot.argon2.memory_kib, found.slot.argon2.iterations) == (64 * 1024, 3)
        assert [one.slot for one in ring_of(store).slots()][-1] == slot, "the costly one last"

    def test_the_last_slot_that_can_open_stays(self, store: Store, tmp_path: Path) -> None:
        slot = put(store)
        with pytest.raises(Guarded, match="is the last key slot that can open"):
            ring_of(store).remove(slot)
        damaged = put(store, OTHER)
        path = tmp_path / "store" / slot_key(damaged)
        path.write_bytes(b"rubbish")
        with pytest.raises(Guarded, match="is the last key slot that can open"):
            ring_of(store).remove(slot)
        assert ring_of(store).remove(damaged) == damaged
        assert [one.slot for one in ring_of(store).slots()] == [slot]

    def test_a_slot_goes_only_when_another_one_has_just_opened(self, store: Store) -> None:
        first, second = put(store), put(store, OTHER)
        with pytest.raises(Guarded, match="nothing shows that anybody can open another slot"):
            ring_of(store).remove(first)
        with pytest.raises(KeyRefused):
            ring_of(store, WRONG).remove(first)
        by_code = KeyRing(settings(), FACTS, lambda: store, lambda: Unlocked(MASTER))
        with pytest.raises(Guarded):
            by_code.remove(first)
        assert len(ring_of(store).slots()) == 2
        assert ring_of(store, OTHER).remove(first[:6]) == first
        assert [one.slot for one in ring_of(store).slots()] == [second]

    def test_a_slot_must_be_named_well(self, store: Store) -> None:
        put(store)
        put(store, OTHER)
        for name in ("xyz", "", "keys/"):
            with pytest.raises(NotFound):
                ring_of(store).remove(name)
        for name in ("a1" * 8, "a2" * 8):
            store.put(slot_key(name), [b"x"])
        store.sync()
        with pytest.raises(AmbiguousSelector, match="may be"):
            ring_of(store).remove("a")

    def test_a_changed_passphrase_takes_the_place_of_the_one_that_opened(self, store: Store) -> None:
        old, bystander = put(store), put(store, OTHER)
        new, removed = ring_of(store).change_passphrase("new passphrase", memory=LEAST)
        assert removed == old
        assert {one.slot for one in ring_of(store).slots()} == {new, bystander}
        assert secret(opened(store, passphrase="new passphrase")) == MASTER.secret()
        with pytest.raises(KeyRefused):
            opened(store, passphrase=RIGHT)

    def test_killed_while_the_passphrase_is_changed_both_open(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import backy_core.encryption.ring as module

        def killed(*_: Any) -> None:
            raise KeyboardInterrupt

        put(store)
        monkeypatch.setattr(module, "remove_slots", killed)
        with pytest.raises(KeyboardInterrupt):
            ring_of(store).change_passphrase(OTHER, memory=LEAST)
        for passphrase in (RIGHT, OTHER):
            assert secret(opened(store, passphrase=passphrase)) == MASTER.secret()
        monkeypatch.undo()
        monkeypatch.setattr(module, "put_slot", killed)
        with pytest.raises(KeyboardInterrupt):
            ring_of(store).change_passphrase("third one", memory=LEAST)
        assert secret(opened(store, passphrase=RIGHT)) == MASTER.secret()

    def test_by_a_code_a_new_passphrase_is_made_and_none_removed(self, store: Store) -> None:
        put(store)
        by_code = KeyRing(settings(), FACTS, lambda: store, lambda: Unlocked(MASTER))
        new, removed = by_code.change_passphrase(OTHER, memory=LEAST)
        assert removed is None
        assert len(by_code.slots()) == 2
        assert secret(opened(store, passphrase=OTHER)) == MASTER.secret()
        assert new

    def test_a_short_passphrase_or_too_little_memory_is_refused_before_the_store_is_touched(self, store: Store) -> None:
        put(store)
        with pytest.raises(InvalidInput, match="too short"):
            ring_of(store).add_passphrase("short")
        with pytest.raises(InvalidInput, match="64MiB"):
            ring_of(store).add_passphrase(OTHER, memory=1024)
        assert len(ring_of(store).slots()) == 1

    def test_there_are_at_most_as_many_slots_as_can_be_tried(self, store: Store) -> None:
        for number in range(32):
            put(store, f"passphrase {number}")
        with pytest.raises(Guarded, match="32 key slots"):
            put(store)
        found = opened(store, passphrase="passphrase 31")
        assert secret(found) == MASTER.secret()
        assert found.slot is not None
        remove_slots(store, [found.slot.slot])
        assert put(store)

    def test_a_sheet_is_a_file_for_its_owner_alone_and_overwrites_nothing(self, store: Store, tmp_path: Path) -> None:
        put(store)
        for name in ("sheet.html", "sheet.txt"):
            path = tmp_path / name
            ring_of(store).write_sheet(path)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert code_of(MASTER)[:4] in path.read_text()
            with pytest.raises(InvalidInput, match="not overwritten"):
                ring_of(store).write_sheet(path)
        with pytest.raises(InvalidInput, match=r"\.html"):
            ring_of(store).write_sheet(tmp_path / "sheet.pdf")
        with pytest.raises(InvalidInput, match="cannot make"):
            ring_of(store).write_sheet(tmp_path / "none" / "sheet.txt")

    def test_a_repository_without_encryption_has_no_keys(self, store: Store) -> None:
        from dataclasses import replace

        ring = ring_of(store, facts=replace(FACTS, encryption=None))
        assert ring.slots() == []
        for call in (ring.unlock, lambda: ring.add_passphrase(OTHER), lambda: ring.remove("a"), ring.write_key):
            with pytest.raises(RepositoryError, match="is not encrypted"):
                call()


def test_a_slot_that_needs_more_memory_than_there_is_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 1024 * 1024, before[1]))
    try:
        with pytest.raises(KeyRefused, match="needs 1024 MiB of free memory"):
            passphrases.Argon2(1024 * 1024, 1, 1, bytes(16)).derive(RIGHT)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
