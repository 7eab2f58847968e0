"""Runs the contract suite of metadata stores on SQLite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from backy_meta_sql import SqlSettings, open_meta

from backy_core.contracts.meta import MetaStore
from backy_core.testing.meta import MetaConformance


class TestSqlite(MetaConformance):
    """SQLite keeps the contract."""

    @pytest.fixture
    def open_meta(self, tmp_path: Path) -> Callable[[], MetaStore]:
        def opening() -> MetaStore:
            meta = open_meta(f"sqlite://{tmp_path}/a folder/meta.db", SqlSettings(wait_seconds=10), True)
            assert meta is not None
            return meta

        return opening
