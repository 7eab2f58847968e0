"""Makes the schema or brings an older one up to date, in one transaction; an up-to-date one costs a single look."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from backy_core.errors import RepositoryError
from backy_meta_sql.revisions import HEAD, VERSION_TABLE

__all__ = ["MIGRATIONS", "bring_up", "recorded_revision"]

MIGRATIONS = Path(__file__).parent / "migrations"


def recorded_revision(connection: Connection, place: str) -> str | None:
    """The revision of the schema at `place`, None for an empty database; raises `RepositoryError` for a foreign one."""
    # The common case first, and alone: listing tables loads what `backy ls` has no time for.
    try:
        with connection.begin_nested():
            found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()
    except (OperationalError, ProgrammingError):
        tables = inspect(connection).get_table_names()
        if VERSION_TABLE in tables:
            raise
    else:
        if found is not None:
            return str(found)
        tables = [VERSION_TABLE]
    if tables:
        raise RepositoryError(
            f"{place} is the database of another program (it holds {tables[0]!r}); name another file for backy"
        )
    return None


def bring_up(connection: Connection, place: str, scripts: Path = MIGRATIONS, head: str = HEAD) -> None:
    """Run the migrations that `place` lacks, within the caller's transaction.

    Raises `RepositoryError` when its schema is newer than `head`, or foreign.
    """
    recorded = recorded_revision(connection, place)
    if recorded == head:
        return
    # Late: loading the migrations takes longer than all of `backy ls`.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if recorded is not None and recorded not in known:
        raise RepositoryError(
            f"the metadata database {place} has schema {recorded}, this backy knows up to {head}; "
            f"upgrade the package backy-meta-sql"
        )
    command.upgrade(config, head)
