"""The tables as they are now. The migrations make them, a test holds the two together, new migrations start here."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

__all__ = ["metadata"]

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

# SQLite numbers rows by itself only where the type is exactly INTEGER.
_ID = BigInteger().with_variant(Integer(), "sqlite")

Table(
    "repository",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repository_id", Text, nullable=False),
    Column("format", Integer, nullable=False),
    Column("hash_name", Text, nullable=False),
    Column("block_size", BigInteger, nullable=False),
    Column("created", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("encryption", Text),
    Column("behind", Integer, nullable=False, server_default=text("0")),
    CheckConstraint("id = 1", name="single"),
)

# A row is a run that may write; it goes when the run is over or taken for dead. Numbers are never given again.
Table(
    "sessions",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("command", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("started", Text, nullable=False),
    sqlite_autoincrement=True,
)

Table(
    "lineages",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("volume", Text, nullable=False),
    Column("block_size", BigInteger, nullable=False),
    Column("parent", _ID, ForeignKey("lineages.id")),
    Column("parent_birth", BigInteger),
    Column("last_birth", BigInteger, nullable=False, server_default=text("0")),
    CheckConstraint("(parent IS NULL) = (parent_birth IS NULL)", name="parent"),
    Index("ix_lineages_parent", "parent", "parent_birth"),
    sqlite_autoincrement=True,
)

# `prepared`: the next index of the work that `begin_version` does in steps; NULL when it is done. `manifest`: the
# digest of its content; a version that has one and is still `writing` is promised. `attributes`: JSON, NULL for none;
# `serial` counts how often they were set, `stored_serial` is the last one that was confirmed to be in the store.
Table(
    "versions",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("uid", String(16), nullable=False),
    Column("volume", Text, nullable=False),
    Column("state", String(8), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("lineage", _ID, ForeignKey("lineages.id"), nullable=False),
    Column("birth", BigInteger, nullable=False),
    Column("created", Text, nullable=False),
    Column("finished", Text),
    Column("source", Text, nullable=False),
    Column("identity", Text),
    Column("base_uid", String(16)),
    Column("position", BigInteger, nullable=False, server_default=text("0")),
    Column("prepared", BigInteger),
    Column("session", _ID, ForeignKey("sessions.id", ondelete="SET NULL")),
    Column("manifest", LargeBinary),
    Column("serial", BigInteger, nullable=False, server_default=text("0")),
    Column("stored_serial", BigInteger, nullable=False, server_default=text("0")),
    Column("attributes", Text),
    UniqueConstraint("uid"),
    UniqueConstraint("lineage", "birth"),
    CheckConstraint("state IN ('writing', 'valid', 'invalid', 'removing')", name="state"),
    CheckConstraint("session IS NULL OR state = 'writing'", name="session"),
    CheckConstraint("size >= 0 AND birth >= 1 AND position >= 0", name="numbers"),
    Index("ix_versions_volume", "volume"),
    Index("ix_versions_session", "session"),
    sqlite_autoincrement=True,
)

Table(
    "chunks",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("stored_size", BigInteger, nullable=False),
    Column("bad", Integer, nullable=False, server_default=text("0")),
    UniqueConstraint("digest"),
    CheckConstraint("bad IN (0, 1)", name="bad"),
    Index("ix_chunks_bad", "id", sqlite_where=text("bad = 1"), postgresql_where=text("bad = 1")),
)

Table(
    "map",
    metadata,
    Column("lineage", _ID, ForeignKey("lineages.id"), primary_key=True, autoincrement=False),
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
    Column("birth", BigInteger, primary_key=True, autoincrement=False),
    Column("chunk", _ID, ForeignKey("chunks.id")),
    CheckConstraint("idx >= 0 AND birth >= 1", name="numbers"),
    Index("ix_map_chunk", "chunk"),
    Index("ix_map_birth", "lineage", "birth", "idx"),
    sqlite_with_rowid=False,
)

# `writer`: the version for whose writing its base is held; NULL for a reader's pin.
Table(
    "pins",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("session", _ID, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("version", _ID, ForeignKey("versions.id"), nullable=False),
    Column("writer", _ID, ForeignKey("versions.id")),
    Index("ix_pins_session", "session"),
    Index("ix_pins_version", "version"),
    Index("ix_pins_writer", "writer"),
)

# `kind`: the first letter of the object's key, `c` for a chunk or `m` for a piece of a segment.
Table(
    "uploads",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("nonce", LargeBinary, primary_key=True),
    Column("session", _ID, ForeignKey("sessions.id"), nullable=False),
    Column("kind", String(1), nullable=False, server_default=text("'c'")),
    Index("ix_uploads_session", "session"),
    sqlite_with_rowid=False,
)

Table(
    "doomed",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Index("ix_doomed_generation", "generation"),
)

Table(
    "cleanup_queue",
    metadata,
    Column("chunk", _ID, ForeignKey("chunks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
)

# What each run did; stays when its version is removed.
Table(
    "stats",
    metadata,
    Column("uid", String(16), primary_key=True),
    Column("volume", Text, nullable=False),
    Column("created", Text, nullable=False),
    Column("finished", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("read_bytes", BigInteger, nullable=False),
    Column("read_blocks", BigInteger, nullable=False),
    Column("changed_blocks", BigInteger, nullable=False),
    Column("new_chunks", BigInteger, nullable=False),
    Column("new_bytes", BigInteger, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
    Column("deduplicated_blocks", BigInteger, nullable=False),
    Column("hole_blocks", BigInteger, nullable=False),
    Column("healed_chunks", BigInteger, nullable=False),
    Column("duration_seconds", Float(53), nullable=False),
    Index("ix_stats_volume", "volume"),
)

# The generations that were begun and whose objects may not be in the store yet.
Table(
    "fences",
    metadata,
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    Column("token", String(32), nullable=False),
)

# `lineage` is no foreign key: a segment may outlive the lineage that it was written in.
Table(
    "segments",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("lineage", BigInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("entries", BigInteger, nullable=False),
    Column("bad", Integer, nullable=False, server_default=text("0")),
    CheckConstraint("bad IN (0, 1)", name="bad"),
    sqlite_autoincrement=True,
)

Table(
    "pieces",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("segment", _ID, ForeignKey("segments.id", ondelete="CASCADE"), nullable=False),
    Column("place", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("stored_size", BigInteger, nullable=False),
    Column("first", BigInteger, nullable=False),
    Index("ix_pieces_digest", "digest", "nonce"),
    Index("ix_pieces_segment", "segment", "place"),
)

Table(
    "version_segments",
    metadata,
    Column("version", _ID, ForeignKey("versions.id"), primary_key=True, autoincrement=False),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("segment", _ID, ForeignKey("segments.id"), nullable=False),
    Index("ix_version_segments_segment", "segment"),
    sqlite_with_rowid=False,
)

# The content of a manifest that is fixed; goes when its version is finished or removed.
Table(
    "promises",
    metadata,
    Column("version", _ID, ForeignKey("versions.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("manifest", LargeBinary, nullable=False),
)

# Versions that are being taken over from the store: where their rows are written before anybody sees them. `session`
# is no foreign key: what a killed run left here is found by the next one.
Table(
    "placed",
    metadata,
    Column("uid", String(16), primary_key=True),
    Column("lineage", _ID, ForeignKey("lineages.id"), nullable=False),
    Column("birth", BigInteger, nullable=False),
    Column("session", BigInteger, nullable=False),
    Index("ix_placed_lineage", "lineage"),
)
