"""A database put back from a copy is older than its store: nothing is written by it, and reading still works."""

from __future__ import annotations

import os
import shutil
from types import SimpleNamespace

import pytest

BLOCK = 65536


@pytest.fixture
def copied(place: SimpleNamespace) -> SimpleNamespace:
    """A repository whose database was copied, and then cleaned up twice more by the newer one."""
    place.init("--block-size", str(BLOCK))
    place.image = place.base / "disk.img"
    place.contents = os.urandom(20 * BLOCK)
    place.image.write_bytes(place.contents)
    assert place.run("backup", str(place.image), "kept").code == 0
    place.image.write_bytes(os.urandom(20 * BLOCK))
    assert place.run("backup", str(place.image), "going").code == 0
    place.database = place.base / "metadata.sqlite"
    place.copy = place.base / "copy.sqlite"
    shutil.copy(place.database, place.copy)
    assert place.run("rm", "going").code == 0
    assert place.run("cleanup").code == 0
    return place


def put_back(place: SimpleNamespace) -> None:
    for path in place.base.glob("metadata.sqlite-*"):
        path.unlink()
    shutil.copy(place.copy, place.database)


@pytest.mark.parametrize("arguments", [["backup", "IMAGE", "kept"], ["rm", "kept"], ["cleanup"]])
def test_an_older_database_writes_nothing(copied: SimpleNamespace, arguments: list[str]) -> None:
    put_back(copied)
    objects = sorted(copied.base.glob("store/**/*"))
    done = copied.run(*[str(copied.image) if word == "IMAGE" else word for word in arguments])
    assert done.code == 9, done.err
    assert "older than the store" in done.err
    assert len(done.err.splitlines()) == 1
    assert sorted(copied.base.glob("store/**/*")) == objects


def test_an_older_database_still_restores_what_is_there_and_says_what_is_not(copied: SimpleNamespace) -> None:
    put_back(copied)
    target = copied.base / "out.img"
    assert copied.run("restore", "kept", str(target)).code == 0
    assert target.read_bytes() == copied.contents
    target.unlink()
    done = copied.run("restore", "going", str(target))
    assert done.code == 3, "its objects are gone: said, not hidden"


def test_two_copies_of_one_database_cannot_both_clean_up(copied: SimpleNamespace) -> None:
    """The copy's next generation is there already: whoever comes second is stopped before it deletes anything."""
    newer = copied.base / "newer.sqlite"
    shutil.copy(copied.database, newer)
    assert copied.run("rm", "kept").code == 0
    assert copied.run("cleanup").code == 0
    copied.copy = newer
    put_back(copied)
    objects = sorted(copied.base.glob("store/**/*"))
    done = copied.run("cleanup")
    assert done.code == 9, done.err
    assert sorted(copied.base.glob("store/**/*")) == objects


def test_a_foreign_store_is_refused(place: SimpleNamespace) -> None:
    place.init()
    other = place.base / "other.toml"
    more = {**place.environment, "BACKY_REPOSITORY": str(other)}
    place.environment.update(more)
    place.init(store=place.base / "other", database=place.base / "other.sqlite")
    text = other.read_text().replace(str(place.base / "other").replace(" ", "%20"), "STORE", 1)
    assert "STORE" in text
    other.write_text(text.replace("STORE", str(place.base / "store").replace(" ", "%20"), 1))
    image = place.base / "disk.img"
    image.write_bytes(b"x")
    done = place.run("backup", str(image), "vm-1")
    assert done.code == 9, done.err
    assert "belongs to the repository" in done.err
    for path in sorted((place.base / "store").iterdir()):
        if path.name == "config":
            path.unlink()
    done = place.run("backup", str(image), "vm-1")
    assert done.code == 9, done.err
    assert "holds no repository" in done.err
