"""The tables of the kernel are read right, whatever characters are in a path."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from backy_io_file.usage import device_user, file_user, lock_user, same_thing

Mount = Callable[..., Path]


def test_every_line_of_the_mount_table_is_understood_and_an_unused_number_has_no_user(mount: Mount) -> None:
    mount("tmpfs", "none")  # its place has spaces, so the table has escapes
    assert device_user(os.makedev(259, 4000)) is None


def test_a_mount_is_found_by_its_number_and_its_place_is_shown_unescaped(mount: Mount) -> None:
    where = mount("tmpfs", "none")
    assert device_user(where.stat().st_dev) == f"mounted on {where}"


def test_a_plain_file_has_no_user(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    assert file_user(path.stat()) is None
    with path.open("r+b") as file:
        assert lock_user(file.fileno()) is None


def test_where_asking_for_a_lock_is_refused_none_is_held(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with path.open("rb") as file:  # an exclusive lock cannot even be asked for
        assert lock_user(file.fileno()) is None


def test_two_names_of_one_file_are_the_same_thing_and_two_files_are_not(tmp_path: Path) -> None:
    one, two, link = tmp_path / "one", tmp_path / "two", tmp_path / "link"
    one.write_bytes(b"")
    two.write_bytes(b"")
    os.link(one, link)
    assert same_thing(one.stat(), link.stat())
    assert not same_thing(one.stat(), two.stat())


def test_the_hooks_alone_import_neither_source_nor_target(tmp_path: Path) -> None:
    import subprocess

    code = "import sys, backy_io_file; print([n for n in sys.modules if n.startswith('backy_io_file.')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("hook", ["open_source", "open_target"])
def test_the_hooks_fit_the_specification(hook: str) -> None:
    import backy_io_file
    import pluggy

    import backy_core.hooks

    manager = pluggy.PluginManager("backy")
    manager.add_hookspecs(backy_core.hooks)
    manager.register(backy_io_file)
    manager.check_pending()
    assert len(getattr(manager.hook, hook).get_hookimpls()) == 1
    assert manager.hook.io_settings() is None
