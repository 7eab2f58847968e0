"""What is in the packages that people install: the modules of the tree, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

KINDS_OF_FILES = {".py", ".toml", ".typed", ".mako"}


@pytest.fixture(scope="session")
def wheels(root: Path, plugin_folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of the core and all plugins by import name, built offline."""
    out = tmp_path_factory.mktemp("built wheels")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--wheel-dir", str(out), str(root), *map(str, plugin_folders)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {wheel.name.split("-")[0]: wheel for wheel in out.iterdir()}


def in_tree(package: Path) -> set[str]:
    """The files that a wheel of the package in this folder ought to hold."""
    return {
        str(path.relative_to(package.parent))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix in KINDS_OF_FILES
    }


def in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return {name for name in opened.namelist() if ".dist-info/" not in name}


def test_a_wheel_of_each_package_is_built(wheels: dict[str, Path], plugin_folders: list[Path]) -> None:
    assert set(wheels) == {"backy_core", *(f"backy_{folder.name}" for folder in plugin_folders)}


def test_the_cores_wheel_holds_the_core(root: Path, wheels: dict[str, Path]) -> None:
    held = in_wheel(wheels["backy_core"])
    assert held == in_tree(root / "backy_core")
    assert {"backy_core/py.typed", "backy_core/install_hints.toml", "backy_core/hooks.py"} <= held


def test_a_plugins_wheel_holds_the_plugin(plugin_folders: list[Path], wheels: dict[str, Path]) -> None:
    for folder in plugin_folders:
        package = f"backy_{folder.name}"
        held = in_wheel(wheels[package])
        assert held == in_tree(folder / "src" / package)
        assert {f"{package}/py.typed", f"{package}/__init__.py"} <= held


def test_the_cores_wheel_brings_its_licences_and_the_command(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["backy_core"]) as opened:
        names = {name.partition(".dist-info/")[2] for name in opened.namelist()}
        points = next(name for name in opened.namelist() if name.endswith("entry_points.txt"))
        said = opened.read(points).decode()
    assert {"licenses/LICENSE", "licenses/LICENSE.GPL"} <= names
    assert "[console_scripts]\nbacky = backy_core.cli.main:main\n" in said


def test_what_is_installed_from_the_wheels_finds_its_plugins_and_its_data(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    site = tmp_path / "site packages"
    for wheel in wheels.values():
        with zipfile.ZipFile(wheel) as opened:
            opened.extractall(site)
    code = """
import backy_core
from backy_core.errors import PluginError
from backy_core.plugins import Plugins, installed
print(backy_core.__file__)
print([(info.kind, info.name) for info in installed() if info.problem is None])
plugins = Plugins()
for info in installed():
    plugins.settings_type(info.kind, info.name) if info.kind != "hooks" else None
try:
    plugins.settings_type("store", "s3")
except PluginError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    place, listed, message = done.stdout.splitlines()
    assert place == str(site / "backy_core" / "__init__.py")
    for one in (("io", "file"), ("store", "file"), ("meta", "sqlite"), ("hash", "blake3"), ("hash", "sha512")):
        assert str(one) in listed
    assert message == "s3:// needs the package backy-store-s3: pip install backy-store-s3"
