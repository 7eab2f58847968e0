"""The plugin `file`: what its URLs mean, and that it stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from backy_core.builtin.directory import directory_of, open_store
from backy_core.errors import InvalidInput, RepositoryError


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("file:///srv/backy", "/srv/backy"),
        ("file://localhost/srv/backy", "/srv/backy"),
        ("FILE:///srv/backy", "/srv/backy"),
        ("file:/srv/backy", "/srv/backy"),
        ("file:///srv/backy/", "/srv/backy"),
        ("file:////srv/backy", "/srv/backy"),
        ("file:///srv//a/./b", "/srv/a/b"),
        ("file:///with%20space", "/with space"),
        ("file:///with space", "/with space"),
        ("file:///100%25", "/100%"),
        ("file:///question%3F%23", "/question?#"),
        ("file:///%C3%A4", "/ä"),
        ("file:///ä", "/ä"),
        ("file:///%FF", "/\udcff"),
    ],
)
def test_a_url_names_an_absolute_path(location: str, path: str) -> None:
    assert directory_of(location) == path


def test_another_plugin_can_read_its_own_urls_the_same_way() -> None:
    assert directory_of("nfs:///mnt/backy", "nfs") == "/mnt/backy"
    with pytest.raises(InvalidInput, match="write nfs:///absolute/path"):
        directory_of("file:///mnt/backy", "nfs")


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:relative", "is relative"),
        ("file:", "is relative"),
        ("file://", "is relative"),
        ("file://localhost", "is relative"),
        ("file://relative/dir", "names the host 'relative'"),
        ("file://me@localhost/dir", "names the host"),
        ("file:///dir?mode=fast", "has a query"),
        ("file:///dir?", "has a query"),
        ("file:///dir#part", "has a query, fragment"),
        ("file:///dir#", "has a query, fragment"),
        ("file:///di\nr", "control character"),
        ("file:///a%00b", "NUL byte"),
        ("file://[/dir", "is no URL"),
        ("s3://bucket", "is no file URL"),
        ("/dir", "is no file URL"),
    ],
)
def test_what_else_a_url_may_say_is_refused_in_one_line(location: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        directory_of(location)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["plain", "with space", "100%", "a?b#c", "ä", "\udcff", "new\nline"])
def test_the_location_of_an_open_store_opens_it_again(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    with_create = open_store(f"file://{quote(str(root), errors='surrogateescape')}", None, True)
    assert with_create is not None
    with with_create:
        with_create.put("v/1", [b"x"])
        with_create.sync()
    again = open_store(with_create.location, None, False)
    assert again is not None
    with again:
        assert again.get("v/1") == b"x"
        assert again.location == with_create.location
    assert root.is_dir()


def test_an_absent_directory_is_not_made_without_create(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="backy init") as caught:
        open_store(f"file://{quote(str(tmp_path))}/mistyped", None, False)
    assert "mistyped" in str(caught.value)
    assert not (tmp_path / "mistyped").exists()


def test_an_empty_directory_is_taken_for_a_mount_point_without_its_mount(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="mount"):
        open_store(f"file://{quote(str(tmp_path))}", None, False)
    assert list(tmp_path.iterdir()) == []


def test_the_module_of_the_hook_does_not_load_the_store() -> None:
    code = (
        "import sys, backy_core.builtin.directory as d; d.directory_of('file:///x');"
        "assert 'backy_core.builtin.posix' not in sys.modules; assert 'concurrent.futures' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
