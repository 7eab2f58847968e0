"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# SQLite numbers rows by itself only where the type is exactly INTEGER.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "chunks",
        sa.Column("id", _ID, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("stored_size", sa.BigInteger(), nullable=False),
        sa.Column("bad", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("bad IN (0, 1)", name=op.f("ck_chunks_bad")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chunks")),
        sa.UniqueConstraint("digest", name=op.f("uq_chunks_digest")),
    )
    op.create_index(
        "ix_chunks_bad",
        "chunks",
        ["id"],
        unique=False,
        sqlite_where=sa.text("bad = 1"),
        postgresql_where=sa.text("bad = 1"),
    )
    op.create_table(
        "doomed",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_doomed")),
    )
    op.create_index("ix_doomed_generation", "doomed", ["generation"], unique=False)
    op.create_table(
        "lineages",
        sa.Column("id", _ID, nullable=False),
        sa.Column("volume", sa.Text(), nullable=False),
        sa.Column("block_size", sa.BigInteger(), nullable=False),
        sa.Column("parent", _ID, nullable=True),
        sa.Column("parent_birth", sa.BigInteger(), nullable=True),
        sa.Column("last_birth", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("(parent IS NULL) = (parent_birth IS NULL)", name=op.f("ck_lineages_parent")),
        sa.ForeignKeyConstraint(["parent"], ["lineages.id"], name=op.f("fk_lineages_parent")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lineages")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_lineages_parent", "lineages", ["parent", "parent_birth"], unique=False)
    op.create_table(
        "repository",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("repository_id", sa.Text(), nullable=False),
        sa.Column("format", sa.Integer(), nullable=False),
        sa.Column("hash_name", sa.Text(), nullable=False),
        sa.Column("block_size", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_repository_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repository")),
    )
    op.create_table(
        "sessions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "stats",
        sa.Column("uid", sa.String(length=16), nullable=False),
        sa.Column("volume", sa.Text(), nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sa.Column("finished", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("read_bytes", sa.BigInteger(), nullable=False),
        sa.Column("read_blocks", sa.BigInteger(), nullable=False),
        sa.Column("changed_blocks", sa.BigInteger(), nullable=False),
        sa.Column("new_chunks", sa.BigInteger(), nullable=False),
        sa.Column("new_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("deduplicated_blocks", sa.BigInteger(), nullable=False),
        sa.Column("hole_blocks", sa.BigInteger(), nullable=False),
        sa.Column("healed_chunks", sa.BigInteger(), nullable=False),
        sa.Column("duration_seconds", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_stats")),
    )
    op.create_index("ix_stats_volume", "stats", ["volume"], unique=False)
    op.create_table(
        "cleanup_queue",
        sa.Column("chunk", _ID, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["chunk"], ["chunks.id"], name=op.f("fk_cleanup_queue_chunk"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("chunk", name=op.f("pk_cleanup_queue")),
    )
    op.create_table(
        "map",
        sa.Column("lineage", _ID, autoincrement=False, nullable=False),
        sa.Column("idx", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("birth", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("chunk", _ID, nullable=True),
        sa.CheckConstraint("idx >= 0 AND birth >= 1", name=op.f("ck_map_numbers")),
        sa.ForeignKeyConstraint(["chunk"], ["chunks.id"], name=op.f("fk_map_chunk")),
        sa.ForeignKeyConstraint(["lineage"], ["lineages.id"], name=op.f("fk_map_lineage")),
        sa.PrimaryKeyConstraint("lineage", "idx", "birth", name=op.f("pk_map")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_map_birth", "map", ["lineage", "birth", "idx"], unique=False)
    op.create_index("ix_map_chunk", "map", ["chunk"], unique=False)
    op.create_table(
        "uploads",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("session", _ID, nullable=False),
        sa.ForeignKeyConstraint(["session"], ["sessions.id"], name=op.f("fk_uploads_session")),
        sa.PrimaryKeyConstraint("digest", "nonce", name=op.f("pk_uploads")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_uploads_session", "uploads", ["session"], unique=False)
    op.create_table(
        "versions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("uid", sa.String(length=16), nullable=False),
        sa.Column("volume", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("lineage", _ID, nullable=False),
        sa.Column("birth", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sa.Column("finished", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=True),
        sa.Column("base_uid", sa.String(length=16), nullable=True),
        sa.Column("position", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("prepared", sa.BigInteger(), nullable=True),
        sa.Column("session", _ID, nullable=True),
        sa.CheckConstraint("session IS NULL OR state = 'writing'", name=op.f("ck_versions_session")),
        sa.CheckConstraint("state IN ('writing', 'valid', 'invalid', 'removing')", name=op.f("ck_versions_state")),
        sa.CheckConstraint("size >= 0 AND birth >= 1 AND position >= 0", name=op.f("ck_versions_numbers")),
        sa.ForeignKeyConstraint(["lineage"], ["lineages.id"], name=op.f("fk_versions_lineage")),
        sa.ForeignKeyConstraint(["session"], ["sessions.id"], name=op.f("fk_versions_session"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_versions")),
        sa.UniqueConstraint("lineage", "birth", name=op.f("uq_versions_lineage")),
        sa.UniqueConstraint("uid", name=op.f("uq_versions_uid")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_versions_session", "versions", ["session"], unique=False)
    op.create_index("ix_versions_volume", "versions", ["volume"], unique=False)
    op.create_table(
        "pins",
        sa.Column("id", _ID, nullable=False),
        sa.Column("session", _ID, nullable=False),
        sa.Column("version", _ID, nullable=False),
        sa.Column("writer", _ID, nullable=True),
        sa.ForeignKeyConstraint(["session"], ["sessions.id"], name=op.f("fk_pins_session"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["version"], ["versions.id"], name=op.f("fk_pins_version")),
        sa.ForeignKeyConstraint(["writer"], ["versions.id"], name=op.f("fk_pins_writer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pins")),
    )
    op.create_index("ix_pins_session", "pins", ["session"], unique=False)
    op.create_index("ix_pins_version", "pins", ["version"], unique=False)
    op.create_index("ix_pins_writer", "pins", ["writer"], unique=False)
