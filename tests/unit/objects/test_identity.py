"""`config` and `gens/` tell whose a store is, and are never overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backy_core.builtin.directory import open_store
from backy_core.contracts.store import Store
from backy_core.errors import RepositoryError
from backy_core.model import RepositoryFacts
from backy_core.objects.identity import (
    check_generation,
    read_config,
    stored_generations,
    write_config,
    write_generation,
)

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


def test_a_newer_format_says_to_upgrade(store: Store, tmp_path: Path) -> None:
    write_config(store, FACTS)
    path = tmp_path / "store" / "config"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(RepositoryError, match="upgrade backy-core"):
        read_config(store)


def test_a_generation_begins_once_so_of_two_databases_one_is_stopped(store: Store) -> None:
    write_generation(store, FACTS, 7)
    with pytest.raises(RepositoryError, match="a copy of this database is in use"):
        write_generation(store, FACTS, 7)
    assert stored_generations(store) == [7]


def test_only_a_database_behind_the_store_is_refused(store: Store) -> None:
    check_generation(store, lambda: 0)
    write_generation(store, FACTS, 7)
    check_generation(store, lambda: 7)
    check_generation(store, lambda: 8)
    with pytest.raises(RepositoryError, match="older than the store"):
        check_generation(store, lambda: 6)
