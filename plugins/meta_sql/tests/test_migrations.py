"""Schemas: the migrations make the tables that are declared, whole or not at all, and newer ones are refused."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import oracle
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from backy_meta_sql import SqlSettings, revisions, store
from backy_meta_sql.migrating import MIGRATIONS
from backy_meta_sql.schema import metadata
from backy_meta_sql.store import SqlMetaStore, open_sqlite
from sqlalchemy import create_engine

from backy_core.errors import BackyError, RepositoryError


def opened(path: Path, create: bool = False, scripts: Path = MIGRATIONS) -> SqlMetaStore:
    return open_sqlite(f"sqlite://{path}", SqlSettings(5), create, scripts=scripts)


def declared(path: Path) -> set[tuple[str, str]]:
    database = sqlite3.connect(path)
    try:
        rows = database.execute(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        )
        # The clauses of a table may come in another order, and do not mean another thing by it.
        return {
            (name, " ".join(sorted(sql.replace("\n", " ").replace("\t", " ").replace(",", " ").split())))
            for name, sql in rows
            if name != revisions.VERSION_TABLE
        }
    finally:
        database.close()


def with_second(folder: Path, body: str) -> Path:
    scripts = folder / "migrations"
    shutil.copytree(MIGRATIONS, scripts)
    (scripts / "versions" / "r0002_second.py").write_text(
        'from alembic import op\nrevision = "0002"\ndown_revision = "0001"\n\n\ndef upgrade() -> None:\n    ' + body
    )
    return scripts


def test_the_migrations_make_the_declared_tables(tmp_path: Path) -> None:
    opened(tmp_path / "migrated.db", create=True).close()
    engine = create_engine(f"sqlite:///{tmp_path}/made.db")
    metadata.create_all(engine)
    engine.dispose()
    assert declared(tmp_path / "migrated.db") == declared(tmp_path / "made.db")
    engine = create_engine(f"sqlite:///{tmp_path}/migrated.db")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": revisions.VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_recorded_head_is_that_of_the_shipped_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [revisions.HEAD]


def test_an_older_schema_is_brought_up_at_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "m.db", create=True) as meta:
        meta.initialise(oracle.facts())
    scripts = with_second(tmp_path, "op.execute(\"ALTER TABLE repository ADD COLUMN motto TEXT DEFAULT 'ever on'\")\n")
    monkeypatch.setattr(store, "HEAD", "0002")
    monkeypatch.setattr("backy_meta_sql.database.HEAD", "0002")
    with opened(tmp_path / "m.db", scripts=scripts) as meta:
        assert meta.facts() == oracle.facts()
        meta.close_session(meta.open_session("ls"))
    database = sqlite3.connect(tmp_path / "m.db")
    assert database.execute("SELECT motto FROM repository").fetchall() == [("ever on",)]
    assert database.execute("SELECT version_num FROM backy_schema").fetchall() == [("0002",)]
    database.close()


def test_a_migration_that_fails_leaves_the_schema_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path / "m.db", create=True).close()
    before = declared(tmp_path / "m.db")
    scripts = with_second(
        tmp_path, 'op.execute("CREATE TABLE half (x)")\n    op.execute("INSERT INTO nowhere VALUES (1)")\n'
    )
    with monkeypatch.context() as patch:
        patch.setattr(store, "HEAD", "0002")
        with pytest.raises(BackyError, match="nowhere"):
            opened(tmp_path / "m.db", scripts=scripts)
    assert declared(tmp_path / "m.db") == before
    opened(tmp_path / "m.db").close()


def test_a_newer_schema_is_refused_and_names_the_remedy(tmp_path: Path) -> None:
    opened(tmp_path / "m.db", create=True).close()
    database = sqlite3.connect(tmp_path / "m.db")
    database.execute("UPDATE backy_schema SET version_num = '0099'")
    database.commit()
    database.close()
    for create in (False, True):
        with pytest.raises(RepositoryError, match=r"0099.*upgrade the package backy-meta-sql"):
            opened(tmp_path / "m.db", create)


def test_a_running_backy_stops_when_the_schema_is_changed_under_it(tmp_path: Path) -> None:
    with opened(tmp_path / "m.db", create=True) as meta:
        meta.initialise(oracle.facts())
        session = meta.open_session("backup")
        database = sqlite3.connect(tmp_path / "m.db")
        database.execute("UPDATE backy_schema SET version_num = '0099'")
        database.commit()
        database.close()
        with pytest.raises(RepositoryError, match="newer backy"):
            meta.next_generation(session)
        assert meta.generation() == 0
