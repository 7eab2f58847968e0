"""`config` and `gens/` tell whose a store is, and are never overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backy_core.builtin.directory import open_store
from backy_core.contracts.meta_values import Fence
from backy_core.contracts.store import Store
from backy_core.errors import ObjectCorrupt, ObjectMissing, RepositoryError
from backy_core.model import RepositoryFacts
from backy_core.objects.identity import (
    check_generation,
    generation_key,
    read_config,
    read_generation,
    stored_generations,
    write_config,
    write_generation,
    write_generations,
)
from backy_core.objects.texts import decode_text, encode_text

FACTS = RepositoryFacts("11111111-2222-3333-4444-555555555555", 1, "sha512", 4096, datetime(2026, 11, 20, tzinfo=UTC))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(location=f"file://{tmp_path}/store", settings=None, create=True) as opened:
        yield opened


def test_a_config_comes_back_and_is_written_once(store: Store) -> None:
    assert read_config(store) is None
    write_config(store, FACTS)
    assert read_config(store) == FACTS
    with pytest.raises(RepositoryError, match="belongs to a repository already"):
        write_config(store, FACTS)


@pytest.mark.parametrize("spoiled", [b"", b"{", b"[]", b'{"backy": "other"}', b"\xff", b'{"backy": "repository"}'])
def test_a_damaged_config_is_no_empty_store(store: Store, tmp_path: Path, spoiled: bytes) -> None:
    write_config(store, FACTS)
    (tmp_path / "store" / "config").write_bytes(spoiled)
    with pytest.raises(RepositoryError, match="is damaged"):
        read_config(store)


@pytest.mark.parametrize("facts", [FACTS, replace(FACTS, encryption="aes-256-gcm")])
def test_every_flipped_bit_of_a_config_is_noticed(store: Store, tmp_path: Path, facts: RepositoryFacts) -> None:
    write_config(store, facts)
    assert read_config(store) == facts
    path = tmp_path / "store" / "config"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(RepositoryError, match="is damaged"):
            read_config(store)


def rewritten(path: Path, **fields: object) -> None:
    """Change fields of a text object as its maker would: the checksum fits."""
    said = decode_text(path.read_bytes(), "repository")
    path.write_bytes(encode_text({**said, **fields}))


@pytest.mark.parametrize("fields", [{"format": 2}, {"format": 0}, {"encryption": "rot13"}])
def test_what_is_not_known_says_to_upgrade(store: Store, tmp_path: Path, fields: dict[str, object]) -> None:
    write_config(store, FACTS)
    rewritten(tmp_path / "store" / "config", **fields)
    with pytest.raises(RepositoryError, match="upgrade backy-core"):
        read_config(store)


@pytest.mark.parametrize("fields", [{"format": "1"}, {"block_size": "x"}, {"created": "2026-11-20"}, {"hash": 3}])
def test_a_field_of_the_wrong_type_is_damage(store: Store, tmp_path: Path, fields: dict[str, object]) -> None:
    write_config(store, FACTS)
    rewritten(tmp_path / "store" / "config", **fields)
    with pytest.raises(RepositoryError, match="is damaged"):
        read_config(store)


def test_a_generation_begins_once_so_of_two_databases_one_is_stopped(store: Store) -> None:
    write_generation(store, FACTS, Fence(7, "ab"))
    with pytest.raises(RepositoryError, match="a copy of this database is in use"):
        write_generation(store, FACTS, Fence(7, "cd"))
    store.sync()
    assert stored_generations(store) == [7]
    assert read_generation(store, 7) == Fence(7, "ab")


def test_what_a_killed_run_has_put_is_taken_for_done(store: Store) -> None:
    write_generations(store, FACTS, [Fence(7, "ab")])
    write_generations(store, FACTS, [Fence(7, "ab"), Fence(8, "cd")])
    assert stored_generations(store) == [7, 8]


def test_an_unreadable_generation_in_the_way_stops_the_writer(store: Store, tmp_path: Path) -> None:
    write_generations(store, FACTS, [Fence(7, "ab")])
    path = tmp_path / "store" / generation_key(7)
    path.write_bytes(path.read_bytes().replace(b'"ab"', b'"ac"'))
    with pytest.raises(RepositoryError, match="cannot be read: its checksum does not fit"):
        write_generation(store, FACTS, Fence(7, "ab"))


def test_a_generation_is_verified(store: Store, tmp_path: Path) -> None:
    write_generations(store, FACTS, [Fence(7, "ab"), Fence(8, "cd")])
    with pytest.raises(ObjectMissing):
        read_generation(store, 9)
    with pytest.raises(ObjectCorrupt, match="belongs to the repository"):
        read_generation(store, 7, "another")
    seven, eight = (tmp_path / "store" / generation_key(number) for number in (7, 8))
    seven.write_bytes(eight.read_bytes())
    with pytest.raises(ObjectCorrupt, match="is generation 8"):
        read_generation(store, 7)
    eight.write_bytes(encode_text({"backy": "generation", "repository": "x", "generation": 8}))
    with pytest.raises(ObjectCorrupt, match="does not say"):
        read_generation(store, 8)
    eight.write_bytes(b"")
    with pytest.raises(ObjectCorrupt):
        read_generation(store, 8)


def test_only_a_database_behind_the_store_is_refused(store: Store) -> None:
    check_generation(store, lambda: 0)
    write_generations(store, FACTS, [Fence(7, "ab")])
    check_generation(store, lambda: 7)
    check_generation(store, lambda: 8)
    with pytest.raises(RepositoryError, match="older than the store"):
        check_generation(store, lambda: 6)
