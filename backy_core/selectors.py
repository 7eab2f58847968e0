"""Names of volumes, and the selectors by which a person names one version.

`vm-42` is the volume's newest valid version, `vm-42@-1` the valid one before it, and any unique beginning of a uid (at
least four characters) that very version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches

from backy_core.errors import AmbiguousSelector, InvalidInput, NotFound
from backy_core.model import Version, VersionState

__all__ = ["MAX_VOLUME_NAME", "check_tags", "check_volume_name", "select"]

MAX_VOLUME_NAME = 200
"""Bytes in UTF-8."""

_SHORTEST_UID = 4
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]{0,99}", re.ASCII)


def check_volume_name(name: str) -> None:
    """Raise `InvalidInput` unless `name` can name a volume on every screen, in every selector and file name."""
    if not name:
        raise InvalidInput("the volume has no name; give one such as vm-42")
    shown = name if len(name) <= 60 else name[:57] + "..."
    if len(name.encode("utf-8", "surrogatepass")) > MAX_VOLUME_NAME:
        raise InvalidInput(f"the volume name {shown!r} is longer than {MAX_VOLUME_NAME} bytes")
    if not name.isprintable():
        raise InvalidInput(f"the volume name {shown!r} has characters that cannot be printed")
    if found := re.search(r"[/\\@#*?\s]", name):
        raise InvalidInput(
            f"the volume name {shown!r} has {found[0]!r} in it; use letters, digits, dot, dash, underscore"
        )
    if name[0] in "-.":
        raise InvalidInput(f"the volume name {shown!r} starts with {name[0]!r}; start with a letter or digit")


def check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags, sorted, each once; raises `InvalidInput` for one that could not be typed in a selector."""
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise InvalidInput(f"{tag!r} is no tag; use up to 100 letters, digits, dots, dashes, underscores and =")
    return tuple(sorted(set(tags)))


def select(selector: str, versions: Sequence[Version], find_uid: Callable[[str], list[Version]]) -> Version:
    """The one version that `selector` names among `versions` (oldest first), which hold all volumes.

    `find_uid` looks up the beginning of a uid. Raises `NotFound` (with a suggestion), `AmbiguousSelector` (with the
    candidates) or `InvalidInput`.
    """
    volume, at, place = selector.partition("@")
    of_volume = [version for version in versions if version.volume == volume]
    if of_volume:
        back = 0
        if at:
            if not re.fullmatch(r"-[0-9]{1,6}", place):
                raise InvalidInput(f"{selector!r} is no selector: after @ comes -1 for the last but one, -2, ...")
            back = int(place[1:])
        valid = [version for version in of_volume if version.state is VersionState.VALID]
        if back < len(valid):
            return valid[-1 - back]
        others = ", ".join(f"{version.uid} ({version.state.value})" for version in of_volume[-5:])
        if not valid:
            raise NotFound(f"volume {volume} has no valid version; name another one by its uid: {others}")
        raise NotFound(f"volume {volume} has only {len(valid)} valid versions, so {selector} names none")
    if not at and len(selector) >= _SHORTEST_UID and re.fullmatch(r"[0-9a-f]+", selector):
        found = find_uid(selector)
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(f"{version.uid} ({version.volume})" for version in found)
            raise AmbiguousSelector(f"{selector} fits several versions: {listed}; give more of the uid")
    close = get_close_matches(volume, sorted({version.volume for version in versions}), n=1)
    hint = f"; did you mean {close[0]}?" if close else "; `backy ls` lists them"
    raise NotFound(f"no volume or version is called {selector!r}{hint}")
