"""Help: complete, cheap, with examples that stand as they were typed."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from backy_core.cli.command import BackyCommand
from backy_core.cli.group import COMMANDS, backy, module_of
from backy_core.errors import EXIT_CODES

HEAVY = ("sqlalchemy", "rich", "stevedore", "pluggy", "zstandard", "alembic", "blake3", "logging", "importlib.metadata")
ENGINE = (
    "backy_core.repository",
    "backy_core.pipeline",
    "backy_core.backup",
    "backy_core.plugins",
    "backy_core.settings",
)


def command_of(name: str) -> BackyCommand:
    made = import_module(module_of(name)).command_line
    assert isinstance(made, BackyCommand)
    return made


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["backup", "--help"], ["lss"], ["ls", "--jsno"]])
def test_what_needs_no_repository_imports_neither_engine_nor_libraries(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from backy_core.cli.main import run\n"
        f"run({arguments!r})\n"
        f"print([name for name in {HEAVY + ENGINE!r} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_the_list_of_commands_imports_none_of_them() -> None:
    code = (
        "import sys\n"
        "from backy_core.cli.main import run\n"
        "run(['--help'])\n"
        f"print([name for name in {list(map(module_of, COMMANDS))!r} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_explains_itself_with_examples_that_can_be_typed(name: str) -> None:
    shown = CliRunner().invoke(backy, [name, "--help"])
    assert shown.exit_code == 0
    made = command_of(name)
    assert made.name == name
    for example in made.examples:
        assert f"\n  {example}\n" in shown.output
        words = example.split(" > ")[0].split()
        if words[0] == "backy":
            backy.make_context("backy", words[1:], resilient_parsing=False)
    assert any(f"backy {name}" in example or f" {name}" in example for example in made.examples)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_a_command_fit_its_own_options(name: str) -> None:
    made = command_of(name)
    for example in made.examples:
        words = example.split(" > ")[0].split()
        if words[0] == "backy" and name in words:
            made.make_context(name, words[words.index(name) + 1 :])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_names_its_exit_codes(name: str) -> None:
    shown = CliRunner().invoke(backy, [name, "--help"]).output
    section = shown[shown.index("Exit codes:") :]
    made = command_of(name)
    assert {0, 1, 2, 130} <= set(made.exits) <= set(EXIT_CODES)
    for code in made.exits:
        assert f"\n  {code} " in section


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    for option in command_of(name).params:
        if isinstance(option, click.Option):
            assert option.help, option.opts


def test_help_lists_all_commands_in_a_line_each() -> None:
    shown = CliRunner().invoke(backy, ["-h"]).output
    width = max(map(len, COMMANDS)) + 2
    for name, line in COMMANDS.items():
        assert f"  {name:<{width}}{line}\n" in shown
        assert import_module(module_of(name)).__doc__
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_is_at_most_eighty_columns_wide(name: str) -> None:
    shown = CliRunner().invoke(backy, [name, "-h"]).output
    assert [line for line in shown.splitlines() if len(line) > 80] == []
