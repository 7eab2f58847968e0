"""What a command imports before it knows that it needs it. Imports are tested, for times would flake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "sqlalchemy",
    "alembic",
    "blake3",
    "rich",
    "cryptography",
    "segno",
    "boto3",
    "botocore",
    "paramiko",
    "google",
    "rbd",
}
FINDING = {"stevedore", "importlib.metadata"}


def imported(code: str, tmp_path: Path) -> set[str]:
    """The modules that are imported when a fresh interpreter has run this."""
    program = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(); print(*sys.modules)"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BACKY_")}
    environment |= {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "module",
    [
        "backy_core",
        "backy_core.hooks, backy_core.contracts.meta, backy_core.contracts.store, backy_core.contracts.source",
        "backy_core.model, backy_core.errors",
        "backy_core.settings",
        "backy_core.plugins",
        "backy_core.repository",
    ],
)
def test_importing_the_core_imports_nothing_heavy(module: str, tmp_path: Path) -> None:
    assert imported(f"import {module}", tmp_path) & HEAVY == set()


@pytest.mark.parametrize("module", ["backy_core.hooks", "backy_core.plugins", "backy_core.settings"])
def test_plugins_are_looked_for_only_when_one_is_wanted(module: str, tmp_path: Path) -> None:
    code = "from backy_core.plugins import Plugins; Plugins()"
    assert "stevedore" not in imported(f"import {module}; {code}", tmp_path)


def test_settings_need_no_toml_reader_until_they_are_read(tmp_path: Path) -> None:
    loaded = imported("import backy_core.settings", tmp_path)
    assert loaded & {"tomllib", "json", "subprocess", "importlib.metadata", "pluggy"} == set()


@pytest.mark.parametrize(
    "plugin",
    ["backy_io_backy2", "backy_io_file", "backy_meta_sql", "backy_hash_blake3", "backy_core.builtin.directory"],
)
def test_importing_a_plugins_entry_point_imports_no_library_of_its_own(plugin: str, tmp_path: Path) -> None:
    assert imported(f"import {plugin}", tmp_path) & HEAVY == set()


@pytest.mark.parametrize("arguments", ["--version", "--help", "backup --help", "plugins", "ls"])
def test_a_command_imports_only_what_it_needs(arguments: str, tmp_path: Path) -> None:
    code = f"sys.argv = ['backy', *{arguments.split()!r}]; from backy_core.cli.main import main; main()"
    loaded = imported(code, tmp_path)
    assert "backy_core.cli.main" in loaded
    assert loaded & (HEAVY - {"rich"} if arguments == "plugins" else HEAVY) == set()
    assert not [name for name in loaded if name.startswith(("backy_io_", "backy_store_", "backy_meta_", "backy_hash_"))]


@pytest.mark.parametrize("arguments", ["--version", "--help"])
def test_the_shortest_commands_look_for_no_plugin(arguments: str, tmp_path: Path) -> None:
    code = f"sys.argv = ['backy', {arguments!r}]; from backy_core.cli.main import main; main()"
    assert imported(code, tmp_path) & {"stevedore", "backy_core.repository", "zstandard"} == set()
