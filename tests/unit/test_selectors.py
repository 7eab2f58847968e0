"""A selector names exactly one version, or says in one line why not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backy_core.errors import AmbiguousSelector, InvalidInput, NotFound
from backy_core.model import Version, VersionState
from backy_core.selectors import check_volume_name, select

VALID, INVALID, WRITING = VersionState.VALID, VersionState.INVALID, VersionState.WRITING


def version(uid: str, volume: str, state: VersionState = VALID) -> Version:
    return Version(uid, volume, state, 1, 4096, 1, 1, datetime(2026, 11, 20, tzinfo=UTC))


VERSIONS = [
    version("aaaa000000000001", "vm-1"),
    version("aaaa000000000002", "vm-1"),
    version("bbbb000000000003", "vm-1", INVALID),
    version("cccc000000000004", "vm-1", WRITING),
    version("dddd000000000005", "vm-2", INVALID),
    version("eeee000000000006", "beef"),
]


def find(selector: str) -> str:
    return select(selector, VERSIONS, lambda prefix: [v for v in VERSIONS if v.uid.startswith(prefix)]).uid


def test_a_volume_means_its_newest_valid_version() -> None:
    assert find("vm-1") == "aaaa000000000002"


def test_minus_one_means_the_valid_version_before_it() -> None:
    assert find("vm-1@-1") == "aaaa000000000001"
    assert find("vm-1@-0") == "aaaa000000000002"


def test_a_unique_beginning_of_a_uid_means_that_version_in_any_state() -> None:
    assert find("bbbb") == "bbbb000000000003"
    assert find("cccc0000") == "cccc000000000004"


def test_a_volume_goes_before_a_uid_that_looks_like_it() -> None:
    assert find("beef") == "eeee000000000006"


def test_several_fitting_uids_are_listed() -> None:
    with pytest.raises(AmbiguousSelector, match=r"aaaa000000000001 \(vm-1\), aaaa000000000002"):
        find("aaaa")


@pytest.mark.parametrize(
    ("selector", "error", "says"),
    [
        ("vm-3", NotFound, "did you mean vm-"),
        ("zzz", NotFound, "backy ls"),
        ("aaa", NotFound, "'aaa'"),
        ("ffff", NotFound, "'ffff'"),
        ("vm-2", NotFound, "no valid version.*dddd000000000005"),
        ("vm-1@-2", NotFound, "only 2 valid versions"),
        ("vm-1@", InvalidInput, "after @"),
        ("vm-1@1", InvalidInput, "after @"),
        ("vm-1@-x", InvalidInput, "after @"),
        ("", NotFound, "''"),
    ],
)
def test_what_names_no_version_says_why(selector: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        find(selector)


@pytest.mark.parametrize("name", ["vm-42", "a", "web.example.org_root", "ü-größe", "x" * 200, "0"])
def test_usual_volume_names_are_fine(name: str) -> None:
    check_volume_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/b",
        "a\0b",
        "a\nb",
        "x" * 300,
        "ü" * 101,
        "a b",
        "a@b",
        "a#b",
        "-a",
        ".a",
        "..",
        "a*",
        "a\u202eb",
        "\ud800",
    ],
)
def test_volume_names_that_would_trip_somebody_are_refused_in_one_short_line(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_volume_name(name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
