"""URLs name two paths whatever is in them, settings are checked, and no message repeats a key."""

from __future__ import annotations

from pathlib import Path

import exports
import pytest
from backy_io_backy2 import io_settings, open_source, open_target
from backy_io_backy2.location import location_of, paths_of
from backy_io_backy2.settings import Backy2Settings
from hypothesis import given
from hypothesis import strategies as st

from backy_core.errors import ConfigurationError, InvalidInput, NotFound, SourceError
from backy_core.settings import describe, plugin_settings

KEY = exports.KEY.hex()
PATHS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1).map(
    lambda text: f"/{text}x"
)


@given(PATHS, PATHS)
def test_every_path_survives_its_url(export: str, data: str) -> None:
    assert paths_of(location_of(export, data)) == (export, data)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("file:///a?data=/b", "no URL of an exported version"),
        ("backy2://host/a?data=/b", "names a host"),
        ("backy2://?data=/b", "names a host"),
        ("backy2:///a/?data=/b", "ends in a folder"),
        ("backy2:///a?data=b", "absolute path"),
        ("backy2:///a?data=", "absolute path"),
        ("backy2:///a?data", "absolute path"),
        ("backy2:///a?data=/b&data=/c", "twice"),
        ("backy2:///a?dta=/b", "no parameter 'dta'"),
        ("backy2:///a%2?data=/b", "stray '%'"),
        ("backy2:///a?data=/b%zz", "stray '%'"),
        ("backy2:///a#b?data=/b", "'#'"),
        ("backy2:///a?data=/b#c", "'#'"),
        ("backy2:///a%00?data=/b", "zero byte"),
        ("backy2:///a?data=/b%00", "zero byte"),
        ("backy2:///a", r"add \?data="),
    ],
)
def test_what_is_no_url_is_refused(url: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        open_source(url, None)


def test_a_key_in_the_url_is_refused_without_being_repeated() -> None:
    with pytest.raises(InvalidInput, match=r"under \[plugin.io_backy2\]") as caught:
        open_source(f"backy2:///a?data=/b&encryption_key={KEY}", None)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"data": "relative"}, "'data' must be an absolute path"),
        ({"hash": "sha5120"}, "'sha5120', which this Python cannot compute"),
        ({"hash": "shake_128"}, "'shake_128', which this Python cannot compute"),
        ({"timezone": "Mars/Olympus"}, "'Mars/Olympus', which is not known"),
        ({"timezone": "Europe"}, "'Europe', which is not known"),
        ({"timezone": "../etc/passwd"}, "which is not known"),
        ({"allow_invalid": "yes"}, "true or false"),
        ({"datas": "/x"}, "did you mean 'data'"),
    ],
)
def test_settings_are_checked(table: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        plugin_settings(io_settings(), table, "here")


@pytest.mark.parametrize("key", [KEY[:-1], KEY + "0", "g" * 64, "decaf"])
def test_a_malformed_key_is_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(ConfigurationError, match="64 hexadecimal digits") as caught:
        plugin_settings(io_settings(), {"encryption_key": key}, "here")
    assert key not in str(caught.value)


def test_a_key_comes_from_a_file_and_shows_nowhere(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    settings = plugin_settings(io_settings(), {"encryption_key": {"file": str(tmp_path / "key")}}, "here")
    assert settings.encryption_key == KEY
    assert KEY not in repr(settings)
    assert describe(settings)["encryption_key"] == "(hidden)"


def test_there_are_no_targets(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="never restored to"):
        open_target("backy2:///a?data=/b", Backy2Settings(), 1, True, "")


def test_places_that_are_not_there_are_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotFound, match=r"no such export: .*gone\.csv; make it with backy2 export"):
        open_source(location_of(str(tmp_path / "gone.csv"), str(tmp_path)), None)
    for name in ("gone", "file/gone"):
        with pytest.raises(NotFound, match=f"no such folder: .*{name}; data= is the path in backy2's"):
            open_source(location_of(str(tmp_path / "file"), str(tmp_path / name)), None)
    with pytest.raises(SourceError, match="file is no folder"):
        open_source(location_of(str(tmp_path / "file"), str(tmp_path / "file")), None)
    with pytest.raises(SourceError, match="no regular file"):
        open_source(location_of(str(tmp_path), str(tmp_path)), None)
