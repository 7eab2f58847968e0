"""An encrypted repository gives back what was backed up, shows nothing of it, and takes from hosts that cannot read."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from backy_core.errors import KeyRefused, RepositoryError
from backy_core.repository import Repository

BLOCK = 65536
PASSPHRASE = "correct horse battery"
QUICK = 64 * 1024 * 1024


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKY_PASSPHRASE", raising=False)


@pytest.fixture(params=["sha256", "sha512", "blake2b", "blake3"])
def made(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Callable[[], Repository]:
    """Opens an encrypted repository with its passphrase."""
    name = str(tmp_path / "repository.toml")
    places = {"store": str(tmp_path / "store"), "metadata": f"sqlite://{tmp_path}/metadata.sqlite"}
    Repository.create(
        name, **places, block_size=BLOCK, hash_name=request.param, passphrase=PASSPHRASE, kdf_memory=QUICK
    ).close()
    return lambda: Repository.open(name, passphrase=PASSPHRASE)


def image(tmp_path: Path) -> Path:
    """A file with text, noise and a hole, not a multiple of a block long."""
    path = tmp_path / "disk.img"
    noise = random.Random(5).randbytes(3 * BLOCK)
    path.write_bytes(b"SECRET TEXT " * 20_000 + bytes(4 * BLOCK) + noise + noise[:BLOCK] + b"tail")
    return path


def restored(repository: Repository, tmp_path: Path, name: str) -> bytes:
    target = tmp_path / name
    report = repository.restore("vm-1", str(target))
    assert not report.damaged_chunks
    return target.read_bytes()


def test_what_was_backed_up_comes_back_and_the_store_shows_nothing_of_it(
    made: Callable[[], Repository], tmp_path: Path
) -> None:
    source = image(tmp_path)
    with made() as repository:
        repository.backup(str(source), "vm-1")
        assert restored(repository, tmp_path, "out.img") == source.read_bytes()
        assert repository.scrub().damaged_chunks == 0
        again = repository.backup(str(source), "vm-1")
        assert again.statistics.new_chunks == 0, "keyed digests find content again"
        repository.remove(["vm-1"])
        repository.cleanup()
        assert restored(repository, tmp_path, "again.img") == source.read_bytes()
    for path in (tmp_path / "store").rglob("*"):
        if path.is_file() and path.relative_to(tmp_path / "store").parts[0] in "cmva":
            content = path.read_bytes()
            assert len(content) % (32 * 1024) == 0
            assert b"SECRET" not in content


def test_without_the_key_nothing_is_written_or_read(made: Callable[[], Repository], tmp_path: Path) -> None:
    source = image(tmp_path)
    with made() as repository:
        repository.backup(str(source), "vm-1")
        name = str(repository.settings.path)
    for passphrase in (None, "wrong horse battery"):
        with Repository.open(name, passphrase=passphrase) as repository:
            assert len(repository.versions()) == 1, "the list needs no key"
            with pytest.raises(KeyRefused):
                repository.restore("vm-1", str(tmp_path / "none.img"))
            with pytest.raises(KeyRefused):
                repository.backup(str(source), "vm-1")
    assert not (tmp_path / "none.img").exists()


def test_a_host_with_the_write_key_backs_up_what_only_others_can_read(
    made: Callable[[], Repository], tmp_path: Path
) -> None:
    source = image(tmp_path)
    with made() as repository:
        repository.keys.save_write_key(tmp_path / "write.key")
        settings = repository.settings.path
    whole = settings.read_text()
    settings.write_text(whole.replace("# write_key = ", f'write_key = "{tmp_path}/write.key" # '))
    with Repository.open(str(settings)) as repository:
        first = repository.backup(str(source), "vm-1")
        assert first.statistics.new_chunks > 0
        assert repository.backup(str(source), "vm-1").statistics.new_chunks == 0
        with pytest.raises(KeyRefused, match="holds only the write key"):
            repository.restore("vm-1", str(tmp_path / "none.img"))
    settings.write_text(whole)
    with made() as repository:
        assert restored(repository, tmp_path, "out.img") == source.read_bytes()
        assert repository.backup(str(source), "vm-1").statistics.new_chunks == 0, "the two share one set of digests"


def test_an_object_put_in_anothers_place_is_damage(made: Callable[[], Repository], tmp_path: Path) -> None:
    source = image(tmp_path)
    with made() as repository:
        repository.backup(str(source), "vm-1")
        chunks = sorted((tmp_path / "store").glob("c/*/*"))
        chunks[0].chmod(0o600)
        chunks[0].write_bytes(chunks[1].read_bytes())
        report = repository.scrub()
        assert report.damaged_chunks == 1
        assert "was not sealed for this repository under this name" in report.damage[0].reason


def test_a_passphrase_for_a_repository_without_encryption_changes_nothing(repository: Repository) -> None:
    with Repository.open(str(repository.settings.path), passphrase=PASSPHRASE) as again:
        assert again.keys.slots() == []
        assert again.engine.envelope
        with pytest.raises(RepositoryError, match="is not encrypted"):
            again.keys.unlock()
