"""Who may import whom."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

OPEN_TO_PLUGINS = ("hooks", "contracts", "model", "errors", "testing")


def within(name: str, *packages: str) -> bool:
    """`name` is one of these modules or lies in one of these packages."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def offenders(modules: list[Any], *forbidden: str, but: tuple[str, ...] = ()) -> list[str]:
    """Who imports one of these, `but` aside."""
    return [
        f"{module.name} imports {name}"
        for module in modules
        if not within(module.name, *but)
        for name in sorted(module.imports())
        if within(name, *forbidden)
    ]


def test_nobody_imports_the_command_line(core: list[Any], plugins: dict[str, list[Any]]) -> None:
    everybody = [*core, *(module for modules in plugins.values() for module in modules)]
    assert offenders(everybody, "backy_core.cli", but=("backy_core.cli",)) == []


def test_nobody_imports_the_folders_of_the_source_tree(core: list[Any], plugins: dict[str, list[Any]]) -> None:
    everybody = [*core, *(module for modules in plugins.values() for module in modules)]
    assert offenders(everybody, "tests", "plugins") == []


def test_the_core_imports_no_plugin(core: list[Any], plugins: dict[str, list[Any]]) -> None:
    assert offenders(core, *(f"backy_{name}" for name in plugins)) == []


def test_a_plugin_imports_of_the_core_only_what_is_promised(plugins: dict[str, list[Any]]) -> None:
    promised = tuple(f"backy_core.{name}" for name in OPEN_TO_PLUGINS)
    found = [
        f"{module.name} imports {name}"
        for modules in plugins.values()
        for module in modules
        for name in sorted(module.imports())
        if within(name, "backy_core") and name != "backy_core" and not within(name, *promised)
    ]
    assert found == []


def test_a_plugin_imports_no_other_plugin(plugins: dict[str, list[Any]]) -> None:
    for own, modules in plugins.items():
        assert offenders(modules, *(f"backy_{name}" for name in plugins if name != own)) == []


def test_only_finding_plugins_needs_stevedore(core: list[Any], plugins: dict[str, list[Any]]) -> None:
    everybody = [*core, *(module for modules in plugins.values() for module in modules)]
    assert offenders(everybody, "stevedore", but=("backy_core.plugins", "backy_core.admission")) == []


def test_only_asking_plugins_needs_pluggy(core: list[Any], plugins: dict[str, list[Any]]) -> None:
    everybody = [*core, *(module for modules in plugins.values() for module in modules)]
    asking = ("backy_core.hooks", "backy_core.plugins", "backy_core.admission")
    assert offenders(everybody, "pluggy", but=asking) == []


def test_the_import_contracts_of_the_project_are_kept(root: Path) -> None:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--no-logo"],
        cwd=root,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_import_contracts_name_every_plugin(root: Path, plugins: dict[str, list[Any]]) -> None:
    import tomllib

    said = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]
    expected = {f"backy_{name}" for name in plugins}
    assert set(said["importlinter"]["root_packages"]) == {"backy_core"} | expected
    lists = [set(c.get("modules", c.get("forbidden_modules", ()))) for c in said["importlinter"]["contracts"][1:]]
    assert lists == [expected, expected]
    assert set(said["mypy"]["mypy_path"]) == {f"plugins/{name}/src" for name in plugins}
