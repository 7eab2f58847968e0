"""The settings file of a repository: where it is, how it is written, and what is said of each fault in it."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backy_core import settings as settings_module
from backy_core.errors import ConfigurationError, InvalidInput, RepositoryError
from backy_core.settings import (
    RepositorySettings,
    compression_level,
    configuration_directory,
    default_locations,
    load,
    locate,
    refuse_password,
    repository_names,
    save,
)
from backy_core.settings_encryption import EncryptionSettings
from backy_core.settings_file import parse, write
from backy_core.settings_text import settings_text

GOOD = 'store = "file:///srv/store"\nmetadata = "sqlite:///srv/metadata.sqlite"\n'


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, with a space in its path, and no `/etc/backy`."""
    home = tmp_path / "a home"
    home.mkdir()
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "BACKY_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(settings_module, "SYSTEM_CONFIGURATION", tmp_path / "etc" / "backy")
    return home


def written(text: str, name: str = "default") -> Path:
    """The file of a repository with this text."""
    path = locate(name)[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


class TestWhere:
    def test_a_user_keeps_settings_and_data_below_the_home_directory(self, home: Path) -> None:
        assert locate(None) == ("default", home / ".config/backy/repositories/default.toml")
        place = str(home).replace(" ", "%20") + "/.local/share/backy/vms"
        assert default_locations("vms") == (f"file://{place}/store", f"sqlite://{place}/metadata.sqlite")

    def test_xdg_directories_are_honoured(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "d"))
        assert configuration_directory() == tmp_path / "c" / "backy"
        assert default_locations("x")[0] == f"file://{tmp_path}/d/backy/x/store"

    @pytest.mark.parametrize("odd", ["", "relative/place", "~/config"])
    def test_an_xdg_value_that_is_no_absolute_path_is_ignored(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, odd: str
    ) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", odd)
        assert configuration_directory() == home / ".config" / "backy"

    @pytest.mark.parametrize("user", [0, 1000])
    def test_only_root_uses_the_systems_directories_and_only_when_they_exist(
        self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: user)
        assert configuration_directory() == home / ".config" / "backy"
        (tmp_path / "etc" / "backy").mkdir(parents=True)
        system = user == 0
        assert configuration_directory() == (tmp_path / "etc" / "backy" if system else home / ".config" / "backy")
        assert default_locations("x")[0].startswith("file:///var/lib/backy/x/") is system

    @pytest.mark.parametrize("home_variable", [None, "", "not/absolute"])
    def test_without_a_usable_home_the_password_database_is_asked(
        self, monkeypatch: pytest.MonkeyPatch, home_variable: str | None
    ) -> None:
        if home_variable is None:
            monkeypatch.delenv("HOME")
        else:
            monkeypatch.setenv("HOME", home_variable)
        assert configuration_directory() == Path(pwd.getpwuid(os.getuid()).pw_dir) / ".config" / "backy"

    def test_a_user_without_any_home_is_told_what_to_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(os, "getuid", lambda: 4242424)
        with pytest.raises(ConfigurationError, match="no home directory: set HOME or XDG_CONFIG_HOME"):
            configuration_directory()

    def test_the_environment_names_the_repository_unless_the_caller_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BACKY_REPOSITORY", "from-outside")
        assert locate(None)[0] == "from-outside"
        assert locate("vms")[0] == "vms"
        monkeypatch.setenv("BACKY_REPOSITORY", "")
        assert locate(None)[0] == "default"

    def test_a_path_names_a_file(self, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert locate("vms.toml") == ("vms", tmp_path / "vms.toml")
        assert locate("./vms") == ("vms", tmp_path / "vms")
        assert locate("~/vms.toml") == ("vms", home / "vms.toml")
        (tmp_path / "vms.toml").write_text(GOOD)
        assert load("vms.toml").path == tmp_path / "vms.toml"

    @pytest.mark.parametrize("name", ["-R", ".hidden", "a b", "ü", "a\n", "x" * 101, "/tmp/a b.toml"])
    def test_an_odd_name_is_refused(self, name: str) -> None:
        with pytest.raises(InvalidInput, match="is no name for a repository"):
            locate(name)


class TestSaving:
    def made(self, **values: object) -> RepositorySettings:
        name, path = locate("vms")
        store, metadata = default_locations(name)
        return RepositorySettings(name, path, store, metadata, **values)  # type: ignore[arg-type]

    def test_what_was_saved_is_loaded(self) -> None:
        whole = self.made(
            compression="none",
            workers=3,
            memory=100 * 1024 * 1024,
            plugins={"store_s3": {"region": 'a"\\b\n', "retries": 3, "slow": True, "key": {"file": "/k"}, "l": [1.5]}},
            plugins_only=("backy-store-s3",),
            plugin_choices={"store.s3": "backy-store-s3", "store.s3.http": "acme"},
            encryption=EncryptionSettings(
                passphrase={"command": ["pass", "show", "backy"]},
                write_key=Path("/etc/backy/write.key"),
                recovery_key=Path("/media/usb/re covery.pem"),
                recovery_code={"env": "CODE"},
            ),
        )
        save(whole)
        assert load("vms") == whole
        assert repository_names() == ["vms"]

    def test_the_file_is_for_its_owner_alone_whatever_the_umask(self) -> None:
        settings = self.made()
        before = os.umask(0)
        try:
            save(settings)
        finally:
            os.umask(before)
        assert stat.S_IMODE(settings.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(settings.path.parent.stat().st_mode) == 0o700

    def test_every_key_is_explained_by_a_comment(self) -> None:
        paragraphs = settings_text(self.made()).split("\n\n")
        for key in ("store", "compression", "workers", "memory", "plugins", "encryption", "passphrase", "plugin"):
            holding = [one for one in paragraphs if f"{key} = " in one or f"[{key}" in one]
            assert holding, key
            assert holding[0].startswith("# "), key

    def test_a_second_time_is_refused_and_leaves_the_first_alone(self) -> None:
        settings = self.made()
        save(settings)
        before = settings.path.read_bytes()
        with pytest.raises(RepositoryError, match=r"repository 'vms' is initialised already: .*vms\.toml"):
            save(self.made(compression="none"))
        assert settings.path.read_bytes() == before
        assert os.listdir(settings.path.parent) == ["vms.toml"]

    def test_of_two_at_once_one_wins_and_one_is_told(self, home: Path) -> None:
        code = (
            "import sys\nfrom backy_core.settings import *\nfrom backy_core.errors import RepositoryError\n"
            "name, path = locate('race')\nsettings = RepositorySettings(name, path, *default_locations(name))\n"
            "sys.stdin.read()\ntry:\n    save(settings)\n    print('won')\nexcept RepositoryError:\n    print('told')\n"
        )
        children = [
            subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
            child.stdin = None
        said = sorted(child.communicate(timeout=60)[0].strip() for child in children)
        assert said == ["told", "told", "won"]
        assert os.listdir(home / ".config/backy/repositories") == ["race.toml"]

    def test_a_file_that_appears_at_the_last_moment_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "vms.toml"
        path.write_text("of another init")
        with pytest.raises(FileExistsError):
            write(path, "mine")
        assert path.read_text() == "of another init"
        assert sorted(os.listdir(tmp_path)) == ["a home", "vms.toml"]

    def test_a_dangling_link_in_the_files_place_is_not_written_through(self, tmp_path: Path) -> None:
        settings = self.made()
        settings.path.parent.mkdir(parents=True)
        settings.path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(RepositoryError, match="initialised already"):
            save(settings)
        assert not (tmp_path / "elsewhere").exists()

    def test_a_file_in_the_folders_place_is_one_line(self, home: Path) -> None:
        (home / ".config").write_text("not a folder")
        with pytest.raises(ConfigurationError, match=r"cannot write .*vms\.toml: "):
            save(self.made())

    def test_a_password_in_a_url_is_never_written(self) -> None:
        settings = self.made()
        wrong = RepositorySettings(settings.name, settings.path, settings.store, "postgresql://u:hunter2@db/backy")
        with pytest.raises(ConfigurationError) as caught:
            save(wrong)
        assert "hunter2" not in str(caught.value)
        assert not settings.path.exists()

    @pytest.mark.parametrize("value", [None, b"bytes", "\udcff"])
    def test_what_toml_cannot_hold_is_refused(self, value: object) -> None:
        with pytest.raises(ConfigurationError):
            save(self.made(plugins={"store_s3": {"key": value}}))

    @given(
        st.recursive(
            st.text(st.characters(exclude_categories=["Cs"]))
            | st.integers(-(2**63), 2**63 - 1)
            | st.booleans()
            | st.floats(allow_nan=False),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
            ),
            max_leaves=8,
        )
    )
    def test_any_value_survives_being_written(self, value: object) -> None:
        path = Path("/nowhere.toml")
        whole = RepositorySettings("n", path, "file:///s", "sqlite:///m", plugins={"store_x": {"key": value}})
        assert parse(settings_text(whole), "n", path) == whole


class TestLoading:
    def test_a_repository_that_is_not_there_is_told_with_the_next_step(self, home: Path) -> None:
        written(GOOD, "vms")
        with pytest.raises(RepositoryError) as caught:
            load("vm")
        path = home / ".config/backy/repositories/vm.toml"
        assert str(caught.value) == (
            f"repository 'vm' is not initialised: run backy -R vm init ({path} is missing; there are: vms)"
        )
        with pytest.raises(RepositoryError, match="not initialised: run backy init"):
            load()
        with pytest.raises(RepositoryError, match=r"run backy -R /nowhere/x\.toml init"):
            load("/nowhere/x.toml")

    def test_what_is_left_out_has_its_default(self) -> None:
        written(GOOD)
        settings = load()
        assert (settings.compression, settings.workers, settings.memory) == ("zstd:1", None, 256 * 1024 * 1024)
        assert (dict(settings.plugins), settings.plugins_only, dict(settings.plugin_choices)) == ({}, None, {})

    @pytest.mark.parametrize(
        ("text", "line", "said"),
        [
            (GOOD + "memory = \n", 3, "no valid TOML: invalid value"),
            ("store = 'a\n", 1, "no valid TOML: "),
            ("[plugin.store_s3\n", 1, "no valid TOML: "),
            ("store = [", 1, "no valid TOML: "),
            (GOOD + "\nsotre = 1\n", 4, "unknown setting 'sotre'; did you mean 'store'?"),
            (GOOD + "[stuff]\n", 3, "unknown setting 'stuff'; known: store, metadata, compression"),
            (GOOD + "[stuff.deep]\n", 3, "unknown setting 'stuff'"),
            ('store = "/srv"\n' + "metadata = 1\n", 1, "setting 'store' must be a URL such as file:///srv/backup"),
            ('store = "file:///s"\nmetadata = 1\n', 2, "setting 'metadata' must be a URL such as sqlite:"),
            (
                'store = "file:///s"\nmetadata = "x://u:hunter2@h/"\n',
                2,
                "setting 'metadata': the x:// URL contains a pass",
            ),
            (
                'store = "s3://b?token=hunter2"\nmetadata = "x://"\n',
                1,
                "setting 'store': the s3:// URL contains a token",
            ),
            ('store = "s3://[b"\nmetadata = "x://"\n', 1, "setting 'store': not a URL: "),
            (GOOD + "compression = 1\n", 3, "setting 'compression' must be a string such as 'zstd:1'"),
            (GOOD + "compression = 'zstd:99'\n", 3, "setting 'compression': unknown compression 'zstd:99': use none"),
            (GOOD + "workers = true\n", 3, "setting 'workers' must be a whole number from 1 to 256, not True"),
            (GOOD + "workers = 0\n", 3, "setting 'workers' must be a whole number from 1 to 256, not 0"),
            (GOOD + "# more\nmemory = '4 elephants'\n", 4, "setting 'memory': '4 elephants' is no size"),
            (GOOD + "memory = 5\n", 3, "setting 'memory' must be at least 16 MiB"),
            (GOOD + "memory = 1.5\n", 3, "setting 'memory': 1.5 is no size"),
            (GOOD + "plugin = 3\n", 3, "'plugin' must hold one table per plugin, such as [plugin.store_s3]"),
            (GOOD + "[plugin]\nstore_s3 = 3\n", 4, "[plugin.store_s3] names no plugin: write a table"),
            (GOOD + "[plugin.shop_s3]\nx = 3\n", 3, "[plugin.shop_s3] names no plugin: write a table"),
            (GOOD + "plugins = 3\n", 3, "'plugins' must be a table: [plugins]"),
            (GOOD + "encryption = 3\n", 3, "'encryption' must be a table: [encryption]"),
            (
                GOOD + "[encryption]\npassphrase = 'hunter2'\n",
                4,
                "setting 'passphrase' must say where the secret is: {",
            ),
            (GOOD + "[encryption]\npassphrase = { file = 'pw' }\n", 4, "setting 'passphrase' must say where"),
            (
                GOOD + "[encryption]\npassphrase = { file = '/p', env = 'P' }\n",
                4,
                "setting 'passphrase' must say where",
            ),
            (GOOD + "[encryption]\npassphrase = { word = 'hunter2' }\n", 4, "setting 'passphrase' must say where"),
            (
                GOOD + "[encryption]\n\nrecovery_code = { command = 'cat' }\n",
                5,
                "setting 'recovery_code' must say where",
            ),
            (GOOD + "[encryption.recovery_code]\nenv = ''\n", 3, "setting 'recovery_code' must say where"),
            (GOOD + "[encryption]\nwrite_key = 'write.key'\n", 4, "setting 'write_key' must be the absolute path of"),
            (GOOD + "[encryption]\nrecovery_key = 7\n", 4, "setting 'recovery_key' must be the absolute path of"),
            (GOOD + "[encryption]\npassphrse = {}\n", 4, "unknown setting 'passphrse'; did you mean 'passphrase'?"),
            (GOOD + "[plugins]\nonly = 'x'\n", 4, "setting 'only' must be a list of strings"),
            (GOOD + "[plugins]\nonyl = ['x']\n", 4, "unknown setting 'onyl'; did you mean 'only'?"),
            (GOOD + "[plugins]\nstore.s3 = 4\n", 4, 'choose a package for a plugin as in store.name = "package"'),
            (GOOD + "[plugins]\n[plugins.shop]\ns3 = 'x'\n", 4, "unknown setting 'shop'; known: only, io"),
        ],
    )
    def test_a_fault_is_one_line_with_the_file_and_the_line(self, text: str, line: int, said: str) -> None:
        path = written(text)
        with pytest.raises(ConfigurationError) as caught:
            load()
        message = str(caught.value)
        assert message.startswith(f"{path} line {line}: {said}")
        assert "\n" not in message
        assert "hunter2" not in message

    def test_a_missing_url_is_named(self) -> None:
        path = written('store = "file:///s"\n')
        with pytest.raises(ConfigurationError) as caught:
            load()
        example = "it is a URL such as sqlite:///srv/backup.sqlite"
        assert str(caught.value) == f"{path}: setting 'metadata' is missing; {example}"

    def test_what_is_no_utf8_is_told_with_its_line(self) -> None:
        path = written("")
        path.write_bytes(b"# one\n# two \xff\n")
        with pytest.raises(ConfigurationError, match=r"line 2: not UTF-8 text"):
            load()

    def test_a_folder_in_its_place_is_told(self) -> None:
        path = locate("vms")[1]
        path.mkdir(parents=True)
        with pytest.raises(ConfigurationError, match=r"cannot read .*vms\.toml: Is a directory"):
            load("vms")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_an_unreadable_file_is_told(self) -> None:
        written(GOOD).chmod(0)
        with pytest.raises(ConfigurationError, match="Permission denied; check who may read it"):
            load()


@pytest.mark.parametrize(("text", "level"), [("none", None), ("zstd", 1), ("zstd:1", 1), ("zstd:22", 22)])
def test_a_compression_means_a_level(text: str, level: int | None) -> None:
    assert compression_level(text) == level


@pytest.mark.parametrize("text", ["", "lz4", "zstd:0", "zstd:23", "zstd:-1", "zstd:", "none:1", "zstd:1\n"])
def test_any_other_compression_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="unknown compression"):
        compression_level(text)


@pytest.mark.parametrize("url", ["s3://bucket/p?region=x", "sftp://user@host:22/p", "file:///a%40b", "rbd://p/i@snap"])
def test_a_url_without_secrets_passes(url: str) -> None:
    refuse_password(url)


class TestEncryption:
    def test_places_are_kept_and_secrets_fetched_when_asked_for(
        self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written(
            GOOD
            + f'[encryption]\npassphrase = {{ file = "{tmp_path}/pw" }}\nwrite_key = "~/write.key"\n'
            + 'recovery_code = { env = "CODE" }\n'
        )
        settings = load()
        assert settings.encryption.write_key == home / "write.key"
        assert settings.encryption.recovery_key is None
        with pytest.raises(
            ConfigurationError, match=r"default\.toml line 4, \[encryption\]: setting 'passphrase' cannot"
        ):
            settings.secret("passphrase")
        (tmp_path / "pw").write_text("hunter2\n")
        monkeypatch.setenv("CODE", "hunter3")
        assert (settings.secret("passphrase"), settings.secret("recovery_code")) == ("hunter2", "hunter3")
        assert "hunter" not in repr(settings)

    def test_a_repository_without_the_table_has_no_places(self) -> None:
        written(GOOD)
        assert load().encryption == EncryptionSettings()
