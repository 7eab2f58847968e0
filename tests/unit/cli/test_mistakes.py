"""Typical mistakes: each gives one line that names the remedy, and its own exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import MIB, Place


def refused(place: Place, code: int, *arguments: str) -> str:
    """Run `backy` and expect nothing but one line of error; give that line."""
    ended = place.backy(*arguments)
    assert ended.returncode == code, (arguments, ended.returncode, ended.stdout, ended.stderr)
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("backy: error: ")
    assert "internal error" not in lines[0]
    assert not lines[0].removesuffix("...").endswith(".")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["bakcup", "disk.img", "vm-1"], "no such command 'bakcup'; did you mean backup?"),
        (["frobnicate"], "see `backy --help`"),
        (["ls", "--jsno"], "no such option --jsno; did you mean --json?"),
        (["backup", "--hint", "x", "disk.img", "vm-1"], "did you mean --hints?"),
        (["ls", "--zzz"], "see `backy ls --help`"),
        (["ls", "-Z"], "see `backy ls --help`"),
        (["backup", "disk.img"], "missing argument VOLUME; see `backy backup --help`"),
        (["restore", "vm-1"], "missing argument TARGET; see `backy restore --help`"),
        (["rm"], "missing argument VERSION; see `backy rm --help`"),
        (["show", "vm-1", "vm-2"], "got unexpected extra argument (vm-2); see `backy show --help`"),
        (["--progress", "fast", "ls"], "'auto', 'bar', 'json', 'plain', 'none'"),
        (["ls", "-R"], "requires an argument; see `backy"),
    ],
)
def test_a_slip_of_the_fingers_is_answered_with_what_was_meant(place: Place, arguments: list[str], remedy: str) -> None:
    assert remedy in refused(place, 2, *arguments)


def test_no_command_at_all_shows_what_there_is(place: Place) -> None:
    ended = place.backy()
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "Commands:" in ended.stderr


@pytest.mark.parametrize("arguments", [["ls"], ["backup", "disk.img", "vm-1"], ["scrub"], ["cleanup"], ["show", "x"]])
def test_before_init_every_command_says_to_init(place: Place, arguments: list[str]) -> None:
    place.image()
    assert "run backy init" in refused(place, 9, *arguments)


@pytest.mark.parametrize(
    ("code", "arguments", "remedy"),
    [
        (9, ["init"], "initialised already"),
        (9, ["-R", "offsite", "ls"], "run backy -R offsite init"),
        (2, ["-R", "off site", "ls"], "off site"),
        (8, ["-R", "r", "init", "--hash", "md55"], "md55"),
        (8, ["-R", "r", "init", "--hash", "blake33"], "did you mean"),
        (2, ["-R", "r", "init", "--block-size", "3"], "give a multiple of 4096"),
        (2, ["-R", "r", "init", "--block-size", "4MB"], "use MiB"),
        (2, ["-R", "r", "init", "--block-size", "big"], "write it as"),
        (2, ["-R", "r", "init", "--compression", "gzip"], "zstd"),
        (8, ["-R", "r", "init", "--store", "s3://bucket"], "pip install backy-store-s3"),
        (8, ["-R", "r", "init", "--store", "flie:///x"], "did you mean file://?"),
        (8, ["-R", "r", "init", "--metadata", "mysql://x"], "mysql://"),
        (4, ["backup", "dsik.img", "vm-1"], "dsik.img"),
        (4, ["backup", "vm-1", "disk.img"], "vm-1"),
        (8, ["backup", "rdb://pool/image", "vm-1"], "did you mean rbd://"),
        (8, ["backup", "rbd://pool/image", "vm-1"], "pip install backy-io-rbd"),
        (2, ["backup", "disk.img", "vm/1"], "use letters, digits, dot, dash, underscore"),
        (2, ["backup", "disk.img", ""], "give one such as vm-42"),
        (2, ["backup", "disk.img", "vm-1", "--hints", "nowhere.json"], "nowhere.json"),
        (4, ["backup", "disk.img", "vm-1", "--base", "vm-9"], "did you mean vm-1?"),
        (4, ["restore", "vm-2", "new.img"], "did you mean vm-1?"),
        (4, ["restore", "vm-1@-5", "new.img"], "only 1 valid version"),
        (2, ["restore", "vm-1@yesterday", "new.img"], "vm-1@yesterday"),
        (4, ["show", "deadbeef"], "`backy ls` lists them"),
        (4, ["ls", "vm-11"], "did you mean vm-1?"),
        (4, ["rm", "vm-2"], "did you mean vm-1?"),
        (4, ["scrub", "vm-1", "vm-2"], "did you mean vm-1?"),
        (5, ["restore", "vm-1", "disk.img"], "--force"),
        (5, ["restore", "vm-1", "no/such/folder/new.img"], "no/such/folder"),
        (5, ["restore", "--force", "vm-1", "."], ""),
    ],
)
def test_a_mistake_is_answered_with_its_remedy(backed_up: Place, code: int, arguments: list[str], remedy: str) -> None:
    assert remedy in refused(backed_up, code, *arguments)


def test_mistakes_change_nothing(backed_up: Place) -> None:
    refused(backed_up, 5, "restore", "vm-1", "disk.img")
    assert [version["state"] for version in backed_up.ask("ls")["versions"]] == ["valid"]
    assert backed_up.do("scrub").startswith("1 version scrubbed, all whole: 3 chunks")
    assert sorted(path.name for path in backed_up.path.iterdir()) == ["disk.img", "home"]


def test_a_folder_is_no_source(backed_up: Place) -> None:
    ended = backed_up.backy("backup", ".", "vm-1")
    assert ended.returncode in (2, 13)
    assert len(ended.stderr.splitlines()) == 1
    assert "director" in ended.stderr or "folder" in ended.stderr


@pytest.mark.parametrize("text", ["", "{", '[{"offset": -1, "length": 5, "exists": true}]', '{"offset": 1}'])
def test_hints_that_are_none_keep_nothing(backed_up: Place, tmp_path: Path, text: str) -> None:
    hints = tmp_path / "hints.json"
    hints.write_text(text)
    assert "hints.json" in refused(backed_up, 2, "backup", "disk.img", "vm-1", "--hints", str(hints))
    assert len(backed_up.ask("ls")["versions"]) == 1


def spoil_settings(path: Path) -> None:
    path.write_text(path.read_text() + "\ncompresion = 'none'\n")


def empty_settings(path: Path) -> None:
    path.write_text("")


def break_settings(path: Path) -> None:
    path.write_text("store = [")


@pytest.mark.parametrize("spoil", [spoil_settings, empty_settings, break_settings])
def test_wrong_settings_are_named_with_their_file(repository: Place, spoil: Callable[[Path], None]) -> None:
    path = next((repository.path / "home").rglob("default.toml"))
    spoil(path)
    assert str(path) in refused(repository, 7, "ls")


def test_a_store_that_went_away_is_not_made_anew(repository: Place) -> None:
    repository.image()
    repository.do("backup", "disk.img", "vm-1")
    store = repository.path / "home" / "data" / "backy" / "default" / "store"
    store.rename(store.with_name("moved"))
    assert "default/store" in refused(repository, 9, "scrub")
    assert not store.exists()
    assert "vm-1" in repository.do("ls"), "the database alone lists versions"


def test_a_database_that_went_away_is_not_made_anew(repository: Place) -> None:
    database = repository.path / "home" / "data" / "backy" / "default" / "metadata.sqlite"
    database.rename(database.with_name("moved"))
    refused(repository, 9, "ls")
    assert not database.exists()


def test_a_device_too_small_is_refused_before_it_is_touched(repository: Place) -> None:
    repository.image()
    repository.do("backup", "disk.img", "vm-1")
    ended = repository.backy("restore", "--force", "vm-1", "/dev/full")
    assert ended.returncode == 5
    assert len(ended.stderr.splitlines()) == 1


def test_a_folder_with_other_things_in_it_keeps_them_when_it_becomes_a_store(place: Place) -> None:
    strange = place.path / "photos"
    strange.mkdir()
    (strange / "cat.jpg").write_bytes(b"meow")
    ended = place.backy("init", "--store", str(strange))
    assert ended.returncode in (0, 9)
    assert (strange / "cat.jpg").read_bytes() == b"meow"


def test_with_json_an_error_is_a_document_too(place: Place) -> None:
    place.image(size=MIB)
    error = place.ask("ls", code=9)["error"]
    assert error.pop("message").endswith("default.toml is missing)")
    assert error == {"exit_code": 9, "kind": "repository_error", "again": False}
    assert place.ask("lss", code=2)["error"]["kind"] == "invalid_input"
    after = place.backy("ls", "--json", "--zzz")
    assert json.loads(after.stdout)["error"]["message"] == "no such option --zzz; see `backy ls --help`"


def test_debug_shows_where_an_error_comes_from(place: Place) -> None:
    for arguments in (["--debug", "ls"], ["ls", "--debug"], ["ls", "-d"]):
        ended = place.backy(*arguments)
        assert "Traceback (most recent call last)" in ended.stderr
        assert ended.stderr.splitlines()[-1].startswith("backy: error: ")
