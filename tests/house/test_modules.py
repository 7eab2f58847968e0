"""How a module looks: it opens with a sentence, and it is short."""

from __future__ import annotations

import ast
from statistics import median
from typing import Any

LONGEST = 400
MEDIAN = 100
VAGUE = ("helper", "util", "common", "manager", "misc")


def everything(core: list[Any], plugins: dict[str, list[Any]]) -> list[Any]:
    return [*core, *(module for modules in plugins.values() for module in modules)]


def test_every_module_opens_with_a_sentence(core: list[Any], plugins: dict[str, list[Any]]) -> None:
    def opens_well(module: Any) -> bool:
        first = (ast.get_docstring(module.tree) or "").split("\n\n")[0].strip()
        return first.endswith((".", "?")) and len(first.split()) >= 3

    assert [module.name for module in everything(core, plugins) if not opens_well(module)] == []


def test_no_module_is_long(core: list[Any], plugins: dict[str, list[Any]]) -> None:
    lengths = {module.name: module.text.count("\n") for module in everything(core, plugins)}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_most_modules_are_short(core: list[Any], plugins: dict[str, list[Any]]) -> None:
    assert median(module.text.count("\n") for module in everything(core, plugins)) < MEDIAN


def test_no_module_has_a_vague_name(core: list[Any], plugins: dict[str, list[Any]]) -> None:
    found = [m.name for m in everything(core, plugins) if any(word in m.name.rpartition(".")[2] for word in VAGUE)]
    assert found == []


def test_every_public_function_and_class_says_what_it_promises(core: list[Any], plugins: dict[str, list[Any]]) -> None:
    def promised(module: Any) -> set[str]:
        for node in module.tree.body:
            if isinstance(node, ast.Assign) and any(
                isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
            ):
                return set(ast.literal_eval(node.value))
        return set()

    silent = [
        f"{module.name}.{node.name}"
        for module in everything(core, plugins)
        for node in module.tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in promised(module)
        if not ast.get_docstring(node)
    ]
    assert silent == []
