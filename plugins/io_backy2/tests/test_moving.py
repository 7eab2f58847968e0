"""Moving house: exports are backed up into a repository and restored, one by one and by the loop of the README."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

import exports
import pytest
from backy_io_backy2 import open_source

BACKY = Path(sys.executable).parent / "backy"
README = Path(__file__).parents[1] / "README.md"
BLOCK = 64 * 1024
Backy = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def backy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backy:
    """The command backy with a home of its own, in which there is a fresh repository."""
    home = tmp_path / "home"
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("BACKY_REPOSITORY", raising=False)

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([str(BACKY), *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    run("init", "--block-size", "16KiB")
    return run


def settings(home: Path, text: str) -> None:
    with (home / "xdg_config_home/backy/repositories/default.toml").open("a") as file:
        file.write(f"\n[plugin.io_backy2]\n{text}\n")


def restored(backy: Backy, version: str, place: Path) -> bytes:
    target = place / "restored.img"
    target.unlink(missing_ok=True)
    backy("restore", version, str(target))
    return target.read_bytes()


def versions(backy: Backy) -> list[dict[str, object]]:
    listed = json.loads(backy("ls", "--json").stdout)["versions"]
    assert isinstance(listed, list)
    return listed


@pytest.mark.parametrize("format", exports.FORMATS)
def test_a_backup_of_an_export_is_restored_byte_for_byte(tmp_path: Path, backy: Backy, format: str) -> None:
    content = random.Random(5).randbytes(200_000) + bytes(300_000) + random.Random(6).randbytes(4711)
    export = exports.write(tmp_path / "old", content, format=format)
    backy("backup", export.url, "vm-1")
    assert restored(backy, "vm-1", tmp_path) == content


def test_the_command_import_keeps_name_and_time_and_does_it_once(tmp_path: Path, backy: Backy) -> None:
    content = random.Random(9).randbytes(300_000)
    export = exports.write(tmp_path / "old", content, format="2.10")
    told = backy("import", str(export.path), code=2).stderr
    assert "--backy2-data" in told
    where = ("import", str(export.path), "--backy2-data", str(export.data), "--json")
    [made] = json.loads(backy(*where).stdout)["imported"]
    assert made["volume"] == export.header[2]
    with open_source(export.url, None) as source:
        assert source.made is not None
        assert made["created"].startswith(source.made.astimezone(UTC).isoformat()[:19])
    assert restored(backy, made["volume"], tmp_path) == content
    assert json.loads(backy(*where).stdout)["imported"] == []
    [again] = json.loads(backy(*where, "--volume", "other").stdout)["there"]
    assert again == export.path.name
    backy("check-database")


def test_an_encrypted_version_is_read_with_the_key_from_the_settings(tmp_path: Path, backy: Backy) -> None:
    content = random.Random(7).randbytes(300_000)
    export = exports.write(tmp_path / "old", content, format="2.12", key=exports.KEY)
    told = backy("backup", export.url, "vm-1", code=7).stderr
    assert "is encrypted: set encryption_key under [plugin.io_backy2]" in told
    (tmp_path / "key").write_text(exports.KEY.hex() + "\n")
    settings(tmp_path / "home", f'encryption_key = {{ file = "{tmp_path}/key" }}')
    told = backy("backup", "--debug", export.url, "vm-1").stderr
    assert exports.KEY.hex() not in told
    assert restored(backy, "vm-1", tmp_path) == content


def test_what_cannot_be_read_fails_with_one_line_and_is_continued_when_it_can(tmp_path: Path, backy: Backy) -> None:
    content = random.Random(8).randbytes(40 * BLOCK + 5)
    export = exports.write(tmp_path / "old", content)
    blob = export.blob(30).read_bytes()
    export.blob(30).unlink()
    told = backy("backup", export.url, "vm-1", code=13).stderr
    assert [line for line in told.splitlines() if "block 30 cannot be read" in line and "is missing" in line]
    export.blob(30).write_bytes(blob)
    assert json.loads(backy("backup", "--json", export.url, "vm-1").stdout)["continued"] is True
    assert restored(backy, "vm-1", tmp_path) == content


def test_a_restore_to_backy2_is_refused(tmp_path: Path, backy: Backy) -> None:
    export = exports.write(tmp_path / "old", b"x" * 1000)
    before = export.path.read_bytes()
    backy("backup", export.url, "vm-1")
    assert "never restored to" in backy("restore", "vm-1", export.url, "--force", code=2).stderr
    assert export.path.read_bytes() == before


def test_the_loop_of_the_readme_moves_a_whole_installation(
    backy2: Callable[..., object], tmp_path: Path, backy: Backy
) -> None:
    old = backy2()
    wanted: dict[str, list[bytes]] = {"vm-1": [], "db.main": []}
    for turn in range(3):
        for name, contents in wanted.items():
            image = tmp_path / f"{name}.img"
            image.write_bytes(random.Random(name).randbytes(10 * BLOCK) + os.urandom(1000 * turn) + bytes(3 * BLOCK))
            old.backup(image, name)
            contents.append(image.read_bytes())
            time.sleep(1.1)  # the list has whole seconds only
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, command in {"backy2": f"'{old.program}' -c '{old.configuration}'", "backy": f"'{BACKY}'"}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (programs / name).chmod(0o755)
    (loop,) = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    loop = loop.replace("data=/var/lib/backy2/data", f"data='{str(old.data).replace(' ', '%20')}'")
    loop = loop.replace("move=/srv/move", f"move={tmp_path}/move")

    def run() -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "TZ": "Asia/Tokyo"}
        return subprocess.run(["sh", "-c", loop], capture_output=True, text=True, check=False, env=environment)

    broken = max(old.data.glob("*/*/*.blob"), key=lambda path: path.stat().st_mtime_ns)
    content = broken.read_bytes()
    broken.write_bytes(content[:-1])
    stopped = run()
    assert stopped.returncode == 1, stopped.stdout + stopped.stderr
    assert broken.name in stopped.stderr
    broken.write_bytes(content)
    finished = run()
    assert finished.returncode == 0, finished.stdout + finished.stderr
    nothing = run()
    assert nothing.returncode == 0
    assert len(versions(backy)) == 6
    assert len(list((tmp_path / "move/done").iterdir())) == 6
    for name, contents in wanted.items():
        uids = [str(one["uid"]) for one in versions(backy) if one["volume"] == name]
        found = [restored(backy, uid, tmp_path) for uid in uids]
        assert sorted(found) == sorted(contents)
        assert restored(backy, name, tmp_path) == contents[-1]
