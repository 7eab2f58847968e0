"""A place of its own for every test of the command line: real commands, real files, no configuration."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

MIB = 1024 * 1024


@dataclass
class Place:
    """A directory with a space in its name, and an environment whose home is in it."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "backy_core.cli.main", *arguments]

    def backy(self, *arguments: str, cwd: Path | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run `backy` in a process of its own."""
        return subprocess.run(
            self.command(*arguments),
            cwd=cwd or self.path,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **more,
        )

    def do(self, *arguments: str) -> str:
        """Run `backy`, expect success, give what it printed."""
        ended = self.backy(*arguments)
        assert ended.returncode == 0, (arguments, ended.returncode, ended.stdout, ended.stderr)
        return ended.stdout

    def ask(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run `backy --json`, expect an exit code, give the one document that it printed."""
        ended = self.backy("--json", *arguments)
        assert ended.returncode == code, (arguments, ended.returncode, ended.stdout, ended.stderr)
        document = json.loads(ended.stdout)
        assert document["schema"] == 1
        assert isinstance(document, dict)
        return document

    def image(
        self, name: str = "disk.img", pieces: Sequence[str | None] = ("a", "b", None, "c"), size: int = 0
    ) -> Path:
        """A sparse file of 4 MiB pieces; equal words make equal content, None makes a hole."""
        path = self.path / name
        with open(path, "wb") as file:
            for number, word in enumerate(pieces):
                if word is not None:
                    file.seek(number * 4 * MIB)
                    file.write(random.Random(word).randbytes(MIB) * 4)
            file.truncate(size or len(pieces) * 4 * MIB)
        return path


def fresh_place(parent: Path) -> Place:
    """A place without a repository, below `parent`."""
    folder = parent / "a place"
    folder.mkdir()
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BACKY_", "XDG_", "LC_", "LANG", "PYTEST_"))
    }
    home = folder / "home"
    home.mkdir()
    environment = {
        **kept,
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PYTHONWARNINGS": "error",
        "LC_ALL": "C.UTF-8",
        "TZ": "Asia/Kolkata",
    }
    return Place(folder, environment)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A fresh place without a repository."""
    return fresh_place(tmp_path)


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One place for the tests of a module that change nothing: a repository, and one version of `vm-1`."""
    place = fresh_place(tmp_path_factory.mktemp("shared"))
    place.do("init")
    place.image()
    place.do("backup", "disk.img", "vm-1")
    return place


@pytest.fixture
def repository(place: Place) -> Place:
    """A place with the default repository in it."""
    place.do("init")
    return place
