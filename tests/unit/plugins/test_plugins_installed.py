"""What the list of installed plugins says, without importing one of them."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backy_core.errors import InvalidInput
from backy_core.locations import normalise, scheme

Child = Callable[..., Any]
Install = Callable[..., Path]

LIST = """
rows = [(i.kind, i.name, i.distribution, i.version, i.api, i.problem) for i in installed({arguments})]
print([r for r in rows if r[2].startswith('acme')])
print(rows == [(i.kind, i.name, i.distribution, i.version, i.api, i.problem) for i in installed({arguments})])
print(sorted(m for m in sys.modules if m.startswith(('acme', 'stevedore', 'backy_io', 'backy_meta', 'backy_hash'))))
"""


def listed(ended: Any) -> list[tuple[str, str, str, str, int, str | None]]:
    """The rows of a child that ran LIST, having imported no plugin and told the same twice."""
    rows, same, imported = ended.out.splitlines()
    assert (ended.err, same, imported) == ("", "True", "[]")
    return list(ast.literal_eval(rows))


def test_every_plugin_is_listed_with_what_is_wrong_with_it(install: Install, child: Child) -> None:
    site = install("acme-fine", "acme-old", "acme-new", "acme-both", "acme-one", "acme-two", "acme-wraps")
    twice = (
        "store plugin 'twice' is claimed by acme-one 1.0.0 and acme-two 2.0.0: remove one,"
        ' or set [plugins] store.twice = "acme-one" in the settings'
    )
    assert listed(child(LIST.format(arguments=""), site)) == [
        ("store", "both", "acme-both", "2.0.0", 1, None),
        ("store", "fine", "acme-fine", "1.2.0", 1, None),
        ("store", "fine.tls", "acme-fine", "1.2.0", 1, None),
        ("store", "new", "acme-new", "9.0.0", 99, "speaks store v99, this core speaks v1: upgrade backy-core"),
        ("store", "old", "acme-old", "0.1.0", 0, "speaks store v0, this core speaks v1: upgrade acme-old"),
        ("store", "twice", "acme-one", "1.0.0", 1, twice),
        ("store", "twice", "acme-two", "2.0.0", 1, twice),
        ("hooks", "wraps", "acme-wraps", "1.0.0", 1, None),
    ]


def test_a_choice_and_an_allow_list_are_told(install: Install, child: Child) -> None:
    site = install("acme-fine", "acme-one", "acme-two")
    arguments = "['acme-one', 'acme-two'], {'store.twice': 'acme-two'}"
    assert [(row[2], row[5]) for row in listed(child(LIST.format(arguments=arguments), site))] == [
        ("acme-fine", "left out by [plugins] only"),
        ("acme-fine", "left out by [plugins] only"),
        ("acme-one", "[plugins] store.twice chose acme-two"),
        ("acme-two", None),
    ]


def test_a_rival_that_is_left_out_is_no_rival(install: Install, child: Child) -> None:
    ended = child(LIST.format(arguments="['acme-two']"), install("acme-one", "acme-two"))
    assert [(row[2], row[5]) for row in listed(ended)] == [
        ("acme-one", "left out by [plugins] only"),
        ("acme-two", None),
    ]


def test_the_cores_own_backends_are_listed_as_those_of_the_core(child: Child) -> None:
    code = "print({(i.kind, i.name) for i in installed() if i.distribution == 'backy-core'} >= {('store', 'file')})"
    assert child(code).out == "True\n"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://bucket/prefix", "s3"),
        ("S3+HTTP://bucket", "s3.http"),
        ("/dev/vg/lv", "file"),
        ("disk.img", "file"),
        ("./s3://x", "file"),
        ("a:b", "file"),
    ],
)
def test_a_url_is_answered_by_the_plugin_of_its_scheme(url: str, name: str) -> None:
    assert scheme(url) == name


def test_a_bare_path_becomes_an_absolute_percent_encoded_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert normalise("50% of#it?.img").endswith("/a%20folder/50%25%20of%23it%3F.img")
    assert normalise("/dev/vg0/root") == "file:///dev/vg0/root"
    assert normalise("RBD://Pool/Image@snap") == "rbd://Pool/Image@snap"
    assert normalise("/x/\udcff") == "file:///x/%FF"


def test_dots_in_a_path_lead_where_the_kernel_says(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "deep")
    real = tmp_path.resolve() / "real"
    assert normalise(f"{tmp_path}/link/../disk") == normalise(f"{real}/disk")
    assert normalise(f"{tmp_path}/link/..") == normalise(str(real))


@pytest.mark.parametrize(("location", "said"), [("", "an empty location"), ("a\0b", "NUL character")])
def test_what_can_be_no_place_is_refused(location: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        normalise(location)


def test_a_relative_path_from_a_folder_that_is_gone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(InvalidInput, match="give an absolute path"):
        normalise("disk.img")
