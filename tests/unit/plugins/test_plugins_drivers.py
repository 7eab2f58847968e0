"""Drivers of third parties, installed for real: how a fit one is used, and what is said of each unfit one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Child = Callable[..., Any]
Install = Callable[..., Path]

OPEN = "print(Plugins().open('store', {name!r}, 'open_store', location='x://y', settings=None, create=False).location)"


def open_store(name: str) -> str:
    return OPEN.format(name=name)


def refused(ended: Any, code: int, message: str) -> None:
    """The child ended with this exit code and one line, this one."""
    assert ended.err == f"backy: {message}\n"
    assert (ended.code, ended.out) == (code, "")


@pytest.mark.usefixtures("wheels")
class TestAFitDriver:
    def test_is_opened_by_its_name(self, install: Install, child: Child) -> None:
        ended = child(open_store("fine"), install("acme-fine"))
        assert (ended.code, ended.out, ended.err) == (0, "x://y\n", "")

    def test_answers_to_a_second_name_in_the_same_run(self, install: Install, child: Child) -> None:
        code = f"""
p = Plugins()
{open_store("fine").replace("Plugins()", "p")}
{open_store("fine.tls").replace("Plugins()", "p")}
"""
        ended = child(code, install("acme-fine"))
        assert (ended.code, ended.out, ended.err) == (0, "x://y\nx://y\n", "")

    def test_tells_its_settings_before_what_it_opens_is_imported(self, install: Install, child: Child) -> None:
        code = "print(Plugins().settings_type('store', 'fine').__name__, 'acme_fine.store' in sys.modules)"
        ended = child(code, install("acme-fine"))
        assert (ended.code, ended.out) == (0, "Settings False\n")

    def test_is_the_only_one_that_is_imported(self, install: Install, child: Child) -> None:
        code = f"{open_store('fine')}\nprint(sorted(m for m in sys.modules if m.startswith(('acme', 'backy_')))[:2])"
        ended = child(code, install("acme-fine", "acme-zoo", "acme-one", "acme-two"))
        assert ended.out == "x://y\n['acme_fine', 'acme_fine.store']\n"

    def test_is_found_in_the_api_version_that_this_core_speaks(self, install: Install, child: Child) -> None:
        ended = child(open_store("both"), install("acme-fine", "acme-both"))
        assert (ended.code, ended.out, ended.err) == (0, "x://y\n", "")

    def test_keeps_its_own_errors(self, install: Install, child: Child) -> None:
        refused(child(open_store("refuses"), install("acme-fine", "acme-zoo")), 10, "acme is on holiday")

    def test_without_settings_has_no_settings_type(self, install: Install, child: Child) -> None:
        ended = child("print(Plugins().settings_type('store', 'both'))", install("acme-both"))
        assert (ended.code, ended.out) == (0, "None\n")

    def test_survives_a_neighbour_whose_metadata_is_unreadable(self, install: Install, child: Child) -> None:
        site = install("acme-fine")
        broken = site / "acme_wreck-1.0.dist-info"
        broken.mkdir()
        (broken / "entry_points.txt").write_text("[backy_core.store.v1]\nno equals sign\n")
        ended = child(open_store("fine") + "\nprint([i.name for i in installed() if i.kind == 'store'])", site)
        assert (ended.code, ended.out) == (0, "x://y\n['file', 'fine', 'fine.tls']\n")

    def test_without_readable_metadata_is_named_by_its_module(self, install: Install, child: Child) -> None:
        site = install("acme-zoo")
        (site / "acme_zoo-3.1.4.dist-info" / "METADATA").unlink()
        message = "acme_zoo of unknown version does not fit this core: its entry point names no module"
        refused(child(open_store("classy"), site), 8, f"{message}; upgrade it or remove it")

    def test_leaves_nothing_in_the_cache_directory(self, install: Install, child: Child, tmp_path: Path) -> None:
        child(open_store("fine"), install("acme-fine"), XDG_CACHE_HOME=str(tmp_path / "cache"))
        assert not (tmp_path / "cache").exists()
        assert not (tmp_path / ".cache").exists()


class TestAMissingDriver:
    def test_that_is_known_is_named_with_the_command_that_installs_it(self, child: Child) -> None:
        message = "s3:// needs the package backy-store-s3: pip install backy-store-s3"
        refused(child(open_store("s3")), 8, message)

    @pytest.mark.parametrize(
        ("kind", "name", "message"),
        [
            (
                "io",
                "rdb",
                (
                    "no source or target plugin for rdb://; did you mean rbd:// of the package backy-io-rbd?"
                    " installed: backy2, file"
                ),
            ),
            ("io", "fiel", "no source or target plugin for fiel://; did you mean file://? installed: backy2, file"),
            ("io", "s3", "s3:// is a store, not a source or target; installed: backy2, file"),
            ("hash", "sha265", "no hash plugin for hash sha265; did you mean hash sha256? installed: {hashes}"),
            ("meta", "postgresql", "postgresql:// needs the package backy-meta-sql: pip install backy-meta-sql"),
        ],
    )
    def test_is_answered_with_what_was_meant(self, child: Child, kind: str, name: str, message: str) -> None:
        hashes = child("print(', '.join(i.name for i in installed() if i.kind == 'hash'))").out.strip()
        ended = child(f"Plugins().settings_type({kind!r}, {name!r}) or Plugins().open({kind!r}, {name!r}, 'new_hash')")
        refused(ended, 8, message.format(hashes=hashes))

    def test_that_nobody_knows_is_answered_with_what_is_installed(self, install: Install, child: Child) -> None:
        message = (
            "no store plugin for quantum+foam://; install the package that brings it; installed: file, fine, fine.tls"
        )
        refused(child(open_store("quantum.foam"), install("acme-fine")), 8, message)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("old", "acme-old 0.1.0 speaks store v0, this core speaks v1: upgrade acme-old"),
            ("new", "acme-new 9.0.0 speaks store v99, this core speaks v1: upgrade backy-core"),
        ],
    )
    def test_of_another_api_version_is_not_imported(
        self, install: Install, child: Child, name: str, message: str
    ) -> None:
        refused(child(open_store(name), install(f"acme-{name}")), 8, message)


class TestAnUnfitDriver:
    BROKEN = "store plugin {name!r} of acme-zoo 3.1.4 is installed but broken: {why}"
    UNFIT = "acme-zoo 3.1.4 does not fit this core: {why}"
    ANSWERS = "store plugin {name!r} of acme-zoo 3.1.4 is broken: {why}; upgrade it or remove it"
    LACKS = "store plugin {name!r} of acme-zoo 3.1.4 has no open_store; upgrade it or remove it"

    @pytest.mark.parametrize(
        ("name", "shape", "why"),
        [
            (
                "sdkless",
                BROKEN,
                "No module named 'sdk_of_acme'; install what brings sdk_of_acme, or reinstall acme-zoo",
            ),
            ("exits", BROKEN, "SystemExit: no licence; upgrade or reinstall acme-zoo"),
            ("asserts", BROKEN, "AssertionError: never true; upgrade or reinstall acme-zoo"),
            (
                "argument",
                UNFIT,
                "its open_store asks for region, which the hook does not have; upgrade it or backy-core",
            ),
            (
                "hookname",
                UNFIT,
                "it implements open_stoer, which is no hook (did you mean open_store?); upgrade it or backy-core",
            ),
            ("foreign", UNFIT, "it implements frobnicate, which is no hook; upgrade it or backy-core"),
            ("specname", UNFIT, "it binds opens to the hook open_store with specname; upgrade it or remove it"),
            ("classy", UNFIT, "its entry point names no module; upgrade it or remove it"),
            ("answersnothing", ANSWERS, "open_store answered with nothing, not a Store"),
            ("nonsense", ANSWERS, "open_store answered with a str, not a Store"),
            ("unmarked", ANSWERS, "open_store answered with nothing, not a Store"),
            ("latesdk", ANSWERS, "open_store failed: ModuleNotFoundError: No module named 'sdk_of_acme'"),
            ("crashes", ANSWERS, "open_store failed: ValueError: two lines"),
            ("hookless", LACKS, ""),
        ],
    )
    def test_is_named_with_its_version_and_the_remedy(
        self, install: Install, child: Child, name: str, shape: str, why: str
    ) -> None:
        ended = child(open_store(name), install("acme-fine", "acme-zoo"))
        refused(ended, 8, shape.format(name=name, why=why))

    @pytest.mark.parametrize("name", ["syntax", "oldcore"])
    def test_that_this_core_cannot_import_is_one_line_with_a_remedy(
        self, install: Install, child: Child, name: str
    ) -> None:
        ended = child(open_store(name), install("acme-zoo"))
        assert ended.code == 8
        assert ended.err.startswith(f"backy: store plugin {name!r} of acme-zoo 3.1.4 is installed but broken: ")
        assert ended.err.endswith("; upgrade or reinstall acme-zoo\n")
        assert ended.err.count("\n") == 1

    def test_whose_settings_are_no_dataclass_is_refused(self, install: Install, child: Child) -> None:
        why = "store_settings answered with a dict, not a dataclass"
        ended = child("Plugins().settings_type('store', 'badsettings')", install("acme-zoo"))
        refused(ended, 8, self.ANSWERS.format(name="badsettings", why=why))

    def test_does_not_spoil_the_run_for_a_fit_one(self, install: Install, child: Child) -> None:
        code = f"""
