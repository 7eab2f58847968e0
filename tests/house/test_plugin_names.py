"""One word runs through a plugin: its folder, distribution, import name, entry-point group and entry point."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import backy_core
from backy_core.hooks import SPOKEN

SCHEMES = {"meta_sql": {"sqlite", "postgresql"}, "store_gcs": {"gs"}}
"""The plugins whose entry points are not called as the plugin is: the scheme of their URLs is given by others."""


def project(folder: Path) -> dict[str, Any]:
    return dict(tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"])


def hints(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "backy_core" / "install_hints.toml").read_text("utf-8"))


def test_folder_distribution_and_import_name_agree(plugin_folders: list[Path]) -> None:
    for folder in plugin_folders:
        kind, _, name = folder.name.partition("_")
        assert kind in SPOKEN
        assert name
        assert project(folder)["name"] == f"backy-{kind}-{name.replace('_', '-')}"
        assert [path.name for path in (folder / "src").iterdir() if path.is_dir()] == [f"backy_{folder.name}"]
        assert (folder / "src" / f"backy_{folder.name}" / "py.typed").is_file()


def test_group_and_entry_points_agree_with_the_folder(plugin_folders: list[Path]) -> None:
    for folder in plugin_folders:
        kind, _, name = folder.name.partition("_")
        groups = project(folder)["entry-points"]
        for group, points in groups.items():
            assert re.fullmatch(rf"backy_core\.{kind}\.v[0-9]+", group)
            assert set(points) <= SCHEMES.get(folder.name, {name})
            assert all(target.split(".")[0] == f"backy_{folder.name}" for target in points.values())
            for target in points.values():
                assert ":" not in target, "an entry point names a module"
        spoken = {f"backy_core.{kind}.v{api}" for api in SPOKEN[kind]}
        assert spoken & set(groups), f"{folder.name} speaks no version that this core speaks"


def test_every_plugin_of_this_tree_can_be_recommended(root: Path, plugin_folders: list[Path]) -> None:
    known = hints(root)
    for folder in plugin_folders:
        kind = folder.name.partition("_")[0]
        said = project(folder)
        for points in said["entry-points"].values():
            assert {known[kind].get(point) for point in points} == {said["name"]}


def test_the_recommendations_name_kinds_and_packages(root: Path) -> None:
    known = hints(root)
    assert known["install"].format(package="x") != known["install"]
    assert {key for key in known if key != "install"} <= set(SPOKEN)
    for kind in set(known) - {"install"}:
        assert all(re.fullmatch(rf"backy-{kind}-[a-z0-9-]+", package) for package in known[kind].values())


def test_a_plugin_needs_the_core_and_never_another_plugin(plugin_folders: list[Path]) -> None:
    for folder in plugin_folders:
        needed = [re.split(r"[<>=!~ ;\[]", one)[0] for one in project(folder)["dependencies"]]
        assert [one for one in needed if one.startswith("backy")] == ["backy-core"]


def test_a_plugin_has_its_own_version_changelog_and_readme(plugin_folders: list[Path]) -> None:
    for folder in plugin_folders:
        assert project(folder)["version"] in (folder / "CHANGELOG.md").read_text("utf-8")
        assert project(folder)["name"] in (folder / "README.md").read_text("utf-8")


def test_a_plugins_folder_builds_wherever_it_is_copied(plugin_folders: list[Path]) -> None:
    for folder in plugin_folders:
        said = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
        assert "uv" not in said.get("tool", {})


def test_the_core_says_its_version_once(root: Path) -> None:
    assert project(root)["version"] == backy_core.__version__


def test_the_cores_own_backends_are_entry_points_of_the_core(root: Path) -> None:
    groups = project(root)["entry-points"]
    for group, points in groups.items():
        kind, _, version = group.removeprefix("backy_core.").partition(".v")
        assert int(version) in SPOKEN[kind]
        for target in points.values():
            assert target.startswith("backy_core.builtin.")
            assert (root / f"{target.replace('.', '/')}.py").is_file()
