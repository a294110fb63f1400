"""What was put into the history is there, for any number of processes; a bad file says so."""

import math
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from epochwatch.errors import HistoryError
from epochwatch.report.migrations import APPLICATION_ID, MIGRATIONS, NEWEST
from epochwatch.report.record import Extreme, Facts, GpuUse, Head, Point, Raised
from epochwatch.report.store import RAISED_LIMIT, History
from epochwatch.report.thinning import GrowingCurve

from .conftest import BEGAN, curves, same

Keep = Callable[..., str]


def head(run_id: str = "abc123", state: str = "training", **more: object) -> Head:
    return Head(run_id=run_id, name="digits", state=state, started_at=BEGAN, seen_at=BEGAN, **more)


def test_a_record_comes_back_as_it_was_put(history: History) -> None:
    """Head, facts, curves and what was raised survive, NaN and Chinese included."""
    facts = Facts(
        host="gpu-01",
        labels={"团队": "视觉"},
        details={"model": "ViT"},
        phase_seconds={"train": 12.5},
        counts={"nonfinite loss": 1},
        gpus=(GpuUse("0", "NVIDIA H100", 3, utilization_mean_ratio=0.93),),
    )
    raised = (Raised(BEGAN + 1, "TrainingEvent", "warning", "disk nearly full", "磁盘将满"),)
    told = head(ended_at=BEGAN + 9, planned_epochs=3, epochs=3, monitor="validation/loss", mode="min")
    history.put(told, facts, curves({"validation/loss": [1.0, math.nan, 0.5]}), raised)
    record = history.record("abc123")
    assert (record.head, record.facts, record.raised) == (told, facts, raised)
    curve = record.curve("validation/loss")
    assert curve is not None
    assert [point.epoch for point in curve.points] == [1, 2, 3]
    assert all(map(same, [point.value for point in curve.points], [1.0, math.nan, 0.5]))
    assert (curve.lowest, curve.highest, curve.final) == (Extreme(0.5, 3), Extreme(1.0, 1), 0.5)


def test_a_run_is_put_again_and_again(history: History) -> None:
    """Each time only what is new is added, and thinned curves replace what was there."""
    curve = GrowingCurve("train", "loss", limit=10)
    for step in range(45):
        curve.add(Point(step, step, 1 / (step + 1)))
        history.put(head(epochs=step), Facts(), [curve])
    curve.finish()
    history.put(head(state="finished"), Facts(), [curve])
    kept = history.record("abc123").curve("train/loss")
    assert kept == curve.so_far()
    assert history.heads() == [head(state="finished")]


def test_an_open_run_is_ended_for_it_once(history: History) -> None:
    """How it ended is added to what it had told; one that has ended, or was never there, stays as it is."""
    facts = Facts(host="gpu-01", details={"model": "ViT-大"}, gpus=(GpuUse("0", "NVIDIA H100", 3),))
    history.put(head(), facts, curves({"train/loss": [1.0, 0.5]}))
    assert history.conclude("abc123", "failed", BEGAN + 9, "被 SIGKILL 杀死")
    assert not history.conclude("abc123", "interrupted", BEGAN + 10, "too late")
    assert not history.conclude("nobody", "failed", BEGAN + 9, "no")
    (found,) = history.heads()
    assert found == head(state="failed", ended_at=BEGAN + 9)
    record = history.record("abc123")
    assert record.facts == replace(facts, failure="被 SIGKILL 杀死")
    assert record.metrics == ["train/loss"]


def test_nothing_is_lost_by_a_put_that_failed(history: History, tmp_path: Path) -> None:
    """What could not be kept is kept by the next put."""
    (tmp_path / "runs").write_text("in the way")
    curve = curves({"train/loss": [3.0, 2.0]})[0]
    with pytest.raises(HistoryError, match="runs cannot be made"):
        history.put(head(), Facts(), [curve])
    (tmp_path / "runs").unlink()
    curve.add(Point(30, 3, 1.0))
    history.put(head(), Facts(), [curve])
    kept = history.record("abc123").curve("train/loss")
    assert kept is not None
    assert [point.value for point in kept.points] == [3.0, 2.0, 1.0]


def test_old_runs_are_forgotten_but_baselines_stay(history: History, keep: Keep) -> None:
    """The newest runs and the baselines are kept, with nothing left of the others."""
    ids = [keep() for _ in range(6)]
    history.set_baseline("v1", ids[0], BEGAN)
    assert history.forget_old(keep=2) == ids[1:4]
    assert [one.run_id for one in history.heads()] == [ids[5], ids[4], ids[0]]
    with sqlite3.connect(history.directory / "history.db") as connection:
        left = connection.execute("SELECT DISTINCT run_id FROM points").fetchall()
    connection.close()
    assert {run_id for (run_id,) in left} == {ids[0], ids[4], ids[5]}


