"""Opens a store's root directory, makes it when asked to, and tells later whether it is still the one at its path."""

from __future__ import annotations

import os

from backy_core.builtin.posix_errors import shown, translated
from backy_core.errors import RepositoryError, StoreError

__all__ = ["check_root", "open_root"]


def open_root(path: str, *, create: bool) -> int:
    """A descriptor of the directory, which also keeps its file system from being unmounted.

    Without `create`, raises `RepositoryError` when it is absent, or empty like a mount point with nothing mounted.
    """
    try:
        if create:
            _make_durably(path)
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise RepositoryError(
            f"there is no directory {shown(path)}: mount its file system, or make a repository there with backy init"
        ) from error
    except OSError as error:
        raise translated(error, "open the directory", path) from error
    try:
        if not create:
            with os.scandir(root) as entries:
                if next(entries, None) is None:
                    raise RepositoryError(
                        f"the directory {shown(path)} is empty: mount its file system, "
                        "or make a repository there with backy init"
                    )
    except OSError as error:
        os.close(root)
        raise translated(error, "list the directory", path) from error
    except BaseException:
        os.close(root)
        raise
    return root


def check_root(root: int, path: str) -> None:
    """Raise `StoreError` unless the open directory `root` is still what `path` names, and can be listed.

    Asked before absence is believed: in a directory that was removed or mounted over, everything is absent.
    """
    try:
        if not os.path.samestat(os.stat(path), os.fstat(root)):
            raise StoreError(f"another directory has taken the place of the store {shown(path)}; is it still mounted?")
        with os.scandir(root) as entries:
            next(entries, None)
    except OSError as error:
        raise translated(error, "reach the store", path) from error


def _make_durably(path: str) -> None:
    """Make the directory and its parents, each durable in its own parent."""
    absent = []
    while not os.path.isdir(path):
        absent.append(path)
        path = os.path.dirname(path)
    for folder in reversed(absent):
        os.mkdir(folder, 0o700)
        above = os.open(os.path.dirname(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(above)
        finally:
            os.close(above)
