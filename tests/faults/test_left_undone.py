"""What a killed run has decided and not put into the store: nobody takes it for a difference, or does it twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backy_core.builtin.posix import PosixStore
from backy_core.model import Attributes
from backy_core.repository import Repository

BLOCK = 4096


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Repository, Repository]]:
    """Two repositories; the first one has a version."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("one", "two"):
        Repository.create(
            str(tmp_path / f"{name}.toml"),
            store=str(tmp_path / name),
            metadata=f"sqlite://{tmp_path}/{name}.sqlite",
            block_size=BLOCK,
        ).close()
    image = tmp_path / "disk.img"
    image.write_bytes(os.urandom(5 * BLOCK))
    with Repository.open(str(tmp_path / "one.toml")) as one, Repository.open(str(tmp_path / "two.toml")) as two:
        one.backup(str(image), "vm-1")
        yield one, two


def test_attributes_that_are_still_to_be_put_are_no_difference(both: tuple[Repository, Repository]) -> None:
    one, _ = both
    [version] = one.versions()
    with one._writing("tag") as session:
        one.meta.set_attributes(session, version.uid, Attributes(("new",)))
    assert one.check_database().differences == ()
    one.cleanup()
    assert one.check_database().differences == ()
    assert one.versions()[0].attributes.tags == ("new",)


def test_a_copy_that_was_promised_is_finished_and_not_made_again(
    both: tuple[Repository, Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = both
    really = PosixStore.put

    def stopping(self: PosixStore, key: str, *more: Any, **how: Any) -> None:
        if key.startswith("v/"):
            raise KeyboardInterrupt
        really(self, key, *more, **how)

    monkeypatch.setattr(PosixStore, "put", stopping)
    with pytest.raises(KeyboardInterrupt):
        one.copy([], two)
    monkeypatch.undo()
    assert one.copy([], two).copied == ()
    [copied] = two.versions()
    assert copied.state.is_finished
