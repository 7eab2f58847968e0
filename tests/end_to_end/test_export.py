"""Metadata goes to a file and comes back from it; what was cut off, changed or is another's is refused."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from backy_core.errors import InvalidInput, RepositoryError
from backy_core.repository import Repository

BLOCK = 4096


def back_up(repository: Repository, tmp_path: Path, volume: str, content: bytes) -> str:
    image = tmp_path / "disk.img"
    image.write_bytes(content)
    return repository.backup(str(image), volume, tags=["kept"]).version.uid


def exported(repository: Repository, tmp_path: Path, *versions: str) -> Path:
    path = tmp_path / "versions.export"
    with path.open("wb") as file:
        repository.export(versions, file.write)
    return path


def restored(repository: Repository, version: str, tmp_path: Path) -> bytes:
    target = tmp_path / "restored.img"
    target.unlink(missing_ok=True)
    assert not repository.restore(version, str(target)).damage
    return target.read_bytes()


def sparse(seed: int, blocks: int = 300) -> bytes:
    rng = random.Random(seed)
    return b"".join(rng.choice([bytes(BLOCK), rng.randbytes(BLOCK)]) for _ in range(blocks)) + b"the end"


def test_versions_come_back_from_an_export_with_all_they_had(repository: Repository, tmp_path: Path) -> None:
    old, new = sparse(1), sparse(2)
    uids = [back_up(repository, tmp_path, "vm-1", content) for content in (old, new)]
    before = {version.uid: version for version in repository.versions()}
    path = exported(repository, tmp_path, *uids)
    assert repository.import_export(path).there == tuple(uids), "what is there is not made twice"
    repository.remove(uids)
    report = repository.import_export(path)
    assert [restored(repository, version.uid, tmp_path) for version in report.imported] == [old, new]
    for uid, version in zip(uids, report.imported, strict=True):
        assert (version.volume, version.created, version.attributes) == (
            before[uid].volume,
            before[uid].created,
            before[uid].attributes,
        )
    assert repository.import_export(path).imported == ()
    assert repository.check_database().differences == ()
    repository.cleanup()
    assert restored(repository, "vm-1", tmp_path) == new


def test_content_that_the_database_forgot_is_found_in_the_store(repository: Repository, tmp_path: Path) -> None:
    content = sparse(3, blocks=40)
    uid = back_up(repository, tmp_path, "vm-1", content)
    path = exported(repository, tmp_path, uid)
    kept = {object_: object_.read_bytes() for object_ in (tmp_path / "store" / "c").rglob("*") if object_.is_file()}
    repository.remove([uid])
    repository.cleanup()
    for object_, data in kept.items():
        object_.write_bytes(data)
    [version] = repository.import_export(path).imported
    assert restored(repository, version.uid, tmp_path) == content


def test_content_that_is_gone_is_told_and_nothing_is_kept(repository: Repository, tmp_path: Path) -> None:
    uid = back_up(repository, tmp_path, "vm-1", sparse(4, blocks=40))
    path = exported(repository, tmp_path, uid)
    repository.remove([uid])
    repository.cleanup()
    with pytest.raises(RepositoryError, match="not in the store any more"):
        repository.import_export(path)
    assert repository.versions() == []


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "no export", "another repository", "disorder"])
def test_what_is_no_whole_export_of_this_repository_is_refused(
    repository: Repository, tmp_path: Path, how: str, open_repository: Callable[..., Repository]
) -> None:
    import hashlib

    uid = back_up(repository, tmp_path, "vm-1", os.urandom(20 * BLOCK))
    path = exported(repository, tmp_path, uid)
    repository.remove([uid])
    lines = path.read_bytes().splitlines(keepends=True)
    if how == "cut":
        path.write_bytes(b"".join(lines[:-1]))
    elif how == "flipped":
        path.write_bytes(path.read_bytes().replace(b'"at"', b'"At"', 1))
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "no export":
        path.write_bytes(os.urandom(1000))
    else:
        if how == "another repository":
            lines[0] = json.dumps({**json.loads(lines[0]), "repository": "other"}).encode() + b"\n"
        else:
            lines.insert(2, lines[2])
        body = b"".join(lines[:-1])
        path.write_bytes(body + json.dumps({"sha256": hashlib.sha256(body).hexdigest()}).encode() + b"\n")
    with pytest.raises(InvalidInput) as refused:
        repository.import_export(path)
    assert "\n" not in str(refused.value)
    assert repository.versions() == []
