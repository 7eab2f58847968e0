"""A process of its own that puts objects into a directory store and reports each step, until it ends or is killed."""

from __future__ import annotations

import hashlib
import sys

from backy_core.builtin.posix import PosixStore
from backy_core.errors import BackyError


def content(key: str, largest: int) -> bytes:
    """What the object of this key holds: both tests and this process can tell it from the key alone."""
    seed = hashlib.sha256(key.encode()).digest()
    size = int.from_bytes(seed[:4], "big") % largest
    return (seed * (size // 32 + 1))[:size]


def main() -> int:
    root, mode, kind, first, count, batch, largest = sys.argv[1:]

    def say(*words: object) -> None:
        sys.stdout.write(" ".join(map(str, words)) + "\n")
        sys.stdout.flush()

    try:
        with PosixStore(f"file://{root}", root, anonymous=mode == "anonymous") as store:
            for number in range(int(first), int(first) + int(count)):
                key = f"c/{number % 3:02x}/object-{number}"
                data = content(key, int(largest))
                store.put(key, [data[:1000], memoryview(data)[1000:]], urgent=kind == "urgent")
                say("put", key)
                if (number + 1) % int(batch) == 0:
                    store.sync()
                    say("synced")
    except BackyError as error:
        say("error", type(error).__name__, error)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
