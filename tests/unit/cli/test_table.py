"""Plain aligned tables."""

from __future__ import annotations

from backy_core.cli.table import aligned


def test_columns_are_aligned_and_lines_end_where_their_text_ends() -> None:
    assert list(aligned(("NAME", "SIZE", "NOTE"), [("a", "10.0 MiB", ""), ("longer", "1 B", "x")], right=(1,))) == [
        "NAME        SIZE  NOTE",
        "a       10.0 MiB",
        "longer       1 B  x",
    ]


def test_without_a_header_only_rows_are_shown() -> None:
    assert list(aligned((), [("size", "1"), ("id", "2")])) == ["size  1", "id    2"]


def test_a_header_without_rows_stands_alone() -> None:
    assert list(aligned(("A", "B"), [])) == ["A  B"]