def test_what_was_raised_is_bounded(history: History) -> None:
    """Of very many events the newest stay."""
    many = [Raised(BEGAN + at, "TrainingEvent", "info", f"n {at}", "") for at in range(RAISED_LIMIT + 50)]
    history.put(head(), Facts(), (), many)
    kept = history.record("abc123").raised
    assert len(kept) == RAISED_LIMIT
    assert kept[-1].said_en == f"n {RAISED_LIMIT + 49}"


def test_a_source_replaces_what_it_said_before(history: History) -> None:
    """Alerts that are asked for twice stand there once; the run's own events stay."""
    history.put(head(), Facts(), (), [Raised(BEGAN, "TrainingEvent", "info", "own", "own")])
    for _ in range(2):
        found = [Raised(BEGAN + 5, "TrainingLossPlateau", "warning", "", "", "prometheus")]
        history.add_raised("abc123", found, "prometheus")
    assert [one.name for one in history.record("abc123").raised] == ["TrainingEvent", "TrainingLossPlateau"]


WRITER = """
import sys
from pathlib import Path
from epochwatch.report.record import Facts, Head, Point
from epochwatch.report.store import History
from epochwatch.report.thinning import GrowingCurve

history, name = History(Path(sys.argv[1])), sys.argv[2]
curve = GrowingCurve("train", "loss")
for step in range(15):
    curve.add(Point(step, step, float(step)))
    history.put(Head(name, "digits", "training", step, step), Facts(), [curve])
"""


def test_several_processes_write_at_once(history: History) -> None:
    """Four processes that begin the file together each find all of their points in it."""
    command = [sys.executable, "-W", "error", "-c", WRITER, str(history.directory)]
    writers = [subprocess.Popen([*command, f"run-{number}"]) for number in range(4)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    for number in range(4):
        curve = history.record(f"run-{number}").curve("train/loss")
        assert curve is not None
        assert [point.value for point in curve.points] == list(map(float, range(15)))


def newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {NEWEST + 1}")
        connection.execute("CREATE TABLE runs (later)")
    connection.close()


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE cookies (name)")
    connection.close()


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def cut_in_half(path: Path) -> None:
    whole = History(path.parent)
    for number in range(30):
        whole.put(head(f"run-{number}"), Facts(), curves({"train/loss": [1.0] * 100}))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (newer, f"has schema {NEWEST + 1}, this epochwatch knows schemas up to {NEWEST}; update epochwatch"),
        (foreign, "is another program's database; name another directory"),
        (garbage, "is damaged (file is not a database); move it away and a new one is begun: mv "),
        (cut_in_half, "is damaged (database disk image is malformed); move it away"),
    ],
    ids=["newer", "another program's", "garbage", "cut in half"],
)
def test_a_bad_file_is_told_and_left_alone(
    spoil: Callable[[Path], None], said: str, history: History
) -> None:
    """Reading and writing say what is wrong with the file and what to do; neither changes it."""
    path = history.directory / "history.db"
    path.parent.mkdir()
    spoil(path)
    before = path.read_bytes()
    for use in (
        lambda: history.heads(),
        lambda: history.put(head("run-29"), Facts(), curves({"a/b": [1.0]})),
    ):
        with pytest.raises(HistoryError) as error:
            use()
        assert said in str(error.value)
        assert str(path) in str(error.value)
    assert path.read_bytes() == before


def test_a_missing_history_says_how_to_make_one(history: History) -> None:
    """Nobody has to know where it comes from; looking for one makes none."""
    with pytest.raises(HistoryError, match=r"no history in .*; epochwatch.start\(..., history=DIRECTORY\)"):
        history.heads()
    assert not history.directory.exists()


READER = """
import os, sys
from pathlib import Path
from epochwatch.errors import HistoryError
from epochwatch.report.store import History

os.setuid(65534)
history = History(Path(sys.argv[1]))
print(history.heads()[0].run_id)
try:
    history.set_baseline('v1', 'abc123', 0.0)
except HistoryError as error:
    print(error)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_history_that_may_only_be_read_is_read() -> None:
    """A colleague without write access still sees the runs, and is told why nothing can be put."""
    with tempfile.TemporaryDirectory() as shared:  # pytest's own directories are closed to others
        Path(shared).chmod(0o755)
        directory = Path(shared) / "runs"
        History(directory).put(head(), Facts())
        reader = [sys.executable, "-c", READER, str(directory)]
        told = subprocess.run(reader, capture_output=True, text=True, check=True).stdout.splitlines()
    assert told[0] == "abc123"
    assert "cannot be used now (attempt to write a readonly database); is the directory writable" in told[1]


def test_every_migration_is_numbered_in_the_file(history: History, keep: Keep) -> None:
    """The file says which schema it has, and whose it is."""
    keep()
    connection = sqlite3.connect(history.directory / "history.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()
