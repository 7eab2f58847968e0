"""Where the source tree is, and what is in it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Module:
    """A Python module of the product: its dotted name, file, text and syntax tree."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    def imports(self) -> set[str]:
        """The dotted names of all imports in it, at the top, late and for type checking alike."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                start = ""
                if node.level:
                    package = self.name.split(".") if self.path.name == "__init__.py" else self.name.split(".")[:-1]
                    start = ".".join(package[: len(package) - node.level + 1])
                module = ".".join(part for part in (start, node.module) if part)
                found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        return found


def modules_below(package: Path) -> list[Module]:
    """The modules of the package in this folder."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        name = ".".join(parts).removesuffix(".__init__")
        text = path.read_text("utf-8")
        found.append(Module(name, path, text, ast.parse(text, str(path))))
    return found


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def core() -> list[Module]:
    """The modules of the core."""
    return modules_below(ROOT / "backy_core")


@pytest.fixture(scope="session")
def plugin_folders() -> list[Path]:
    """The folders of the plugins in this tree."""
    found = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
    assert found
    return found


@pytest.fixture(scope="session")
def plugins(plugin_folders: list[Path]) -> dict[str, list[Module]]:
    """The modules of each plugin, by the name of its folder."""
    return {folder.name: modules_below(folder / "src" / f"backy_{folder.name}") for folder in plugin_folders}
