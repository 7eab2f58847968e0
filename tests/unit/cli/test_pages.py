"""The pages are held to the program: what they show is run, what they list is complete."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from backy_core.cli.group import COMMANDS
from backy_core.errors import EXIT_CODES

from .conftest import Place

ROOT = Path(__file__).parents[3]
JSON_PAGE = ROOT / "docs" / "reference" / "json.md"


def shell_lines(page: Path) -> list[str]:
    """The lines of a page's shell blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line]


def run_line(place: Place, line: str) -> None:
    """Run one line as typed, with `backy` on the path; a comment may announce its exit code."""
    announced = re.search(r"# exit code (\d+)", line)
    ended = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", line],
        cwd=place.path,
        env=place.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == (int(announced[1]) if announced else 0), (line, ended.stdout, ended.stderr)


@pytest.fixture
def with_command(place: Place) -> Place:
    """A place where typing `backy` runs it."""
    folder = place.path / "bin"
    folder.mkdir()
    script = folder / "backy"
    interpreter, *rest = place.command()
    script.write_text(f'#!/bin/sh\nexec "{interpreter}" {" ".join(rest)} "$@"\n')
    script.chmod(0o755)
    place.environment["PATH"] = f"{folder}:{place.environment['PATH']}"
    return place


def test_the_first_steps_of_the_readme_work_as_they_stand(with_command: Place) -> None:
    with_command.image()
    lines = [line for line in shell_lines(ROOT / "README.md") if line.startswith("backy")]
    assert len(lines) == 5
    for line in lines:
        run_line(with_command, line)
    assert (with_command.path / "restored.img").read_bytes() == (with_command.path / "disk.img").read_bytes()


def test_the_two_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    makes = [line for line in shell_lines(ROOT / "README.md") if line.startswith("make")]
    assert makes == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    for page in (ROOT / "README.md", ROOT / "docs" / "tutorial.md", ROOT / "Makefile"):
        for target in re.findall(r"(?:`|echo ')make ([a-z]+)", page.read_text()):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (page, target)


def test_every_line_of_the_tutorial_works(with_command: Place) -> None:
    lines = shell_lines(ROOT / "docs" / "tutorial.md")
    assert len(lines) > 15
    for line in lines:
        run_line(with_command, line)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/tutorial.md",
        "docs/reference/json.md",
        "docs/reference/exit-codes.md",
        "docs/howto-encryption.md",
        "docs/howto-recovery.md",
        "docs/format.md",
    ],
)
def test_links_lead_somewhere_and_commands_exist(page: str) -> None:
    path = ROOT / page
    text = path.read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (path.parent / target).exists(), target
    for name in re.findall(r"`(?:\.venv/bin/)?backy ([a-z]+(?:-[a-z]+)*)", text):
        assert name in COMMANDS


def test_the_places_of_the_readme_are_there() -> None:
    for place in re.findall(
        r"^\| .*`([a-z_./]+)` \|$|^\| `([a-zA-Z_./]+/|Makefile)` \|", (ROOT / "README.md").read_text(), re.M
    ):
        name = place[0] or place[1]
        assert (ROOT / name).exists(), name


def test_the_table_of_exit_codes_is_the_one_of_the_program() -> None:
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text()
    listed = {int(code): meaning for code, meaning in re.findall(r"^\| (\d+) \| (.+) \|$", page, re.MULTILINE)}
    assert listed == EXIT_CODES
    assert list(listed) == sorted(listed)


def documented(command: str) -> list[str]:
    """The field names that the page on JSON gives for a command's document, the outermost first."""
    row = re.search(rf"^\| `{command}` \| (.*) \|$", JSON_PAGE.read_text(), re.MULTILINE)
    assert row is not None, command
    return re.findall(r"`([a-z_]+)`", row[1].replace("`null`", ""))


def fields(table_heading: str) -> list[str]:
    """The field names in the first column of the table under a heading."""
    section = JSON_PAGE.read_text().split(f"## {table_heading}\n")[1].split("\n## ")[0]
    return [
        name
        for first in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        for name in re.findall(r"`([a-z_]+)`", first)
    ]


def check(command: str, document: dict[str, Any]) -> None:
    """A document has exactly the fields that the page gives, and each version in it those of a version."""
    top, *below = documented(command)
    if below and list(document) == ["schema", top]:
        inner = document[top]
        assert list(inner[0] if isinstance(inner, list) else inner) == below
    else:
        assert list(document) == ["schema", top, *below]
    versions = [document["version"]] if "version" in document else document.get("versions", [])
    for version in versions if isinstance(versions, list) else []:
        assert sorted(version) == sorted(fields("A version"))
        assert version["created"].endswith("Z")


def test_the_page_on_json_names_every_field_of_every_document(place: Place) -> None:
    seen = {}
    seen["init"] = place.ask("init")
    place.image()
    seen["backup"] = place.ask("backup", "disk.img", "vm-1")
    seen["restore"] = place.ask("restore", "vm-1", "restored.img")
    seen["ls"] = place.ask("ls")
    seen["show"] = place.ask("show", "vm-1")
    seen["tag"] = place.ask("tag", "vm-1", "--add", "kept")
    seen["protect"] = place.ask("protect", "vm-1")
    seen["unprotect"] = place.ask("unprotect", "vm-1")
    seen["scrub"] = place.ask("scrub")
    seen["export"] = place.ask("export", "vm-1", "vm-1.export")
    seen["import"] = place.ask("import", "vm-1.export")
    place.ask("-R", "other", "init")
    seen["copy"] = place.ask("copy", "--to", "other")
    seen["reconcile"] = place.ask("reconcile")
    seen["check-database"] = place.ask("check-database")
    seen["rm"] = place.ask("rm", "vm-1")
    seen["cleanup"] = place.ask("cleanup")
    seen["key"] = place.ask("key", "list")
    seen["plugins"] = place.ask("plugins")
    for path in place.path.rglob("metadata.sqlite*"):
        if path.is_file() and "default" in str(path):
            path.unlink()
    seen["rebuild"] = place.ask("rebuild")
    assert fields("What was taken over from a store") == list(seen["rebuild"]["rebuilt"])
    assert set(seen) == set(COMMANDS)
    for command, document in seen.items():
        check(command, document)
    statistics = re.search(r"^`statistics`: (.*?)\.\n\n", JSON_PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert statistics is not None
    assert re.findall(r"`([a-z_]+)`", statistics[1]) == list(seen["backup"]["statistics"])
    progress = fields("Progress")
    assert progress == ["phase", "done", "total", "stored_bytes", "seconds"]
