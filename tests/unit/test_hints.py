"""Hints are the JSON of `rbd diff`: read whatever its line breaks, refused when they cannot be meant."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backy_core.errors import InvalidHints
from backy_core.hints import read_hints

MIB = 1024 * 1024
SIZE = 40 * MIB
BLOCK = 4 * MIB


def write(path: Path, text: str) -> Path:
    file = path / "hints.json"
    file.write_text(text)
    return file


@pytest.mark.parametrize("indent", [None, 0, 4])
def test_one_line_and_many_lines_say_the_same(tmp_path: Path, indent: int | None) -> None:
    entries = [
        {"offset": 0, "length": 4096, "exists": "true"},
        {"offset": 9 * MIB, "length": 4 * MIB, "exists": "false"},
        {"offset": SIZE - 1, "length": 1, "exists": True},
    ]
    hints = read_hints(write(tmp_path, json.dumps(entries, indent=indent)), SIZE, BLOCK)
    assert list(hints) == [0, 2, 3, 9]


def test_an_empty_list_hints_at_nothing(tmp_path: Path) -> None:
    assert list(read_hints(write(tmp_path, " \n[ \n ]\n"), SIZE, BLOCK)) == []


def test_a_range_of_no_bytes_touches_no_block(tmp_path: Path) -> None:
    assert list(read_hints(write(tmp_path, '[{"offset": 5, "length": 0, "exists": true}]'), SIZE, BLOCK)) == []


def test_a_long_file_is_read_in_pieces_of_any_layout(tmp_path: Path) -> None:
    # Longer than what is read at once, with blanks longer than that, too.
    chosen = sorted(random.Random(1).sample(range(200_000), 40_000))
    entries = ",\n".join(f'{{"offset": {4096 * at}, "length": 4096, "exists": "true"}}' for at in chosen)
    text = "[" + " " * (3 * MIB) + entries + "\n" * MIB + "]"
    hints = read_hints(write(tmp_path, text), 200_000 * 4096, 4096)
    assert list(hints) == chosen


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cut off"),
        ("{}", "JSON list"),
        ("rbd: error opening image", "JSON list"),
        ("[", "cut off"),
        ('[{"offset": 0, "length": 1}', "cut off"),
        ('[{"offset": 0, "length": 1},', "cut off"),
        ('[{"offset": 0, "len', "no valid JSON"),
        ('[{"offset": 0, "length": 1}] x', "goes on"),
        ('[{"offset": 0, "length": 1} {"offset": 1, "length": 1}]', "no valid JSON"),
        ("[,]", "no valid JSON"),
        ("[1]", "entry 1"),
        ("[null]", "entry 1"),
        ('[{"length": 1}]', "offset is None"),
        ('[{"offset": "0", "length": 1}]', "offset is '0'"),
        ('[{"offset": true, "length": 1}]', "offset is True"),
        ('[{"offset": 0.5, "length": 1}]', "offset is 0.5"),
        ('[{"offset": -1, "length": 1}]', "offset is -1"),
        ('[{"offset": 0, "length": -1}]', "length is -1"),
        ('[{"offset": 0, "length": 1, "exists": "maybe"}]', "exists is 'maybe'"),
        ('[{"offset": 0, "length": 1, "exists": 1}]', "exists is 1"),
        (f'[{{"offset": {SIZE}, "length": 1, "exists": true}}]', "beyond the end"),
        (f'[{{"offset": 0, "length": {SIZE + 1}, "exists": true}}]', "beyond the end"),
        ('[{"offset": 0, "length": 4096}, {"offset": 4095, "length": 1}]', "overlaps"),
        ('[{"offset": 4096, "length": 4096}, {"offset": 0, "length": 1}]', "overlaps or precedes"),
        ("[" * 100_000, "no valid JSON"),
    ],
)
def test_hints_that_cannot_be_meant_are_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidHints, match=says) as caught:
        read_hints(write(tmp_path, text), SIZE, BLOCK)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value), "the message names the file"


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "hints.json"
    file.write_bytes(b"[\xff\xfe]")
    with pytest.raises(InvalidHints, match="no valid JSON"):
        read_hints(file, SIZE, BLOCK)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidHints, match="absent"):
        read_hints(tmp_path / "absent", SIZE, BLOCK)
    with pytest.raises(InvalidHints, match="directory"):
        read_hints(tmp_path, SIZE, BLOCK)


@given(st.text(alphabet='[]{},:"tfruelasoxnghi0123 \n-', max_size=60))
def test_garbage_never_gets_past_the_typed_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = write(tmp_path_factory.mktemp("hints"), text)
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    try:
        read_hints(file, SIZE, BLOCK)
    except InvalidHints:
        return
    assert isinstance(expected, list), "only a JSON list may be accepted"
