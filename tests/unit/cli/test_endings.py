"""How a command ends when it is not left to itself: signals, readers that go away, streams that are closed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from .conftest import MIB, Place


def started(place: Place, *arguments: str) -> subprocess.Popen[str]:
    """Start a command and return when it has told that it is at work."""
    process = subprocess.Popen(
        # Whoever runs the tests may ignore SIGHUP (nohup does), and what is ignored is inherited.
        ["env", "--default-signal=HUP", *place.command("--progress", "json", *arguments)],
        cwd=place.path,
        env=place.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process


def wait_for_objects(place: Place, count: int) -> None:
    """Until the store of the default repository holds this many chunks, finished or not."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = 0
        for _, _, files in os.walk(place.path / "home" / "data"):
            found += len(files)
        if found >= count:
            return
        time.sleep(0.005)
    raise AssertionError("the backup did not begin within a minute")


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, "interrupted; "),
        (signal.SIGTERM, 143, "ended by SIGTERM; "),
        (signal.SIGHUP, 129, "ended by SIGHUP; "),
    ],
)
def test_an_interrupted_backup_says_so_and_the_next_one_continues_it(
    place: Place, number: signal.Signals, code: int, words: str
) -> None:
    # Small blocks, so that there is much to do after the first of them have come into the store.
    place.do("init", "--block-size", "16 KiB")
    image = place.image(pieces=[str(piece) for piece in range(48)])
    process = started(place, "--json", "backup", "disk.img", "vm-1")
    wait_for_objects(place, 100)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    message = f"{words}what was stored is kept, the next backup of vm-1 continues from it"
    assert json.loads(err.splitlines()[-1]) == {"schema": 1, "event": "error", "message": message}
    assert json.loads(out)["error"] == {"message": message, "exit_code": code, "kind": "interrupted", "again": True}
    (left,) = place.ask("ls")["versions"]
    assert (left["state"], left["interrupted"]) == ("writing", True)
    assert "interrupted" in place.do("ls")
    report = place.ask("backup", "disk.img", "vm-1")
    assert report["continued"]
    assert report["version"]["uid"] == left["uid"]
    place.do("restore", "vm-1", "restored.img")
    assert (place.path / "restored.img").read_bytes() == image.read_bytes()


def test_a_signal_that_was_ignored_stays_ignored(place: Place) -> None:
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from backy_core.cli import main\n"
        "sys.argv = ['backy', '--version']\n"
        "try:\n"
        "    main.main()\n"
        "finally:\n"
        "    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN\n"
        "    assert signal.getsignal(signal.SIGTERM) is main._terminate\n"
    )
    subprocess.run([sys.executable, "-c", code], env=place.environment, check=True, timeout=60, capture_output=True)


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def broken_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize(
    "arguments", [["--help"], ["ls", "--help"], ["--version"], ["ls"], ["ls", "--json"], ["lss", "--json"]]
)
@pytest.mark.parametrize(
    ("output", "words"),
    [(broken_pipe, []), (full_disk, ["backy: error: standard output cannot be written: No space left on device"])],
)
def test_output_that_cannot_be_written_is_no_success_and_no_traceback(
    backed_up: Place, arguments: list[str], output: Callable[[], int], words: list[str]
) -> None:
    descriptor = output()
    try:
        ended = subprocess.run(
            backed_up.command(*arguments),
            env=backed_up.environment,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(descriptor)
    assert ended.returncode == 141
    said = [line for line in ended.stderr.splitlines() if "did you mean" not in line]
    assert said == words


def test_a_backup_whose_progress_nobody_reads_is_finished(repository: Place) -> None:
    repository.image()
    descriptor = broken_pipe()
    try:
        ended = subprocess.run(
            repository.command("--progress", "json", "backup", "disk.img", "vm-1"),
            cwd=repository.path,
            env=repository.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=descriptor,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(descriptor)
    assert ended.returncode == 0
    assert "is valid" in ended.stdout


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_neither_stop_a_backup_nor_reach_the_database(repository: Place, closed: str) -> None:
    repository.image()
    script = f'"$@" --progress json --verbose backup disk.img vm-1 {closed}'
    ended = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *repository.command()],
        cwd=repository.path,
        env=repository.environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    repository.do("scrub")
    assert [version["state"] for version in repository.ask("ls")["versions"]] == ["valid"]


def test_a_fault_in_backy_is_one_line_and_exit_code_1(place: Place) -> None:
    code = (
        "import sys\n"
        "import backy_core.cli.group as group\n"
        "def broken(*_): raise ValueError('not\\nthought of')\n"
        "group.import_module = broken\n"
        "from backy_core.cli.main import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "ls"],
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "backy: error: internal error: ValueError: not thought of; run again with --debug and report what it prints\n"
    )


def test_names_cannot_command_the_terminal(repository: Place) -> None:
    strange = repository.path / "disk \x1b[31m\u202e.img"
    strange.write_bytes(b"x" * MIB)
    repository.do("backup", str(strange), "vm-1")
    for command in (["ls"], ["show", "vm-1"]):
        shown = repository.do(*command)
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    missing = repository.backy("backup", "no \x1b[31m such.img", "vm-1")
    assert "\x1b" not in missing.stderr


def test_a_name_that_the_terminal_cannot_show_is_shown_escaped(repository: Place) -> None:
    repository.image()
    repository.do("backup", "disk.img", "größe")
    repository.environment["PYTHONIOENCODING"] = "ascii"
    assert "gr\\xf6\\xdfe" in repository.do("ls")


def test_on_a_terminal_a_bar_is_drawn_and_wiped_away(repository: Place) -> None:
    image = repository.image(pieces=[str(piece) for piece in range(24)])
    leader, follower = os.openpty()
    environment = {**repository.environment, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(
        repository.command("backup", image.name, "vm-1"),
        cwd=repository.path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=follower,
        text=True,
    ) as process:
        os.close(follower)
        drawn = b""
        with suppress(OSError):  # a pseudo-terminal ends with an error when nobody holds its other side
            while piece := os.read(leader, 65536):
                drawn += piece
        out, _ = process.communicate(timeout=60)
    os.close(leader)
    assert process.returncode == 0
    assert b"read" in drawn
    assert b"96.0 MiB" in drawn
    assert drawn.count(b"\x1b[?25l") == drawn.count(b"\x1b[?25h") == 1, "the cursor is hidden, and comes back"
    assert "is valid" in out


def test_settings_of_the_terminal_do_not_matter_for_a_file(repository: Place, tmp_path: Path) -> None:
    repository.image()
    with open(tmp_path / "log", "w") as log:
        ended = subprocess.run(
            repository.command("backup", "disk.img", "vm-1"),
            cwd=repository.path,
            env={**repository.environment, "TERM": "xterm", "FORCE_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 0
    assert (tmp_path / "log").read_text() == ""
