"""Random histories of backups, branches, interruptions, removals and purges against a plain model of them."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import oracle
import pytest
from backy_meta_sql import SqlSettings, entries, open_meta
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """An initialised, closed database in memory where there is such a place: durability is not the question here."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="histories ", dir=memory if memory.is_dir() else None))
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        meta = open_meta(f"sqlite://{folder}/template.db", SqlSettings(), True)
        assert meta is not None
        with meta:
            meta.initialise(oracle.facts())
        yield folder / "template.db"
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder)


TAKEN = ("leave_promised", "keep_promises", "replaced", "taken where it was", "taken into another database")


def run(template: Path, examples: int, number: int, steps: int) -> Counter[str]:
    counts: Counter[str] = Counter()

    @seed(number)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=True))
    def history(source: random.Random) -> None:
        oracle.run_history(template, source, steps, counts)

    history()
    return counts


def assert_nothing_was_left_out(counts: Counter[str]) -> None:
    for step in ("backup", "interrupt", "continued", "branched", "remove", "purge_some", "cleanup", *TAKEN):
        assert counts[step] > 0, f"{step} never happened: {counts}"


def test_every_surviving_version_shows_what_it_was_given_and_nothing_leaks(template: Path) -> None:
    assert_nothing_was_left_out(run(template, 100, 0, 40))


@pytest.mark.parametrize(("collected", "worth"), [(-1, 0), (10**6, 0)], ids=["in order of index", "by their births"])
@pytest.mark.parametrize("window", [1, 3])
def test_entries_are_the_same_whichever_way_they_are_found(
    template: Path, monkeypatch: pytest.MonkeyPatch, window: int, collected: int, worth: int
) -> None:
    monkeypatch.setattr(entries, "_WINDOW", window)
    monkeypatch.setattr(entries, "COLLECTED", collected)
    monkeypatch.setattr(entries, "_WORTH", worth)
    assert run(template, 5, window, 40)["backup"] > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(4))
def test_many_histories_leave_every_view_right_and_nothing_behind(template: Path, part: int) -> None:
    """Six hundred in all; `BACKY_HISTORIES` makes them more."""
    assert_nothing_was_left_out(run(template, int(os.environ.get("BACKY_HISTORIES", "600")) // 4, 1 + part, 40))


def test_the_model_notices_a_wrong_block(tmp_path: Path) -> None:
    meta = open_meta(f"sqlite://{tmp_path}/m.db", SqlSettings(), True)
    assert meta is not None
    with meta:
        meta.initialise(oracle.facts())
        history = oracle.History(meta, tmp_path / "m.db", random.Random(5))
        history.go(30)
        history.finish_everything()
        while not any(history.oracle.views.values()):
            history.backup()
        shown = {uid: blocks for uid, blocks in history.oracle.views.items() if blocks}
        uid, blocks = next(iter(shown.items()))
        index = next(iter(blocks))
        blocks[index] += 1
        with pytest.raises(AssertionError, match=uid):
            history.check_views()


def test_the_model_notices_a_row_that_nobody_sees(tmp_path: Path) -> None:
    import sqlite3

    meta = open_meta(f"sqlite://{tmp_path}/m.db", SqlSettings(), True)
    assert meta is not None
    with meta:
        meta.initialise(oracle.facts())
        history = oracle.History(meta, tmp_path / "m.db", random.Random(5))
        history.go(30)
        history.finish_everything()
        history.backup()
        direct = sqlite3.connect(tmp_path / "m.db")
        lineage = direct.execute("SELECT id FROM lineages LIMIT 1").fetchone()[0]
        direct.execute("INSERT INTO map VALUES (?, 3, 99999, NULL)", (lineage,))
        direct.commit()
        direct.close()
        with pytest.raises(AssertionError, match="nobody sees"):
            history.check_no_leak()
