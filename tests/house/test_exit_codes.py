"""The table of exit codes is complete, and the manual prints it."""

from __future__ import annotations

import re
from pathlib import Path

from backy_core import errors
from backy_core.errors import EXIT_CODES, BackyError


def family(error: type[BackyError] = BackyError) -> list[type[BackyError]]:
    return [error, *(below for child in error.__subclasses__() for below in family(child))]


def test_every_error_has_an_exit_code_with_a_meaning() -> None:
    kinds = [kind for kind in family() if kind.__module__ == "backy_core.errors"]
    assert len(kinds) > 20
    for kind in kinds:
        assert EXIT_CODES[kind.exit_code] == kind.meaning, kind
        assert kind.__name__ in errors.__all__
        assert kind.__doc__


def test_exit_codes_fit_a_shell() -> None:
    assert all(0 <= code < 256 for code in EXIT_CODES)
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)


def test_the_manual_prints_every_code_with_its_meaning(root: Path) -> None:
    text = (root / "docs/reference/exit-codes.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", text, re.MULTILINE))
    assert {str(code): meaning for code, meaning in EXIT_CODES.items()}.items() <= rows.items()
