"""What stands in the tracked files: nothing of the machine they were written on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

# Put together, so that this file does not find itself.
WORKSHOP = re.compile(rb"(?<![\w.])(?:" + rb"/wor" + rb"k/|/tm" + rb"p/b(?:\b|/)|/hom" + rb"e/[a-z]+/|/Use" + rb"rs/)")
EXAMPLES = (b"/home/operator/", b"/home/alice/")


@pytest.fixture(scope="module")
def tracked(root: Path) -> list[Path]:
    """The files that git tracks, or would if they were added."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout, so nothing tells what is tracked")
    found = [root / name.decode() for name in listed.split(b"\0") if name]
    return [path for path in found if path.is_file()]


def test_no_file_names_a_place_on_the_machine_it_was_written_on(root: Path, tracked: list[Path]) -> None:
    found = []
    for path in tracked:
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            match = WORKSHOP.search(line)
            if match and not any(example in line for example in EXAMPLES):
                found.append(f"{path.relative_to(root)}:{number}: {match[0].decode()}")
    assert found == []


def test_text_files_end_with_one_newline_and_have_no_stray_spaces(root: Path, tracked: list[Path]) -> None:
    found = []
    for path in tracked:
        if path.suffix not in (".py", ".toml", ".md", ".mako", ".yml"):
            continue
        text = path.read_bytes()
        if text and (
            not text.endswith(b"\n") or text.endswith(b"\n\n") or b"\r" in text or re.search(rb"[ \t]\n", text)
        ):
            found.append(str(path.relative_to(root)))
    assert found == []
