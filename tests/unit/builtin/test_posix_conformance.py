"""The directory store passes the contract suite, with anonymous temporary files and with named ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backy_core.builtin.posix import PosixStore
from backy_core.contracts.store import Store
from backy_core.testing.store import Reopen, StoreConformance


class DirectoryConformance(StoreConformance):
    anonymous: bool

    @pytest.fixture
    def root(self, tmp_path: Path) -> Iterator[Path]:
        root = tmp_path / "a store"
        yield root
        if root.is_dir():
            # Whatever a test did: no temporary file outlives the store.
            assert list((root / "tmp").glob("*")) == []

    @pytest.fixture
    def store(self, root: Path) -> Iterator[Store]:
        with PosixStore(f"file://{root}", str(root), create=True, anonymous=self.anonymous) as store:
            yield store

    @pytest.fixture
    def reopen(self, store: Store, root: Path) -> Reopen:
        return lambda: PosixStore(f"file://{root}", str(root), anonymous=self.anonymous)

    @pytest.fixture
    def cut_off(self, store: Store, root: Path) -> Callable[[], None]:
        return lambda: shutil.rmtree(root)


class TestAnonymousFiles(DirectoryConformance):
    anonymous = True


class TestNamedFiles(DirectoryConformance):
    anonymous = False
