"""Every hook is documented with its exact signature, has a docstring, and is used in a test."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from backy_core import hooks

HOOKS = {name: value for name, value in vars(hooks).items() if hasattr(value, "backy_spec")}


def signature(name: str) -> str:
    """The hook as it is written in hooks.py, on one line."""
    return name + str(inspect.signature(HOOKS[name])).replace("'", "")


def test_there_are_hooks() -> None:
    assert {"open_source", "open_target", "open_store", "open_meta", "new_hash"} <= set(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_documented_with_its_exact_signature(root: Path, name: str) -> None:
    text = (root / "docs/reference/hooks.md").read_text("utf-8")
    assert f"\n### `{name}`\n\n```python\n{signature(name)}\n```\n\n" in text


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_has_a_docstring(name: str) -> None:
    assert inspect.getdoc(HOOKS[name])


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_used_in_a_test(root: Path, name: str) -> None:
    files = [
        path
        for folder in (root / "tests", *(root / "plugins").glob("*/tests"))
        for path in folder.rglob("*.py")
        if path.parent != Path(__file__).resolve().parent
    ]
    assert any(name in words(path) for path in files)


def words(path: Path) -> set[str]:
    """The names that the code of a file uses or has in its strings; comments do not count."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= set(re.findall(r"\w+", node.value))
        for field in ("name", "id", "attr", "arg"):
            value: Any = getattr(node, field, None)
            if isinstance(value, str):
                found.add(value)
    return found


def test_nothing_is_documented_that_is_no_hook(root: Path) -> None:
    text = (root / "docs/reference/hooks.md").read_text("utf-8")
    assert re.findall(r"^### `(\w+)`$", text, re.MULTILINE) == list(HOOKS)


def test_the_api_versions_are_documented(root: Path) -> None:
    text = (root / "docs/reference/hooks.md").read_text("utf-8")
    rows = re.findall(r"^\| (\w+) \| ([0-9, ]+) \| `backy_core\.\w+\.v[0-9]+` \|$", text, re.MULTILINE)
    assert rows == [(kind, ", ".join(map(str, versions))) for kind, versions in hooks.SPOKEN.items()]
