"""Opening a database: where it may lie, whose it may be, which schema, and what it costs."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from backy_meta_sql import SqlSettings, meta_settings, open_meta
from backy_meta_sql.filesystems import filesystem_type
from backy_meta_sql.reserve import RESERVE_SIZE
from backy_meta_sql.sqlite import path_of
from backy_meta_sql.store import SqlMetaStore, open_sqlite

from backy_core.errors import ConfigurationError, InvalidInput, MetaError, RepositoryError


def opened(path: Path, create: bool = False, wait_seconds: float = 5) -> SqlMetaStore:
    return open_sqlite(f"sqlite://{path}", SqlSettings(wait_seconds), create)


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("sqlite:///var/lib/m.db", "/var/lib/m.db"),
        ("sqlite:////var/lib/m.db", "/var/lib/m.db"),
        ("sqlite:///var//x/../a folder/./m.db", "/var/a folder/m.db"),
    ],
)
def test_a_url_names_an_absolute_path(location: str, path: str) -> None:
    assert path_of(location) == Path(path)


@pytest.mark.parametrize(
    "location", ["sqlite://", "sqlite:///", "sqlite://m.db", "sqlite:m.db", "sqlite:///m.db?mode=ro", "sqlite:///a\0b"]
)
def test_a_url_that_names_no_absolute_path_is_refused(location: str) -> None:
    with pytest.raises(InvalidInput, match="sqlite:///absolute/path"):
        open_meta(location, SqlSettings(), True)


def test_a_url_of_another_scheme_is_left_to_others() -> None:
    assert open_meta("postgresql://host/db", SqlSettings(), True) is None


@pytest.mark.parametrize("seconds", [0, -1, 4000, "10", True, None])
def test_a_senseless_wait_is_refused(seconds: object) -> None:
    assert meta_settings() is SqlSettings
    with pytest.raises(ConfigurationError, match="wait_seconds"):
        SqlSettings(wait_seconds=seconds)  # type: ignore[arg-type]


def test_an_absent_database_is_never_made_without_being_asked(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="backy init"):
        opened(tmp_path / "deep" / "m.db")
    assert list(tmp_path.iterdir()) == []


def test_a_new_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "m.db"
    with opened(path, create=True) as meta:
        meta.open_session("backup")
        for file in (path, Path(f"{path}-wal"), Path(f"{path}.writer"), Path(f"{path}.reserve")):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert stat.S_IMODE(Path(f"{path}.sessions").stat().st_mode) == 0o700
        assert os.stat(f"{path}.reserve").st_blocks * 512 >= RESERVE_SIZE


def test_a_half_made_database_asks_for_init_and_is_completed_by_it(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    path.touch()
    with pytest.raises(RepositoryError, match="backy init"):
        opened(path)
    opened(path, create=True).close()
    opened(path).close()


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="name a file"):
        opened(tmp_path, create=True)


@pytest.mark.parametrize("create", [False, True])
def test_the_database_of_another_program_is_refused_and_left_as_it_was(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "foreign.db"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE alembic_version (version_num TEXT)")
    foreign.execute("INSERT INTO alembic_version VALUES ('0001')")
    foreign.commit()
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(RepositoryError, match=r"another program.*alembic_version"):
        opened(path, create)
    assert path.read_bytes() == before


@pytest.mark.parametrize("create", [False, True])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "m.db"
    path.write_bytes(b"precious words " * 1000)
    with pytest.raises(MetaError, match=r"damaged.*put back a copy") as caught:
        opened(path, create)
    assert not caught.value.again
    assert path.read_bytes() == b"precious words " * 1000


def test_a_damaged_database_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    opened(path, create=True).close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))

    def use() -> None:
        with opened(path) as meta:
            meta.usage()

    with pytest.raises(MetaError, match="damaged") as caught:
        use()
    assert not caught.value.again
    assert isinstance(caught.value.__cause__, Exception)


def test_every_connection_keeps_foreign_keys_and_full_durability(tmp_path: Path) -> None:
    with opened(tmp_path / "m.db", create=True) as meta:
        with meta._database.connection() as one, meta._database.connection() as two:
            for connection in (one, two):
                found = [
                    connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                    for name in ("foreign_keys", "synchronous", "journal_mode")
                ]
                assert found == [1, 2, "wal"]


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "ceph", "9p"])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    table = tmp_path / "mountinfo"
    here = str(tmp_path).replace(" ", "\\040")
    table.write_text(
        f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:9 / {here}/net\\040work rw shared:1 - {kind} host:/x rw\n"
    )
    path = tmp_path / "net work" / "m.db"
    with pytest.raises(RepositoryError, match=rf"network file system \({kind}\).*local disk"):
        open_sqlite(f"sqlite://{path}", SqlSettings(), True, mountinfo=table)
    assert not path.parent.exists()
    open_sqlite(f"sqlite://{tmp_path}/net working/m.db", SqlSettings(), True, mountinfo=table).close()


def test_the_file_system_of_a_path_is_that_of_the_innermost_uppermost_mount(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw - ext4 a rw\n2 1 8:2 / /m rw - xfs b rw\n3 2 0:3 / /m/n rw - nfs c rw\n"
        "4 2 8:2 / /m rw - btrfs d rw\ngarbage\n"
    )
    assert filesystem_type(Path("/x"), table) == "ext4"
    assert filesystem_type(Path("/m/x"), table) == "btrfs"
    assert filesystem_type(Path("/m/n/x"), table) == "nfs"
    assert filesystem_type(Path("/mn"), table) == "ext4"
    assert filesystem_type(Path("/x"), tmp_path / "absent") is None


def test_the_real_mount_table_is_understood() -> None:
    assert filesystem_type(Path("/proc/self")) == "proc"


def test_importing_the_plugin_imports_no_sql_library() -> None:
    code = (
        "import sys, backy_meta_sql, backy_core.testing; "
        "bad = {'sqlalchemy', 'alembic', 'sqlite3', 'pytest'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_opening_an_up_to_date_database_loads_neither_migrations_nor_mapper(tmp_path: Path) -> None:
    opened(tmp_path / "m.db", create=True).close()
    code = (
        "import sys; from backy_meta_sql import open_meta; m = open_meta(sys.argv[1], None, False); m.versions();"
        "m.close();"
        "bad = {'alembic', 'mako', 'sqlalchemy.orm'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code, f"sqlite://{tmp_path}/m.db"], check=True)
