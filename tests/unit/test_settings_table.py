"""A plugin's dataclass built from its TOML table: types, secrets, sizes, and one voice for every fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backy_core.errors import ConfigurationError, InvalidInput, PluginError
from backy_core.settings import RepositorySettings, load
from backy_core.settings_table import describe, parse_size, plugin_settings


@dataclass(frozen=True, kw_only=True)
class Everything:
    endpoint: str
    retries: int = 3
    timeout_seconds: float = 10.0
    verify: bool = True
    known_hosts: Path | None = None
    style: Literal["path", "virtual"] = "path"
    hosts: tuple[str, ...] = ()
    ports: list[int] = field(default_factory=list)
    zones: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    part_size: int = field(default=8 * 1024 * 1024, metadata={"size": True})
    secret_key: str | None = field(default=None, repr=False, metadata={"secret": True})
    anything: Any = None
    derived: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ValueError("retries cannot be less than 0")


def built(**table: Any) -> Everything:
    return plugin_settings(Everything, {"endpoint": "e", **table}, "store 'x'")


def test_every_type_is_taken_as_it_is_written() -> None:
    made = built(
        retries=5,
        timeout_seconds=3,
        verify=False,
        known_hosts="/etc/hosts",
        style="virtual",
        hosts=["a", "b"],
        ports=[1],
        zones=["z"],
        labels={"a": "b"},
        part_size="16 MiB",
        secret_key="k",
        anything={"x": [1]},
    )
    assert made == Everything(
        endpoint="e",
        retries=5,
        timeout_seconds=3.0,
        verify=False,
        known_hosts=Path("/etc/hosts"),
        style="virtual",
        hosts=("a", "b"),
        ports=[1],
        zones=("z",),
        labels={"a": "b"},
        part_size=16 * 1024 * 1024,
        secret_key="k",
        anything={"x": [1]},
    )
    assert type(made.timeout_seconds) is float


def test_what_is_left_out_keeps_its_default() -> None:
    assert built() == Everything(endpoint="e")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"endpont": "x"}, "unknown setting 'endpont'; did you mean 'endpoint'?"),
        ({"derived": 1}, "unknown setting 'derived'; known: endpoint, retries"),
        ({"endpoint": 3}, "setting 'endpoint' must be a string, not 3"),
        ({"retries": "3"}, "setting 'retries' must be a whole number, not '3'"),
        ({"retries": True}, "setting 'retries' must be a whole number, not True"),
        ({"retries": 3.0}, "setting 'retries' must be a whole number, not 3.0"),
        ({"timeout_seconds": True}, "setting 'timeout_seconds' must be a number, not True"),
        ({"verify": 1}, "setting 'verify' must be true or false, not 1"),
        ({"known_hosts": ""}, "setting 'known_hosts' must be a path, not ''"),
        ({"style": "patch"}, "setting 'style' must be one of path, virtual, not 'patch'"),
        ({"hosts": "a"}, "setting 'hosts' must be a list, each item a string, not 'a'"),
        ({"hosts": ["a", 1]}, "setting 'hosts' must be a list, each item a string, not ['a', 1]"),
        ({"labels": {"a": 1}}, "setting 'labels' must be a table, each value a string, not {'a': 1}"),
        ({"part_size": "8 MB"}, "setting 'part_size' '8 MB' is no size: unknown unit 'MB', use MiB"),
        ({"retries": -1}, "retries cannot be less than 0"),
    ],
)
def test_a_fault_is_told_in_one_line_with_its_place(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        built(**table)
    assert str(caught.value).startswith(f"store 'x': {said}")
    assert "\n" not in str(caught.value)


def test_a_missing_setting_is_named_with_its_type() -> None:
    with pytest.raises(ConfigurationError, match=r"^here: setting 'endpoint' is missing; it is a string$"):
        plugin_settings(Everything, {}, "here")


def test_settings_of_a_class_that_cannot_be_read_are_the_plugins_fault() -> None:
    @dataclass(frozen=True)
    class Odd:
        when: Nowhere  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(PluginError, match="Odd cannot be read: name 'Nowhere' is not defined; upgrade or remove"):
        plugin_settings(Odd, {"when": 1}, "here")


class TestASecret:
    def test_comes_from_a_file_without_its_last_newline(self, tmp_path: Path) -> None:
        place = tmp_path / "the key"
        place.write_text("s3cr3t \n")
        assert built(secret_key={"file": str(place)}).secret_key == "s3cr3t "

    def test_comes_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ACME_KEY", "s3cr3t")
        assert built(secret_key={"env": "ACME_KEY"}).secret_key == "s3cr3t"

    def test_comes_from_a_command(self) -> None:
        assert built(secret_key={"command": ["printf", "%s\n", "s3cr3t; $HOME"]}).secret_key == "s3cr3t; $HOME"

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            ({"file": "/nowhere/key"}, "cannot be read from /nowhere/key: No such file or directory"),
            ({"file": "key"}, "names the file 'key': give its absolute path"),
            ({"file": "/dev/null"}, "is empty: look at the file /dev/null"),
            ({"file": 3}, "needs a string for 'file'"),
            ({"env": "ACME_UNSET"}, "is to come from the environment variable ACME_UNSET, which is not set"),
            ({"command": "pass show"}, "needs its command as a list of strings, such as ['pass', 'show', 'backy']"),
            ({"command": []}, "needs its command as a list of strings"),
            ({"command": ["/nowhere/pass"]}, "is to come from the command /nowhere/pass: No such file or directory"),
            (
                {"command": ["sh", "-c", "echo no such; echo entry >&2; exit 3"]},
                "is to come from the command sh, which ended with 3: entry",
            ),
            ({"command": ["true"]}, "is to come from the command true, which printed nothing"),
            ({"flie": "/k"}, 'must be a string, { file = ".." }, { env = ".." } or { command = [".."] }'),
            ({"file": "/k", "env": "K"}, 'must be a string, { file = ".." }'),
            ({}, 'must be a string, { file = ".." }'),
        ],
    )
    def test_that_cannot_be_fetched_is_told_with_its_place(self, table: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            built(secret_key=table)
        assert str(caught.value).startswith(f"store 'x': setting 'secret_key' {said}")

    def test_of_bytes_that_are_no_text_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigurationError, match="it is no UTF-8 text"):
            built(secret_key={"file": str(tmp_path / "key")})

    def test_of_the_wrong_type_is_not_shown(self) -> None:
        with pytest.raises(ConfigurationError, match="must be a string, not something else") as caught:
            built(secret_key=271828)
        assert "271828" not in str(caught.value)

    def test_is_hidden_where_settings_are_shown(self) -> None:
        shown = describe(built(secret_key="s3cr3t"))
        assert (shown["secret_key"], shown["endpoint"]) == ("(hidden)", "e")
        assert describe(built())["secret_key"] is None
        assert "s3cr3t" not in repr(built(secret_key="s3cr3t"))

    def test_like_form_is_only_for_secrets(self) -> None:
        with pytest.raises(ConfigurationError, match="setting 'endpoint' must be a string"):
            plugin_settings(Everything, {"endpoint": {"env": "HOME"}}, "here")


class TestInARepository:
    def settings(self, tmp_path: Path, table: str) -> RepositorySettings:
        path = tmp_path / "vms.toml"
        path.write_text(f'store = "file:///s"\nmetadata = "sqlite:///m"\n\n{table}')
        return load(str(path))

    def test_a_fault_names_the_file_and_the_line(self, tmp_path: Path) -> None:
        settings = self.settings(tmp_path, "[plugin.store_s3]\nendpoint = 'e'\nretries = 'x'\n")
        with pytest.raises(ConfigurationError) as caught:
            settings.plugin_settings("store", "s3", Everything)
        place = f"{tmp_path}/vms.toml line 6, [plugin.store_s3]"
        assert str(caught.value) == f"{place}: setting 'retries' must be a whole number, not 'x'"

    def test_a_missing_setting_names_the_table(self, tmp_path: Path) -> None:
        settings = self.settings(tmp_path, "[plugin.store_s3]\n")
        with pytest.raises(ConfigurationError, match=r"line 4, \[plugin\.store_s3\]: setting 'endpoint' is missing"):
            settings.plugin_settings("store", "s3", Everything)

    def test_a_plugin_without_settings_takes_none(self, tmp_path: Path) -> None:
        settings = self.settings(tmp_path, "[plugin.store_s3]\nregion = 'x'\n")
        assert settings.plugin_settings("io", "file", None) is None
        with pytest.raises(ConfigurationError, match=r"line 5, \[plugin\.store_s3\]: store 's3' takes no settings"):
            settings.plugin_settings("store", "s3", None)

    def test_settings_that_were_never_saved_are_told_without_a_line(self, tmp_path: Path) -> None:
        made = RepositorySettings("n", tmp_path / "n.toml", "file:///s", "sqlite:///m")
        with pytest.raises(ConfigurationError, match=r"n\.toml, \[plugin\.store_s3\]: setting 'endpoint' is missing"):
            made.plugin_settings("store", "s3", Everything)

    def test_secrets_of_tables_are_not_in_the_representation(self, tmp_path: Path) -> None:
        assert "s3cr3t" not in repr(self.settings(tmp_path, "[plugin.store_s3]\nsecret_key = 's3cr3t'\n"))


@pytest.mark.parametrize(
    ("text", "length"),
    [
        (0, 0), (4194304, 4194304), ("4194304", 4194304), ("4 MiB", 4194304), ("4M", 4194304), ("4m", 4194304),
        ("64 KiB", 65536), ("1.5 GiB", 1610612736), ("2T", 2199023255552), (" 512 B ", 512), ("0.5k", 512),
    ],
)  # fmt: skip
def test_a_size_is_read_in_powers_of_1024(text: str | int, length: int) -> None:
    assert parse_size(text) == length


@pytest.mark.parametrize("text", ["", "4 MB", "-1", "1e6", "four", "4 Mi B", "1.0001K", "٤", "4,5 GiB", -1, True, 1.5])
def test_what_is_no_size_is_refused(text: Any) -> None:
    with pytest.raises(InvalidInput, match="is no"):
        parse_size(text)


@given(st.integers(0, 2**60), st.sampled_from([("KiB", 1), ("MiB", 2), ("GiB", 3), ("TiB", 4)]))
def test_a_whole_number_of_units_is_exact(number: int, unit: tuple[str, int]) -> None:
    assert parse_size(f"{number} {unit[0]}") == number * 1024 ** unit[1]
