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
from backy_core.model import NO_ATTRIBUTES
from backy_core.testing.meta_steps import finish


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


def declared_now(folder: Path) -> set[tuple[str, str]]:
    opened(folder / "new.db", create=True).close()
    return declared(folder / "new.db")


def with_third(folder: Path, body: str) -> Path:
    scripts = folder / "migrations"
    shutil.copytree(MIGRATIONS, scripts)
    (scripts / "versions" / "r0003_third.py").write_text(
        'from alembic import op\nrevision = "0003"\ndown_revision = "0002"\n\n\ndef upgrade() -> None:\n    ' + body
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
    scripts = with_third(tmp_path, "op.execute(\"ALTER TABLE repository ADD COLUMN motto TEXT DEFAULT 'ever on'\")\n")
    monkeypatch.setattr(store, "HEAD", "0003")
    monkeypatch.setattr("backy_meta_sql.database.HEAD", "0003")
    with opened(tmp_path / "m.db", scripts=scripts) as meta:
        assert meta.facts() == oracle.facts()
        meta.close_session(meta.open_session("ls"))
    database = sqlite3.connect(tmp_path / "m.db")
    assert database.execute("SELECT motto FROM repository").fetchall() == [("ever on",)]
    assert database.execute("SELECT version_num FROM backy_schema").fetchall() == [("0003",)]
    database.close()


def test_a_populated_database_of_schema_0001_is_brought_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_first = tmp_path / "first"
    shutil.copytree(MIGRATIONS, only_first)
    for script in (only_first / "versions").glob("r000[2-9]*.py"):
        script.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(store, "HEAD", "0001")
        opened(tmp_path / "m.db", create=True, scripts=only_first).close()
    database = sqlite3.connect(tmp_path / "m.db")
    database.executescript(
        f"""
        INSERT INTO repository VALUES (1, 'repository', 1, 'blake3', {oracle.BLOCK}, '{oracle.NOW.isoformat()}', 7);
        INSERT INTO sessions VALUES (1, 'backup', 'host', 1, '');
        INSERT INTO lineages VALUES (1, 'a', {oracle.BLOCK}, NULL, NULL, 2);
        INSERT INTO chunks VALUES (1, zeroblob(32), x'0102030405060708', 10, 0);
        INSERT INTO versions VALUES (1, 'aaaaaaaaaaaaaaaa', 'a', 'valid', 8192, 1, 1, '{oracle.NOW.isoformat()}',
            '{oracle.NOW.isoformat()}', 'x', NULL, NULL, 0, NULL, NULL);
        INSERT INTO versions VALUES (2, 'bbbbbbbbbbbbbbbb', 'a', 'writing', 8192, 1, 2, '{oracle.NOW.isoformat()}',
            NULL, 'x', NULL, 'aaaaaaaaaaaaaaaa', 0, NULL, 1);
        INSERT INTO stats VALUES ('aaaaaaaaaaaaaaaa', 'a', '', '', 8192, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1.5);
        INSERT INTO map VALUES (1, 0, 1, 1);
        INSERT INTO uploads VALUES (x'0a', x'0102030405060708', 1);
        """
    )
    assert database.execute("SELECT version_num FROM backy_schema").fetchall() == [("0001",)]
    database.close()
    with opened(tmp_path / "m.db") as meta:
        assert meta.facts() == oracle.facts()
        assert (meta.generation(), meta.fences(), meta.promises(), meta.pending_attributes()) == (7, [], [], [])
        finished, unfinished = meta.versions()
        assert (finished.state, finished.manifest, finished.attributes) == ("valid", None, NO_ATTRIBUTES)
        assert finished.statistics is not None
        assert meta.segments(finished) == []
        assert list(meta.entries(finished, None)) == [(0, bytes(32))]
        assert meta.keys_of(finished.uid) == [f"v/{finished.uid}"]
        # The backup that was under way has died; its upload was a chunk's, and its version is continued.
        session = meta.open_session("backup")
        assert meta.doomed_keys(8) == ["c/0a/0a-0102030405060708"]
        begun = meta.begin_version(
            session,
            volume="a",
            size=8192,
            block_size=oracle.BLOCK,
            source="x",
            identity=None,
            base_uid=None,
            created=oracle.NOW,
        )
        assert (begun.version.uid, begun.continued) == (unfinished.uid, True)
        assert finish(meta, session, begun.version).state == "valid"
    assert declared(tmp_path / "m.db") == declared_now(tmp_path)


def test_a_migration_that_fails_leaves_the_schema_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path / "m.db", create=True).close()
    before = declared(tmp_path / "m.db")
    scripts = with_third(
        tmp_path, 'op.execute("CREATE TABLE half (x)")\n    op.execute("INSERT INTO nowhere VALUES (1)")\n'
    )
    with monkeypatch.context() as patch:
        patch.setattr(store, "HEAD", "0003")
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
