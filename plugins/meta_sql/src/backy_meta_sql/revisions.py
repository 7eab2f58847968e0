"""The revision of the schema that this release speaks; apart, because reading it must not load the migrations."""

from __future__ import annotations

__all__ = ["HEAD", "VERSION_TABLE"]

HEAD = "0002"
VERSION_TABLE = "backy_schema"
"""A name of our own: the usual one would let a foreign application's database pass for ours."""
