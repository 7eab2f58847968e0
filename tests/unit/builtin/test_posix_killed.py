"""A writer that is killed, or whose n-th system call fails, leaves no part of an object to be seen, and no litter."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backy_core.builtin.posix import PosixStore
from backy_core.errors import ObjectExists

WRITER = Path(__file__).with_name("writer.py")
CALLS = "mkdirat,writev,fsync,linkat,unlinkat"


def _content() -> Callable[[str, int], bytes]:
    spec = importlib.util.spec_from_file_location("writer", WRITER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[str, int], bytes] = module.content
    return found


content = _content()


@pytest.fixture(params=["anonymous", "named"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "a store"
    PosixStore(f"file://{root}", str(root), create=True).close()
    yield root
    shutil.rmtree(root)


def traced(trace: Path, inject: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    command = ["strace", "-f", "-qq", "-y", "-o", str(trace), "-e", f"trace={CALLS}", "-e", inject]
    return subprocess.run(
        [*command, sys.executable, str(WRITER), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def acknowledged(lines: list[str]) -> set[str]:
    """The keys whose puts were followed by a sync."""
    done: set[str] = set()
    waiting: set[str] = set()
    for line in lines:
        if line.startswith("put "):
            waiting.add(line.split()[1])
        elif line == "synced":
            done |= waiting
            waiting.clear()
    return done


def check(root: Path, lines: list[str], planned: list[str], largest: int, *, urgent: bool = False) -> int:
    """Hold the store to its promises after the writer is gone; returns how many objects there were."""
    with PosixStore(f"file://{root}", str(root)) as store:
        listed = {info.key: info.size for info in store.list()}
        assert set(listed) <= set(planned)
        for key, size in listed.items():
            wanted = content(key, largest)
            assert store.get(key) == wanted
            assert size == len(wanted)
        promised = {line.split()[1] for line in lines if line.startswith("put ")} if urgent else acknowledged(lines)
        assert promised <= set(listed)
        assert not store.delete(planned)
        assert list(store.list()) == []
    tmp = root / "tmp"
    assert not tmp.exists() or list(tmp.iterdir()) == []
    return len(listed)


@pytest.mark.slow
def test_a_writer_killed_at_random_moments_leaves_whole_objects_and_no_litter(root: Path, mode: str) -> None:
    chance = random.Random(20261)
    seen, first = 0, 0
    for _ in range(8):
        planned = [f"c/{number % 3:02x}/object-{number}" for number in range(first, first + 3000)]
        process = subprocess.Popen(
            [sys.executable, str(WRITER), str(root), mode, "usual", str(first), "3000", "5", "2000000"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        lines = [process.stdout.readline().strip()]  # it has started to work
        timer = threading.Timer(chance.uniform(0, 0.25), process.send_signal, [signal.SIGKILL])
        timer.start()
        lines += [line.strip() for line in process.stdout]
        process.stdout.close()
        assert process.wait(60) == -signal.SIGKILL
        timer.join()
        seen += check(root, lines, planned, 2_000_000)
        first += 3000
    assert seen > 0


PLANNED = ["c/00/object-0", "c/01/object-1"]


def sweep(root: Path, mode: str, kind: str, fault: str, trace: Path) -> Iterator[subprocess.CompletedProcess[str]]:
    """One run for each system call that changes anything, with the fault at that call; then the store is emptied."""
    faults = 0
    for call in CALLS.split(","):
        for number in range(1, 100):
            inject = f"inject={call}:{fault}:when={number}"
            result = traced(trace, inject, root, mode, kind, 0, 2, 2, 50_000)
            # strace counts each thread's calls for itself, so one run without a fault ends the sweep of this call
            if result.returncode == 0 and "INJECTED" not in trace.read_text():
                assert check(root, result.stdout.splitlines(), PLANNED, 50_000, urgent=kind == "urgent") == 2
                break
            faults += 1
            yield result
            shutil.rmtree(root / "c", ignore_errors=True)
        else:
            pytest.fail(f"the sweep of {call} never came to its end")
        shutil.rmtree(root / "c", ignore_errors=True)
    # two files each written, synced and linked, their three folders made and synced, the root synced
    assert faults >= 12


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["usual", "urgent"])
def test_a_writer_killed_at_any_system_call_leaves_whole_objects_and_no_litter(
    root: Path, mode: str, kind: str, tmp_path: Path
) -> None:
    for result in sweep(root, mode, kind, "signal=SIGKILL", tmp_path / "trace"):
        assert result.returncode == -signal.SIGKILL
        check(root, result.stdout.splitlines(), PLANNED, 50_000, urgent=kind == "urgent")


@pytest.mark.slow
@pytest.mark.parametrize(("code", "name"), [("EIO", "StoreError"), ("ENOSPC", "OutOfSpace")])
def test_any_failing_system_call_is_told_in_one_line_and_leaves_no_litter(
    root: Path, mode: str, code: str, name: str, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    for result in sweep(root, mode, "usual", f"error={code}", trace):
        lines = result.stdout.splitlines()
        if "unlinkat" in next(line for line in trace.read_text().splitlines() if "INJECTED" in line):
            assert result.returncode == 0  # a temporary name that cannot be removed now is left to delete
        else:
            assert result.returncode == 3
            assert lines[-1].startswith(f"error {name} ")
            assert str(root) in lines[-1]
            assert sum(line.startswith("error") for line in lines) == 1
            # the writer lived on and has cleared up after itself
            assert not (root / "tmp").exists() or list((root / "tmp").iterdir()) == []
        check(root, lines, PLANNED, 50_000)


@pytest.mark.slow
def test_an_urgent_put_survives_a_disk_that_is_full_at_any_one_call(root: Path, mode: str, tmp_path: Path) -> None:
    for result in sweep(root, mode, "urgent", "error=ENOSPC", tmp_path / "trace"):
        lines = result.stdout.splitlines()
        assert result.returncode == 0, lines
        assert check(root, lines, PLANNED, 50_000, urgent=True) == 2
        assert (root / "reserve").stat().st_blocks * 512 >= 1024 * 1024  # delete made it again


def test_a_file_whose_fsync_failed_is_never_synced_again(root: Path, mode: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    result = traced(trace, "inject=fsync:error=EIO:when=1", root, mode, "usual", 0, 6, 6, 50_000)
    assert result.returncode == 3
    assert "make durable" in result.stdout
    calls = [line for line in trace.read_text().splitlines() if "fsync(" in line and "<unfinished" not in line]
    assert any("EIO" in call for call in calls)
    synced = [call.split("fsync(")[1].split(")")[0] for call in calls]
    assert len(synced) == len(set(synced)) <= 6
    assert " linkat(" not in trace.read_text()
    with PosixStore(f"file://{root}", str(root)) as store:
        assert list(store.list()) == []


def test_a_process_killed_between_name_and_clearing_up_leaves_an_object_that_stays_whole(root: Path) -> None:
    with PosixStore(f"file://{root}", str(root), anonymous=False) as store:
        store.put("v/one", [b"whole"])
        store.sync()
        # what a kill between link and unlink leaves: a second name of the same file
        os.link(root / "v" / "one", root / "tmp" / "v%one.0123456789abcdef")
        os.link(root / "v" / "one", root / "tmp" / "v%two.0123456789abcdef")
        with pytest.raises(ObjectExists):
            store.put("v/one", [b"other"])
        assert [info.key for info in store.list()] == ["v/one"]
        assert not store.delete(["v/one"])
        assert os.listdir(root / "tmp") == ["v%two.0123456789abcdef"]  # another key's is not its business
        assert list(store.list()) == []
