"""The first day with backy: real files, no configuration, any directory."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from pathlib import Path

import pytest

from .conftest import MIB, Place


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def objects(place: Place, folder: str = "c") -> list[Path]:
    """The objects of the default repository whose key starts with `folder`."""
    return sorted(
        path
        for path in (place.path / "home" / "data").rglob("*")
        if path.is_file() and folder in path.relative_to(place.path).parts
    )


def spoil(path: Path) -> None:
    """Flip bits in the middle of an object."""
    path.chmod(path.stat().st_mode | stat.S_IWUSR)
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 0x55]))


def test_a_backup_is_restored_byte_for_byte(place: Place) -> None:
    image = place.image()
    elsewhere = place.path / "elsewhere"
    elsewhere.mkdir()
    shown = place.do("init")
    assert "next: `backy backup SOURCE VOLUME`" in shown
    for line in ("data      file://", "metadata  sqlite://", "settings  /"):
        assert line in shown
    place.do("backup", "disk.img", "vm-1")
    restored = place.backy("restore", "vm-1", "restored.img", cwd=elsewhere)
    assert restored.returncode == 0, restored.stderr
    assert digest(elsewhere / "restored.img") == digest(image)
    assert (elsewhere / "restored.img").stat().st_blocks * 512 < image.stat().st_size, "holes are holes again"
    assert f"\nnext: `losetup --find --show --partscan --read-only '{elsewhere}/restored.img'` " in restored.stdout


@pytest.mark.parametrize("size", [0, 1, 4095, 4 * MIB, 4 * MIB + 1])
def test_any_size_is_restored_as_it_was(repository: Place, size: int) -> None:
    image = repository.path / "odd.img"
    image.write_bytes(bytes(range(1, 252)) * (size // 251) + bytes(range(1, size % 251 + 1)))
    assert image.stat().st_size == size
    repository.do("backup", "odd.img", "odd")
    repository.do("restore", "odd", "back.img")
    assert digest(repository.path / "back.img") == digest(image)


def test_a_backup_ends_with_where_the_data_is_and_how_many_bytes_went_there(repository: Place) -> None:
    repository.image()
    shown = repository.do("backup", "disk.img", "vm-1")
    assert re.fullmatch(
        r"vm-1: version [0-9a-f]{12} is valid: 12\.0 MiB read, 3 of 4 blocks changed,"
        r" 12\.0 MiB went to file:///\S+/store in [0-9.]+ s\n",
        shown.replace(" place", "_place"),
    ), shown


def test_a_second_backup_stores_only_what_changed(repository: Place) -> None:
    repository.image()
    repository.do("backup", "disk.img", "vm-1")
    repository.image(pieces=("a", "x", None, "c"))
    report = repository.ask("backup", "disk.img", "vm-1")
    assert report["statistics"]["changed_blocks"] == 1
    assert report["statistics"]["new_chunks"] == 1
    assert 4 * MIB <= report["statistics"]["new_bytes"] < 5 * MIB
    unchanged = repository.ask("backup", "disk.img", "vm-1")
    assert unchanged["statistics"]["changed_blocks"] == unchanged["statistics"]["stored_bytes"] == 0
    assert unchanged["version"]["base"] == report["version"]["uid"]


def test_older_versions_are_selected_by_place_and_by_uid(repository: Place) -> None:
    first = repository.image()
    before = digest(first)
    repository.do("backup", "disk.img", "vm-1")
    after = digest(repository.image(pieces=("x", "y", "z", "c")))
    repository.do("backup", "disk.img", "vm-1")
    uids = [version["uid"] for version in repository.ask("ls", "vm-1")["versions"]]
    for selector, name, wanted in (("vm-1", "1", after), ("vm-1@-1", "2", before), (uids[0][:10], "3", before)):
        repository.do("restore", selector, name)
        assert digest(repository.path / name) == wanted
    assert repository.ask("show", "vm-1@-1")["version"]["uid"] == uids[0]


def test_an_empty_repository_says_what_to_do(repository: Place) -> None:
    assert repository.do("ls") == "no versions yet: `backy backup SOURCE VOLUME` makes one\n"
    assert repository.do("scrub") == "no versions to scrub: `backy backup SOURCE VOLUME` makes one\n"
    assert repository.do("cleanup") == "nothing to free: every object in the store is in use\n"
    assert repository.ask("ls") == {"schema": 1, "versions": []}


def test_ls_shows_local_times_and_human_sizes_in_aligned_columns(repository: Place) -> None:
    repository.image()
    repository.do("backup", "disk.img", "vm-1")
    repository.do("backup", "disk.img", "a-longer-name")
    header, first, second = repository.do("ls").splitlines()
    assert header.split() == ["VOLUME", "VERSION", "CREATED", "STATE", "SIZE", "CHANGED", "STORED", "SOURCE"]
    assert first.startswith("vm-1           ")
    assert second.startswith("a-longer-name  ")
    source = f"{repository.path}/disk.img"
    assert f"+05:30  valid  16.0 MiB  3 blocks  12.0 MiB  {source}" in first
    assert first.index(source) == second.index(source) == header.index("SOURCE")


def test_json_may_stand_before_or_after_the_command(repository: Place) -> None:
    repository.image()
    repository.do("backup", "disk.img", "vm-1")
    assert json.loads(repository.do("--json", "ls")) == json.loads(repository.do("ls", "--json"))
    assert repository.do("-R", "default", "ls") == repository.do("ls", "-R", "default")


def test_options_of_backy2_are_understood(repository: Place) -> None:
    repository.image()
    repository.do("backup", "disk.img", "vm-1")
    uid = repository.ask("ls")["versions"][0]["uid"]
    (repository.path / "diff").write_text('[{"offset": 0, "length": 4194304, "exists": "true"}]\n')
    report = repository.ask("backup", "-r", "diff", "-f", uid, f"file://{repository.path}/disk.img", "vm-1")
    assert report["version"]["base"] == uid
    repository.do("restore", "-s", "-f", uid, "restored.img")
    assert digest(repository.path / "restored.img") == digest(repository.path / "disk.img")
    assert "initialised already" in repository.backy("initdb").stderr


def test_damage_is_found_listed_survived_and_healed(repository: Place) -> None:
    image = repository.image()
    repository.do("backup", "disk.img", "vm-1")
    chunks = objects(repository)
    assert len(chunks) == 3
    spoil(chunks[0])

    scrubbed = repository.backy("scrub")
    assert scrubbed.returncode == 20
    assert "backy: error: 1 object of the store is damaged" in scrubbed.stderr
    key = "/".join(chunks[0].parts[-3:])
    assert f"corrupt: {key}: " in scrubbed.stdout
    assert "now invalid: vm-1 " in scrubbed.stdout
    document = repository.ask("scrub", code=20)
    assert [found["key"] for found in document["damage"]] == [key]

    uid = repository.ask("ls")["versions"][0]["uid"]
    restored = repository.backy("restore", uid, "restored.img")
    assert restored.returncode == 3
    (listed,) = (line for line in restored.stdout.splitlines() if line.startswith("damaged: "))
    found = re.search(r"offset (\d+) \(0x([0-9a-f]+), .*length 4194304 \(0x400000, 4\.0 MiB\)", listed)
    assert found is not None
    offset = int(found[1])
    assert offset == int(found[2], 16)
    expected = bytearray(image.read_bytes())
    expected[offset : offset + 4 * MIB] = bytes(4 * MIB)
    assert (repository.path / "restored.img").read_bytes() == expected, "all good blocks were written"
    document = repository.ask("restore", "--force", uid, "restored.img", code=3)
    assert document["damaged_extents"] == [{"offset": offset, "length": 4 * MIB}]
    assert f"damaged: offset {offset} " in repository.do("show", uid)

    healing = repository.backy("backup", "disk.img", "vm-1")
    assert healing.returncode == 0
    assert "backy: warning: " in healing.stderr
    assert "is valid" in healing.stdout
    repository.do("scrub")
    repository.do("restore", "--force", uid, "restored.img")
    assert digest(repository.path / "restored.img") == digest(image)


def test_removed_versions_give_their_space_back_and_take_nothing_along(repository: Place) -> None:
    repository.image(pieces=("a", "b", "only here"))
    repository.do("backup", "disk.img", "vm-1")
    image = repository.image(pieces=("a", "b", "later"))
    repository.do("backup", "disk.img", "vm-1")
    assert len(objects(repository)) == 4
    oldest = repository.ask("ls")["versions"][0]["uid"]
    shown = repository.do("rm", oldest)
    assert shown.splitlines() == [
        f"vm-1: version {oldest[:12]} is removed",
        "next: `backy cleanup` frees the space that no other version needs",
    ]
    assert re.fullmatch(r"4\.0 MiB freed: \d+ objects? deleted\n", repository.do("cleanup"))
    assert len(objects(repository)) == 3
    repository.do("scrub")
    repository.do("restore", "vm-1", "restored.img")
    assert digest(repository.path / "restored.img") == digest(image)


def test_plugins_are_listed_with_their_verdict(place: Place) -> None:
    header, *lines = place.do("plugins").splitlines()
    assert header.split() == ["KIND", "NAME", "PACKAGE", "VERSION", "API", "VERDICT"]
    rows = {tuple(line.split()[:3]): line.split()[3:] for line in lines}
    for row in (
        ("io", "file", "backy-io-file"),
        ("store", "file", "backy-core"),
        ("meta", "sqlite", "backy-meta-sql"),
        ("hash", "blake3", "backy-hash-blake3"),
        ("hash", "sha512", "backy-core"),
    ):
        assert rows[row][1:] == ["v1", "fits"]


def test_a_second_repository_has_its_own_store_hash_and_block_size(place: Place) -> None:
    place.image()
    store = place.path / "disks" / "store"
    options = ["--store", str(store), "--hash", "sha256", "--block-size", "64k", "--compression", "none"]
    made = place.ask("-R", "offsite", "init", *options)["repository"]
    assert (made["name"], made["hash"], made["block_size"], made["compression"]) == ("offsite", "sha256", 65536, "none")
    place.do("-R", "offsite", "backup", "disk.img", "vm-1")
    place.environment["BACKY_REPOSITORY"] = made["settings"]
    place.do("restore", "vm-1", "restored.img")
    assert digest(place.path / "restored.img") == digest(place.path / "disk.img")
    assert any(store.rglob("*"))
