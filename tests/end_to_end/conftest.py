"""Repositories for the tests: real ones, on SQLite and a directory, each with a home of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backy_core.repository import Repository

BLOCK = 4096


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home: settings and data of this test go below it."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home dir" / name.lower()))
    monkeypatch.setenv("HOME", str(tmp_path / "home dir"))
    monkeypatch.delenv("BACKY_REPOSITORY", raising=False)
    return tmp_path / "home dir"


@pytest.fixture
def open_repository(home: Path, tmp_path: Path) -> Iterator[Callable[..., Repository]]:
    """Opens the test's repository (block size 4096, made when it is not there yet); closed after the test."""
    opened: list[Repository] = []

    def opener(block_size: int = BLOCK, **settings: object) -> Repository:
        name = str(tmp_path / "repository.toml")
        if not Path(name).exists():
            Repository.create(
                name,
                store=str(tmp_path / "store"),
                metadata=f"sqlite://{tmp_path / 'db' / 'metadata.sqlite'}",
                block_size=block_size,
                **settings,  # type: ignore[arg-type]
            ).close()
        opened.append(Repository.open(name))
        return opened[-1]

    yield opener
    for repository in opened:
        repository.close()


@pytest.fixture
def repository(open_repository: Callable[..., Repository]) -> Repository:
    """A fresh repository with a block size of 4096 bytes."""
    return open_repository()
