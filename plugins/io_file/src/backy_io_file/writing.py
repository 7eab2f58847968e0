"""Writing into an open file or device from several threads: all of it, with errors that name the byte."""

from __future__ import annotations

import contextlib
import errno
import os
import threading

from backy_core.contracts.target import Target
from backy_core.errors import BackyError, OutOfSpace, TargetError
from backy_core.model import Buffer
from backy_io_file.kernel import PUNCH_HOLE, ZERO_RANGE, fallocate
from backy_io_file.paths import location_of, shown

__all__ = ["OpenTarget"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CANNOT = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_STRIDE = 64 * 1024 * 1024
_ZEROS = bytes(1024 * 1024)


class OpenTarget(Target):
    """A target behind one file descriptor; what finishing and giving up mean is for the classes below it.

    `unit`: only ranges aligned to it may be given to fallocate. `one_writer`: writes take turns, because the kernel
    lets only one through at a time anyway, and the others would burn processor time spinning for its lock.
    """

    def __init__(self, descriptor: int, path: str, size: int, *, unit: int, one_writer: bool) -> None:
        self.location = location_of(path)
        self._descriptor = descriptor
        self._shown = shown(path)
        self._size = size
        self._unit = unit
        self._turn: contextlib.AbstractContextManager[object] = (
            threading.Lock() if one_writer else contextlib.nullcontext()
        )
        self._cache = _WriteBehind(descriptor)

    def write(self, offset: int, data: Buffer) -> None:
        """Write all the bytes at `offset`; a short write, as on a full disk, is continued until it says why."""
        view = memoryview(data).cast("B")
        self._refuse_outside(offset, len(view))
        done = 0
        with self._turn:
            while done < len(view):
                try:
                    count = os.pwrite(self._descriptor, view[done:], offset + done)
                except OSError as error:
                    raise self._failed("write", error, offset + done) from error
                if not count:
                    raise TargetError(f"{self._shown} takes no more bytes at byte {offset + done}; check the disk")
                done += count
        self._cache.wrote(offset, len(view))

    def zero(self, offset: int, length: int) -> None:
        """Free the range where that is possible, and write zeros where it is not; its edges are exact to the byte."""
        self._refuse_outside(offset, length)
        end = offset + length
        start = min(-(-offset // self._unit) * self._unit, end)
        stop = max(end // self._unit * self._unit, start)
        self._write_zeros(offset, start)
        if start < stop:
            self._free(start, stop)
        self._write_zeros(stop, end)

    def _free(self, start: int, stop: int) -> None:
        for mode in (PUNCH_HOLE, ZERO_RANGE):
            try:
                fallocate(self._descriptor, mode, start, stop - start)
                return
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise self._failed("clear", error, start) from error
        self._write_zeros(start, stop)

    def _write_zeros(self, start: int, stop: int) -> None:
        while start < stop:
            length = min(len(_ZEROS), stop - start)
            self.write(start, memoryview(_ZEROS)[:length])
            start += length

    def _refuse_outside(self, offset: int, length: int) -> None:
        # A device may be larger than the version, and what lies behind that is not ours.
        if offset < 0 or length < 0 or offset + length > self._size:
            raise TargetError(
                f"bytes {offset} to {offset + length} are not all within the {self._size} bytes "
                f"to be restored to {self._shown}"
            )

    def _failed(self, verb: str, error: OSError, offset: int) -> BackyError:
        if error.errno in _FULL:
            return OutOfSpace(
                f"no room in target {self._shown} at byte {offset}: {error.strerror}; make room and restore again"
            )
        return TargetError(
            f"cannot {verb} {self._shown} at byte {offset}: {error.strerror}; "
            "check the disk (dmesg) or restore to another target"
        )

    def _make_durable(self) -> None:
        """fsync, once: after a failure the kernel has dropped what it could not write, and a second call would lie."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            told = f"{self._shown} is not restored: its disk did not keep all the data: {error.strerror}"
            if error.errno in _FULL:
                raise OutOfSpace(f"{told}; make room in the target and restore again") from error
            raise TargetError(f"{told}; check the disk (dmesg) or restore to another target") from error
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class _WriteBehind:
    """Keeps a restore from filling the page cache: every 64 MiB it starts writing them out and drops the 64 before.

    In strides and not after each write: asking for pages just written costs as much as it saves.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._fresh: list[tuple[int, int]] = []
        self._fresh_bytes = 0
        self._started: list[tuple[int, int]] = []

    def wrote(self, offset: int, length: int) -> None:
        """Note a range; the call that fills a stride pays for it."""
        with self._lock:
            self._fresh.append((offset, length))
            self._fresh_bytes += length
            if self._fresh_bytes < _STRIDE:
                return
            behind, self._started = self._started, _joined(self._fresh)
            ranges = behind + self._started
            self._fresh, self._fresh_bytes = [], 0
        for start, count in ranges:
            os.posix_fadvise(self._descriptor, start, count, os.POSIX_FADV_DONTNEED)


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges in order, neighbours made one."""
    joined: list[tuple[int, int]] = []
    for start, length in sorted(ranges):
        if joined and sum(joined[-1]) == start:
            joined[-1] = (joined[-1][0], joined[-1][1] + length)
        else:
            joined.append((start, length))
    return joined