from backy_core.errors import PluginError
p = Plugins()
for name in ('argument', 'hookname', 'specname', 'sdkless') * 2:
    try:
        p.settings_type('store', name)
        print(name, 'was let in')
    except PluginError:
        pass
{open_store("fine").replace("Plugins()", "p")}
"""
        ended = child(code, install("acme-fine", "acme-zoo"))
        assert (ended.code, ended.out, ended.err) == (0, "x://y\n", "")


class TestTwoDriversOfOneName:
    def test_are_both_named_and_the_way_out(self, install: Install, child: Child) -> None:
        message = (
            "store plugin 'twice' is claimed by acme-one 1.0.0 and acme-two 2.0.0: remove one,"
            ' or set [plugins] store.twice = "acme-one" in the settings'
        )
        refused(child(open_store("twice"), install("acme-one", "acme-two")), 8, message)

    @pytest.mark.parametrize("chosen", ["acme-one", "Acme_Two"])
    def test_are_decided_by_the_choice_in_the_settings(self, install: Install, child: Child, chosen: str) -> None:
        opened = open_store("twice").replace("Plugins()", f"Plugins(choices={{'store.twice': {chosen!r}}})")
        code = f"{opened}\nprint(*(m for m in ('acme_one', 'acme_two') if m in sys.modules))"
        ended = child(code, install("acme-fine", "acme-one", "acme-two"))
        assert (ended.code, ended.out) == (0, f"x://y\n{chosen.lower().replace('-', '_')}\n")

    def test_are_decided_by_leaving_one_out(self, install: Install, child: Child) -> None:
        ended = child(open_store("twice"), install("acme-fine", "acme-one", "acme-two"), BACKY_PLUGINS="acme-two")
        assert (ended.code, ended.out) == (0, "x://y\n")

    def test_are_not_decided_by_a_choice_of_a_third(self, install: Install, child: Child) -> None:
        opened = open_store("twice").replace("Plugins()", "Plugins(choices={'store.twice': 'acme-three'})")
        message = (
            "the setting [plugins] store.twice names acme-three, but store plugin 'twice' comes from"
            " acme-one 1.0.0, acme-two 2.0.0; correct it or remove it"
        )
        refused(child(opened, install("acme-one", "acme-two")), 7, message)


class TestTheAllowList:
    @pytest.mark.parametrize("entry", ["acme-fine", "ACME_Fine", "store:fine", "other, store:fine"])
    def test_lets_pass_what_it_names(self, install: Install, child: Child, entry: str) -> None:
        assert child(open_store("fine"), install("acme-fine"), BACKY_PLUGINS=entry).out == "x://y\n"

    def test_of_the_environment_leaves_out_the_rest(self, install: Install, child: Child) -> None:
        message = "store plugin 'fine' of acme-fine 1.2.0 is left out by BACKY_PLUGINS: add store:fine there"
        refused(child(open_store("fine"), install("acme-fine"), BACKY_PLUGINS="backy-io-file"), 8, message)

    def test_of_the_settings_leaves_out_the_rest(self, install: Install, child: Child) -> None:
        opened = open_store("fine").replace("Plugins()", "Plugins(only=[])")
        message = "store plugin 'fine' of acme-fine 1.2.0 is left out by [plugins] only: add store:fine there"
        refused(child(opened, install("acme-fine"), BACKY_PLUGINS="acme-fine"), 8, message)

    def test_never_leaves_out_the_core_itself(self, child: Child) -> None:
        ended = child("print([i.problem for i in installed() if i.distribution == 'backy-core'])", BACKY_PLUGINS="none")
        assert set(ended.out.strip(" []\n").split(", ")) == {"None"}
