"""A new file appears under its name only when it is whole, durable, and nothing else has taken the name."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from backy_io_file import open_target

from backy_core.errors import InvalidInput, OutOfSpace, TargetError, TargetExists, TargetInUse

Url = Callable[[Path | str], str]
Mount = Callable[..., Path]
Injected = Callable[..., str]
MIB = 1 << 20

WRITE_AND_FINISH = """
target = restore(sys.argv[1])
try:
    target.write(0, b"x" * 8192)
    target.finish()
    print("finished")
finally:
    target.abandon()
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_name_appears_only_at_the_end_and_belongs_to_its_owner_alone(folder: Path, url: Url) -> None:
    target = open_target(url(folder / "d.img"), None, 5000, False, "")
    target.write(0, b"x" * 5000)
    assert names(folder) == [".d.img.backy-partial"]
    target.finish()
    assert names(folder) == ["d.img"]
    assert stat.S_IMODE((folder / "d.img").stat().st_mode) == 0o600


def test_a_hole_takes_no_space(folder: Path, url: Url) -> None:
    target = open_target(url(folder / "d.img"), None, 64 * MIB, False, "")
    assert target.starts_zeroed
    target.write(32 * MIB, b"x")
    target.finish()
    found = (folder / "d.img").stat()
    assert (found.st_size, found.st_blocks * 512 < MIB) == (64 * MIB, True)


def test_clearing_written_bytes_gives_their_space_back(folder: Path, url: Url) -> None:
    target = open_target(url(folder / "d.img"), None, 4 * MIB, False, "")
    target.write(0, b"x" * 4 * MIB)
    target.zero(0, 4 * MIB)
    target.finish()
    assert (folder / "d.img").stat().st_blocks * 512 < MIB


def test_giving_up_leaves_nothing_behind(folder: Path, url: Url) -> None:
    target = open_target(url(folder / "d.img"), None, 5000, False, "")
    target.write(0, b"x")
    target.abandon()
    assert names(folder) == []


def test_something_that_took_the_name_meanwhile_is_kept_and_so_is_the_restored_data(folder: Path, url: Url) -> None:
    target = open_target(url(folder / "d.img"), None, 4, False, "")
    target.write(0, b"mine")
    (folder / "d.img").write_bytes(b"theirs")
    with pytest.raises(TargetExists, match=r"appeared during the restore .* complete in .*/\.d\.img\.backy-partial"):
        target.finish()
    target.abandon()
    assert (folder / "d.img").read_bytes() == b"theirs"
    assert (folder / ".d.img.backy-partial").read_bytes() == b"mine"


def test_a_partial_file_that_vanished_is_no_finished_restore(folder: Path, url: Url) -> None:
    target = open_target(url(folder / "d.img"), None, 4, False, "")
    (folder / ".d.img.backy-partial").rename(folder / "elsewhere")
    with pytest.raises(TargetError, match="vanished while it was written"):
        target.finish()
    target.abandon()
    assert names(folder) == ["elsewhere"]


def test_a_second_restore_to_the_same_new_file_is_refused_and_the_first_goes_on(folder: Path, url: Url) -> None:
    first = open_target(url(folder / "d.img"), None, 5, False, "")
    first.write(0, b"first")
    with pytest.raises(TargetInUse, match=r"another restore is writing .*\.d\.img\.backy-partial"):
        open_target(url(folder / "d.img"), None, 5, False, "")
    first.finish()
    assert (folder / "d.img").read_bytes() == b"first"


