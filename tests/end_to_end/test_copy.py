"""Copies in another repository: complete, made once, incremental, with other keys, hashes and block sizes."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from backy_core.errors import InvalidInput, SourceError
from backy_core.repository import Repository

BLOCK = 4096


@pytest.fixture
def offsite(home: Path, tmp_path: Path) -> Iterator[Repository]:
    """Another repository: encrypted, with another hash and block size."""
    repository = Repository.create(
        str(tmp_path / "offsite.toml"),
        store=str(tmp_path / "offsite"),
        metadata=f"sqlite://{tmp_path / 'offsite.sqlite'}",
        hash_name="sha256",
        block_size=3 * BLOCK,
        passphrase="a long passphrase",
        kdf_memory=64 * 1024 * 1024,
    )
    yield repository
    repository.close()


def back_up(repository: Repository, tmp_path: Path, content: bytes, **how: object) -> str:
    image = tmp_path / "disk.img"
    image.write_bytes(content)
    return repository.backup(str(image), "vm-1", **how).version.uid  # type: ignore[arg-type]


def restored(repository: Repository, version: str, tmp_path: Path) -> bytes:
    target = tmp_path / "restored.img"
    target.unlink(missing_ok=True)
    assert not repository.restore(version, str(target)).damage
    return target.read_bytes()


def test_a_history_is_copied_and_reads_only_what_changed(
    repository: Repository, offsite: Repository, tmp_path: Path
) -> None:
    rng = random.Random(1)
    data = bytearray(rng.randbytes(200 * BLOCK + 100))
    contents = []
    for size in (200 * BLOCK + 100, 200 * BLOCK + 100, 90 * BLOCK + 1, 260 * BLOCK, 260 * BLOCK):
        data = bytearray(data[:size].ljust(size, b"\0"))
        data[BLOCK * 7 : BLOCK * 8] = rng.randbytes(BLOCK)
        back_up(repository, tmp_path, bytes(data), tags=[f"size-{size}"])
        contents.append(bytes(data))
    repository.protect(["vm-1@-1"], reason="why")
    versions = repository.versions()
    report = repository.copy([], offsite)
    assert [version for version, _ in report.copied] == versions
    copies = offsite.versions()
    for version, copy, content in zip(versions, copies, contents, strict=True):
        assert restored(offsite, copy.uid, tmp_path) == content
        assert (copy.volume, copy.created, copy.source, copy.attributes) == (
            version.volume,
            version.created,
            version.source,
            version.attributes,
        )
    read = [copied.statistics.read_bytes for _, copied in report.copied]
    assert read[0] > 199 * BLOCK
    assert read[1] < 10 * BLOCK
    assert read[4] < 10 * BLOCK
    again = repository.copy([], offsite)
    assert again.copied == ()
    assert len(again.there) == 5
    assert offsite.check_database().differences == ()
    assert not offsite.scrub().damage


def test_an_interrupted_copy_goes_on(repository: Repository, offsite: Repository, tmp_path: Path) -> None:
    content = os.urandom(600 * BLOCK)
    back_up(repository, tmp_path, content)

    def stop(moment: object) -> None:
        if getattr(moment, "done", 0) > 300 * BLOCK:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repository.copy([], offsite, progress=stop)
    stored = len([path for path in (tmp_path / "offsite" / "c").rglob("*") if path.is_file()])
    report = repository.copy([], offsite)
    [(_, copied)] = report.copied
    assert copied.continued
    assert stored + copied.statistics.new_chunks <= 200 + 64
    assert restored(offsite, "vm-1", tmp_path) == content


def test_damage_is_never_copied_as_zeros(repository: Repository, offsite: Repository, tmp_path: Path) -> None:
    back_up(repository, tmp_path, os.urandom(30 * BLOCK))
    victim = next(path for path in (tmp_path / "store" / "c").rglob("*") if path.is_file())
    victim.unlink()
    with pytest.raises(SourceError, match="scrub it"):
        repository.copy([], offsite)
    assert [version.state.is_finished for version in offsite.versions()] == [False]


def test_a_repository_is_not_copied_to_itself(repository: Repository, tmp_path: Path) -> None:
    back_up(repository, tmp_path, b"x")
    with pytest.raises(InvalidInput):
        repository.copy([], repository)
