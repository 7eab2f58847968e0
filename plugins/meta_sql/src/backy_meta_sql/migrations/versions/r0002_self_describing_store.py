"""What the store says about versions: fences, segments, manifests, attributes; versions taken over from it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# SQLite numbers rows by itself only where the type is exactly INTEGER.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add columns and tables. Versions there are already have no manifest and no attributes."""
    op.add_column("repository", sa.Column("encryption", sa.Text(), nullable=True))
    op.add_column("repository", sa.Column("behind", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("uploads", sa.Column("kind", sa.String(length=1), server_default=sa.text("'c'"), nullable=False))
    op.add_column("versions", sa.Column("manifest", sa.LargeBinary(), nullable=True))
    op.add_column("versions", sa.Column("serial", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("versions", sa.Column("stored_serial", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("versions", sa.Column("attributes", sa.Text(), nullable=True))
    op.create_table(
        "fences",
        sa.Column("generation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("generation", name=op.f("pk_fences")),
    )
    op.create_table(
        "segments",
        sa.Column("id", _ID, nullable=False),
        sa.Column("lineage", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("bad", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("bad IN (0, 1)", name=op.f("ck_segments_bad")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segments")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "pieces",
        sa.Column("id", _ID, nullable=False),
        sa.Column("segment", _ID, nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("stored_size", sa.BigInteger(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["segment"], ["segments.id"], name=op.f("fk_pieces_segment"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pieces")),
    )
    op.create_index("ix_pieces_digest", "pieces", ["digest", "nonce"], unique=False)
    op.create_index("ix_pieces_segment", "pieces", ["segment", "place"], unique=False)
    op.create_table(
        "version_segments",
        sa.Column("version", _ID, autoincrement=False, nullable=False),
        sa.Column("place", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("segment", _ID, nullable=False),
        sa.ForeignKeyConstraint(["segment"], ["segments.id"], name=op.f("fk_version_segments_segment")),
        sa.ForeignKeyConstraint(["version"], ["versions.id"], name=op.f("fk_version_segments_version")),
        sa.PrimaryKeyConstraint("version", "place", name=op.f("pk_version_segments")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_version_segments_segment", "version_segments", ["segment"], unique=False)
    op.create_table(
        "promises",
        sa.Column("version", _ID, autoincrement=False, nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["version"], ["versions.id"], name=op.f("fk_promises_version"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_promises")),
    )
    op.create_table(
        "placed",
        sa.Column("uid", sa.String(length=16), nullable=False),
        sa.Column("lineage", _ID, nullable=False),
        sa.Column("birth", sa.BigInteger(), nullable=False),
        sa.Column("session", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["lineage"], ["lineages.id"], name=op.f("fk_placed_lineage")),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_placed")),
    )
    op.create_index("ix_placed_lineage", "placed", ["lineage"], unique=False)