def test_of_many_restores_starting_at_once_exactly_one_wins(folder: Path, url: Url) -> None:
    for _ in range(20):
        (folder / ".d.img.backy-partial").write_bytes(b"left by the dead")
        start = threading.Barrier(6)
        won: list[object] = []
        refused: list[Exception] = []

        def compete(start: threading.Barrier = start, won: list[object] = won, lost: list[Exception] = refused) -> None:
            start.wait()
            try:
                won.append(open_target(url(folder / "d.img"), None, 3, False, ""))
            except TargetInUse as error:
                lost.append(error)

        threads = [threading.Thread(target=compete) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert len(won) + len(refused) == 6
        for target in won:
            target.abandon()  # type: ignore[attr-defined]


def test_what_a_killed_restore_left_is_replaced_and_no_byte_of_it_survives(folder: Path, url: Url) -> None:
    (folder / ".d.img.backy-partial").write_bytes(b"\xff" * 20_000)
    target = open_target(url(folder / "d.img"), None, 10_000, False, "")
    target.write(5000, b"new")
    target.finish()
    assert (folder / "d.img").read_bytes() == bytes(5000) + b"new" + bytes(4997)
    assert names(folder) == ["d.img"]


def test_a_leftover_that_is_also_a_finished_restore_under_another_name_stays_whole(folder: Path, url: Url) -> None:
    # Killed after the link and before the unlink; then the operator renamed the finished file.
    (folder / ".d.img.backy-partial").write_bytes(b"finished")
    os.link(folder / ".d.img.backy-partial", folder / "kept.img")
    target = open_target(url(folder / "d.img"), None, 3, False, "")
    target.write(0, b"new")
    target.finish()
    assert (folder / "kept.img").read_bytes() == b"finished"
    assert (folder / "d.img").read_bytes() == b"new"


@pytest.mark.parametrize("kind", ["a directory", "a named pipe", "a symbolic link"])
def test_something_else_under_the_hidden_name_is_left_alone(folder: Path, url: Url, kind: str) -> None:
    partial = folder / ".d.img.backy-partial"
    make = {"a directory": partial.mkdir, "a named pipe": lambda: os.mkfifo(partial)}
    make.get(kind, lambda: partial.symlink_to("/etc/passwd"))()
    with pytest.raises(TargetError, match=f"is in the way and is {kind}; remove it"):
        open_target(url(folder / "d.img"), None, 3, False, "")
    assert names(folder) == [".d.img.backy-partial"]


def test_kill_9_in_the_middle_of_writing_shows_no_file_and_the_next_restore_succeeds(folder: Path, url: Url) -> None:
    code = """
import sys
from backy_io_file import open_target
target = open_target(sys.argv[1], None, 1 << 30, False, "")
for offset in range(0, 1 << 30, 1 << 20):
    target.write(offset, bytes([255]) * (1 << 20))
    print(offset, flush=True)
    if offset == 8 << 20:
        sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, url(folder / "d.img")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout
        for line in process.stdout:
            if int(line) == 8 << 20:
                break
        with pytest.raises(TargetInUse):
            open_target(url(folder / "d.img"), None, 4096, False, "")
        process.send_signal(signal.SIGKILL)
    assert names(folder) == [".d.img.backy-partial"]
    target = open_target(url(folder / "d.img"), None, 4096, False, "")
    target.finish()
    assert (folder / "d.img").read_bytes() == bytes(4096)
    assert names(folder) == ["d.img"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gone/d.img", "the directory .*gone does not exist; make it first"),
        ("file/d.img", "file is not a directory"),
        ("new/", "names a directory that does not exist"),
        ("x" * 245, "too long to restore to; make it 5 bytes shorter"),
        ("x" * 300, "cannot restore to .*File name too long"),
        ("dangling", "is a symbolic link to nothing"),
        ("round", "cannot restore to .*symbolic links"),
    ],
)
def test_a_place_where_no_file_can_be_is_refused(folder: Path, url: Url, name: str, told: str) -> None:
    (folder / "file").write_bytes(b"")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "round").symlink_to("round")
    before = names(folder)
    with pytest.raises(TargetError, match=told):
        open_target(url(f"{folder}/{name}"), None, 3, False, "")
    assert names(folder) == before


def test_a_bad_url_is_wrong_usage() -> None:
    with pytest.raises(InvalidInput):
        open_target("file://host/d.img", None, 3, False, "")


def test_a_directory_nobody_may_write_to_or_look_into_is_refused(
    url: Url, as_nobody: Callable[[Callable[[], object]], str]
) -> None:
    import tempfile

    import backy_io_file.target  # noqa: F401 - the child may not read it any more

    with tempfile.TemporaryDirectory() as folder:
        for mode, told in [(0o555, "cannot write in .*Permission"), (0o000, "cannot restore to .*Permission")]:
            os.chmod(folder, mode)
            answer = as_nobody(lambda: open_target(url(f"{folder}/d.img"), None, 3, False, ""))
            assert re.match(f"TargetError {told}", answer), answer
        os.chmod(folder, 0o311)
        answer = as_nobody(lambda: open_target(url(f"{folder}/d.img"), None, 3, False, ""))
        assert "cannot open the directory" in answer
        os.chmod(folder, 0o700)


def test_a_size_the_file_system_cannot_hold_is_refused_and_leaves_nothing(folder: Path, url: Url) -> None:
    with pytest.raises(OutOfSpace, match=r"no room in target .*d\.img at byte 9223372036854775807"):
        open_target(url(folder / "d.img"), None, (1 << 63) - 1, False, "")
    assert names(folder) == []


def test_a_full_disk_is_named_with_the_byte_and_giving_up_frees_it(mount: Mount, url: Url) -> None:
    place = mount("tmpfs", "none", "size=1m")
    target = open_target(url(place / "d.img"), None, 4 * MIB, False, "")
    with pytest.raises(OutOfSpace, match=r"no room in target .*d\.img at byte \d+: No space left") as caught:
        target.write(4096, b"x" * 3 * MIB)
    # tmpfs took what fitted, so the message names the first byte that did not.
    assert "at byte 4096:" not in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    target.abandon()
    assert names(place) == []


def test_the_same_restore_succeeds_after_room_was_made(mount: Mount, url: Url) -> None:
    place = mount("tmpfs", "none", "size=1m")
    (place / "ballast").write_bytes(b"x" * 700_000)
    target = open_target(url(place / "d.img"), None, 800_000, False, "")
    with pytest.raises(OutOfSpace):
        target.write(0, b"y" * 800_000)
    target.abandon()
    (place / "ballast").unlink()
    target = open_target(url(place / "d.img"), None, 800_000, False, "")
    target.write(0, b"y" * 800_000)
    target.finish()
    assert (place / "d.img").read_bytes() == b"y" * 800_000


@pytest.mark.parametrize(
    ("injection", "told"),
    [
        ("pwrite64:error=EDQUOT", "OutOfSpace no room in target .* at byte 0: Disk quota exceeded"),
        ("pwrite64:error=EFBIG", "OutOfSpace no room in target .* at byte 0: File too large"),
        ("pwrite64:error=EIO", "TargetError cannot write .* at byte 0: Input/output error"),
        ("pwrite64:retval=0", "TargetError .* takes no more bytes at byte 0"),
        ("fsync:error=EIO:when=1", "TargetError .* is not restored: .*Input/output error"),
        ("fsync:error=ENOSPC:when=1", "OutOfSpace .* is not restored: .*No space left"),
        ("ftruncate:error=EIO", "TargetError cannot make room in .* Input/output error"),
    ],
)
def test_a_failing_disk_is_told_and_leaves_no_file(
    folder: Path, url: Url, injected: Injected, injection: str, told: str
) -> None:
    answer = injected(WRITE_AND_FINISH, injection, arguments=(url(folder / "d.img"),))
    assert re.match(told, answer), answer
    assert names(folder) == []


def test_a_name_that_may_not_be_durable_is_told(folder: Path, url: Url, injected: Injected) -> None:
    answer = injected(WRITE_AND_FINISH, "fsync:error=EIO:when=2", arguments=(url(folder / "d.img"),))
    assert "is restored, but its name may not outlive a power cut" in answer
    assert (folder / "d.img").read_bytes() == b"x" * 8192


@pytest.mark.parametrize(
    "injections",
    [
        ["renameat2:error=EINVAL"],
        ["renameat2:error=ENOSYS"],
        ["renameat2:error=EINVAL", "linkat:error=EPERM"],
        ["renameat2:error=EINVAL", "linkat:error=EOPNOTSUPP"],
    ],
    ids=["no-flag", "no-call", "no-links", "no-links-either"],
)
@pytest.mark.parametrize("taken", [False, True], ids=["free", "taken"])
def test_file_systems_without_the_best_way_to_name_a_file_still_replace_nothing(
    folder: Path, url: Url, injected: Injected, injections: list[str], taken: bool
) -> None:
    code = WRITE_AND_FINISH
    if taken:
        code = code.replace(
            "    target.finish()", f"    open({str(folder / 'd.img')!r}, 'wb').close()\n    target.finish()"
        )
    answer = injected(code, *injections, arguments=(url(folder / "d.img"),))
    if taken:
        assert answer.startswith("TargetExists")
        assert (folder / "d.img").read_bytes() == b""
        assert (folder / ".d.img.backy-partial").read_bytes() == b"x" * 8192
    else:
        assert answer == "finished"
        assert names(folder) == ["d.img"]
        assert (folder / "d.img").read_bytes() == b"x" * 8192


def test_a_name_that_is_refused_for_another_reason_keeps_the_data(folder: Path, url: Url, injected: Injected) -> None:
    for injections in (["renameat2:error=EIO"], ["renameat2:error=EINVAL", "linkat:error=EIO"]):
        answer = injected(WRITE_AND_FINISH, *injections, arguments=(url(folder / "d.img"),))
        assert "cannot get its name: Input/output error; the restored data is complete in" in answer
        assert (folder / ".d.img.backy-partial").read_bytes() == b"x" * 8192


def test_a_link_whose_answer_was_lost_is_recognised_as_our_own(folder: Path, url: Url) -> None:
    target = open_target(url(folder / "d.img"), None, 4, False, "")
    target.write(0, b"mine")
    os.link(folder / ".d.img.backy-partial", folder / "d.img")
    target.finish()
    assert names(folder) == ["d.img"]


def test_a_hidden_name_that_cannot_be_removed_is_told_in_the_log(folder: Path, url: Url, injected: Injected) -> None:
    answer = injected(
        "import logging\nlogging.basicConfig(stream=sys.stdout, format='%(message)s')\n" + WRITE_AND_FINISH.strip(),
        "renameat2:error=EINVAL",
        "unlinkat:error=EIO",
        arguments=(url(folder / "d.img"),),
    )
    assert "is a second name of" in answer
    assert answer.endswith("finished")
    answer = injected(
        "import logging\nlogging.basicConfig(stream=sys.stdout, format='%(message)s')\n"
        "restore(sys.argv[1]).abandon()\nprint('given up')",
        "unlinkat:error=EIO",
        arguments=(url(folder / "e.img"),),
    )
    assert "could not remove" in answer
    assert answer.endswith("given up")


def test_without_locks_on_the_file_system_a_restore_still_works(folder: Path, url: Url, injected: Injected) -> None:
    assert injected(WRITE_AND_FINISH, "flock:error=ENOLCK", arguments=(url(folder / "d.img"),)) == "finished"
    answer = injected(WRITE_AND_FINISH, "flock:error=EIO", arguments=(url(folder / "e.img"),))
    assert answer.startswith("TargetError cannot write in")


def test_where_nothing_can_be_freed_zeros_are_written(folder: Path, url: Url, injected: Injected) -> None:
    code = """
target = restore(sys.argv[1], 3 << 20)
target.write(0, b"x" * (3 << 20))
target.zero(1, (3 << 20) - 2)
target.finish()
print("finished")
"""
    assert injected(code, "fallocate:error=EOPNOTSUPP", arguments=(url(folder / "d.img"),)) == "finished"
    assert (folder / "d.img").read_bytes() == b"x" + bytes((3 << 20) - 2) + b"x"
    failing = code + "\ntarget.abandon()"
    answer = injected(failing, "fallocate:error=EIO", arguments=(url(folder / "e.img"),))
    assert answer.startswith("TargetError cannot clear")
    assert injected(code, "fallocate:error=EINTR:when=1", arguments=(url(folder / "f.img"),)) == "finished"


def test_writing_after_the_end_is_an_error_and_not_somebody_elses_file(folder: Path, url: Url) -> None:
    target = open_target(url(folder / "d.img"), None, 4, False, "")
    target.finish()
    with pytest.raises(TargetError, match="Bad file descriptor") as caught:
        target.write(0, b"late")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EBADF
