"""A training that keeps its history: what is there afterwards, what its last message says, and what it never costs."""

import json
import math
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import epochwatch
from epochwatch.errors import HistoryError
from epochwatch.report.record import Extreme, Facts, Head
from epochwatch.report.store import History

from ..conftest import wait_until
from ..event_receiver import Receiver

Start = Callable[..., epochwatch.Run]
Trainer = Callable[..., subprocess.Popen[str]]


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    """Reports may take longer than a run waits for them: the threads that do are waited for here."""
    yield
    wait_until(lambda: "epochwatch-historian" not in {thread.name for thread in threading.enumerate()}, 60)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An Alertmanager on loopback."""
    listening = Receiver()
    yield listening
    listening.close()


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """What is let go of after a test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves the time of the process that draws, where nobody looks at the report."""
    monkeypatch.setattr(sys, "executable", "/bin/true")


def trained(run: epochwatch.Run, accuracies: list[float]) -> None:
    """Makes an epoch for each accuracy."""
    for epoch in run.epochs(len(accuracies)):
        for _ in run.batches(range(3)):
            run.step(loss=1 / (epoch + 1), lr=0.1 / (epoch + 1), samples=8)
        run.log("validation", loss=2 / (epoch + 1), accuracy=accuracies[epoch])


def kept(history: History) -> list[Head]:
    """Gives the runs of a history, none as long as it is not there."""
    try:
        return history.heads()
    except HistoryError:
        return []


def only_report(directory: Path) -> str:
    """Gives the text of the one report in a history, once it is there."""
    found = wait_until(lambda: list((directory / "reports").glob("*.html")), 30)
    assert isinstance(found, list)
    assert len(found) == 1
    return str(found[0].read_text())


def test_a_run_is_kept_with_its_curves_times_and_end(start: Start, tmp_path: Path) -> None:
    """Every epoch's values by phase, where the time went, what ran, and where its checkpoint lies."""
    details = {"model": "ViT-B/16", "token": "hf_abcdefghijklmnopqrstuv"}
    with start("vit", epochs=3, history=tmp_path / "runs", details=details, labels={"team": "vision"}) as run:
        trained(run, [0.5, 0.75, 0.7])
        run.event("disk nearly full", "97 % of /data", severity="warning")
        with run.phase("checkpointing", path="checkpoints/best.pt"):
            pass
    history = History(tmp_path / "runs")
    record = history.record(history.heads()[0].run_id)
    head, facts = record.head, record.facts
    assert (head.name, head.state, head.epochs, head.planned_epochs, head.steps) == (
        "vit",
        "finished",
        3,
        3,
        9,
    )
    assert (head.monitor, head.mode) == ("validation/accuracy", "max")
    assert head.ended_at is not None
    assert head.ended_at >= head.started_at
    curves = {
        metric: [(point.epoch, point.value) for point in curve.points]
        for (phase, metric), curve in record.curves.items()
        if phase == "validation"
    }
    assert curves == {
        "loss": [(1, 2.0), (2, 1.0), (3, 2 / 3)],
        "accuracy": [(1, 0.5), (2, 0.75), (3, 0.7)],
    }
    train, rate = record.curve("train/loss"), record.curve("train/learning_rate")
    assert train is not None
    assert rate is not None
    assert [(point.step, point.value) for point in train.points] == [
        (3, 1.0),
        (6, 0.5),
        (9, pytest.approx(1 / 3)),
    ]
    assert [point.value for point in rate.points] == [0.1, 0.05, pytest.approx(0.1 / 3)]
    assert record.curves["validation", "accuracy"].highest == Extreme(0.75, 2)
    assert facts.details == {"model": "ViT-B/16", "token": "***"}
    assert (facts.labels, facts.checkpoint, facts.samples) == ({"team": "vision"}, "checkpoints/best.pt", 72)
    assert facts.phase_seconds["train"] > 0
    assert [(raised.name, raised.said_en) for raised in record.raised] == [
        ("TrainingEvent", "disk nearly full: 97 % of /data")
    ]
    assert "disk nearly full" in only_report(tmp_path / "runs")


@pytest.mark.usefixtures("undrawn")
def test_the_last_message_says_better_or_worse_and_links_the_report(
    start: Start, receiver: Receiver, tmp_path: Path
) -> None:
    """Verdict, comparison with baseline and previous run, the curve as bars, and the report's address."""
    settings = {
        "history": tmp_path / "runs",
        "alertmanager_url": receiver.url,
        "report_url": "https://reports.example.com/runs/",
    }
    for accuracies in ([0.5, 0.8], [0.5, 0.7]):
        with start("vit", **settings) as run:
            trained(run, accuracies)
    history = History(tmp_path / "runs")
    newest, oldest = history.heads()
    history.set_baseline("v1.0", oldest.run_id, time.time())
    with start("vit", **settings, baseline="v1.0", threshold="1%") as run:
        trained(run, [0.5, 0.75])
    first, _, last = (
        alert["annotations"]
        for alert in receiver.alerts()
        if alert["labels"]["alertname"] == "TrainingFinished"
    )
    assert first["summary"] == "vit: training finished"
    assert last["summary"] == "vit: training finished, worse than baseline v1.0"
    assert last["summary_zh"] == "vit：训练完成，差于基线 v1.0"
    lines = last["description"].splitlines()
    assert "▼ worse than baseline v1.0: accuracy 80.00% → 75.00%, -5.00 pp" in lines
    assert (
        f"▲ better than the previous run ({newest.run_id[:8]}): accuracy 70.00% → 75.00%, +5.00 pp" in lines
    )
    assert "accuracy ▁▇ 50.00% → 75.00%" in lines
    run_id = history.heads()[0].run_id
    assert last["report_url"] == f"https://reports.example.com/runs/vit-{run_id}.html"
    assert str(tmp_path) not in json.dumps(receiver.alerts())


def test_without_an_address_the_report_is_named_as_the_user_named_it(
    start: Start, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path stays one, in the message and on disk, wherever the training goes meanwhile."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with start("vit", history="runs", alertmanager_url=receiver.url) as run:
        monkeypatch.chdir(tmp_path / "elsewhere")
        trained(run, [0.5])
    run_id = History(tmp_path / "runs").heads()[0].run_id
    told = receiver.alerts()[-1]["annotations"]
    assert f"report: runs/reports/vit-{run_id}.html" in told["description"].splitlines()
    assert "report_url" not in told
    only_report(tmp_path / "runs")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("leave", "state", "failure"),
    [
        (
            RuntimeError("the password=hunter2000 is wrong"),
            "failed",
            "RuntimeError: the password=*** is wrong",
        ),
        (KeyboardInterrupt(), "interrupted", ""),
    ],
)
def test_an_end_that_is_none_is_kept_too(
    leave: BaseException, state: str, failure: str, start: Start, tmp_path: Path
) -> None:
    """How it ended and why, secrets masked; and there is a report of it."""

    def training() -> None:
        with start("vit", history=tmp_path / "runs") as run:
            trained(run, [0.5, 0.75])
            raise leave

    with pytest.raises(type(leave)):
        training()
    history = History(tmp_path / "runs")
    kept = history.record(history.heads()[0].run_id)
    assert (kept.head.state, kept.facts.failure) == (state, failure)
    assert "hunter2000" not in only_report(tmp_path / "runs")


@pytest.mark.usefixtures("undrawn")
def test_values_that_are_not_finite_are_kept(start: Start, tmp_path: Path) -> None:
    """A run that diverges shows where; its best stays what it was."""
    with start("vit", history=tmp_path / "runs") as run:
        for loss in (1.0, 0.5, math.nan, math.inf):
            run.step(loss=1.0)
            run.log("validation", loss=loss)
            run.epoch_end()
    history = History(tmp_path / "runs")
    curve = history.record(history.heads()[0].run_id).curve("validation/loss")
    assert curve is not None
    assert [str(point.value) for point in curve.points] == ["1.0", "0.5", "nan", "inf"]
    assert (curve.lowest, curve.final) == (Extreme(0.5, 2), math.inf)


@pytest.mark.usefixtures("undrawn")
def test_a_loop_without_epochs_has_its_curve_by_steps(start: Start, tmp_path: Path) -> None:
    """Each evaluation is a point; the training's loss is its average, as no epoch ends."""
    with start("llm", history=tmp_path / "runs") as run:
        for evaluation in range(3):
            for _ in range(10):
                run.step(loss=3.0 - evaluation)
            run.log("validation", loss=3.0 - evaluation, f1=0.1 * evaluation)
    history = History(tmp_path / "runs")
    record = history.record(history.heads()[0].run_id)
    curve, f1 = record.curve("validation/loss"), record.curve("validation/f1")
    assert curve is not None
    assert f1 is not None
    assert [(point.step, point.value) for point in curve.points] == [(10, 3.0), (20, 2.0), (30, 1.0)]
    assert record.curve("train/loss_ewma") is not None
    assert record.curve("train/loss") is None
    assert record.head.monitor == "validation/loss"


@pytest.mark.usefixtures("undrawn")
def test_a_resumed_run_keeps_the_best_of_before(start: Start, tmp_path: Path) -> None:
    """A best made before the checkpoint counts, with its epoch, though its curve begins later."""
    before = start("vit")
    trained(before, [0.9, 0.5])
    state = json.loads(json.dumps(before.state_dict()))
    with start("vit", history=tmp_path / "runs") as run:
        run.load_state_dict(state)
        for _ in run.epochs(3):
            run.step(loss=0.1)
            run.log("validation", loss=0.5, accuracy=0.6)
    history = History(tmp_path / "runs")
    curve = history.record(history.heads()[0].run_id).curve("validation/accuracy")
    assert curve is not None
    assert curve.highest == Extreme(0.9, 1)
    assert [point.epoch for point in curve.points] == [3]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("spoiled", ["a file in the way", "no right to write", "garbage", "locked"])
def test_a_history_that_cannot_be_written_costs_nothing(
    spoiled: str,
    start: Start,
    receiver: Receiver,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    held: ExitStack,
) -> None:
    """It is counted, said once with what to do, and the training ends as always, its message included."""
    directory = tmp_path / "runs"
    if spoiled == "a file in the way":
        directory.write_text("")
    elif spoiled == "garbage":
        directory.mkdir()
        (directory / "history.db").write_bytes(os.urandom(4096))
    elif spoiled == "locked":
        History(directory).put(Head("abc123", "other", "training", 0.0, 0.0), Facts())
        held.enter_context(locked(directory / "history.db"))
    else:
        directory = Path("/proc/epochwatch/runs")  # not even root may
    with start("vit", history=directory, alertmanager_url=receiver.url) as run:
        trained(run, [0.5, 0.75])
        wait_until(lambda: run._books.troubles.counts["history"])
    assert receiver.alerts()[-1]["annotations"]["summary"] == "vit: training finished"
    said = [record.message for record in caplog.records if record.message.startswith("history:")]
    assert len(said) == 1
    assert "EPOCHWATCH_HISTORY" in said[0] or "move it away" in said[0]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the file as another process would that never lets go of it."""
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    yield
    holder.close()


@pytest.mark.usefixtures("undrawn")
def test_a_baseline_that_does_not_exist_is_said_at_the_start(
    start: Start, receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log at once, with the known ones, and in the message of the end; nothing is stopped by it."""
    settings = {"history": tmp_path / "runs", "alertmanager_url": receiver.url}
    with start("vit", **settings) as run:
        trained(run, [0.5])
    history = History(tmp_path / "runs")
    history.set_baseline("v1.0", history.heads()[0].run_id, time.time())
    with start("vit", **settings, baseline="v1.1") as run:
        wait_until(lambda: "there is no baseline 'v1.1'; known baselines: v1.0" in caplog.text)
        trained(run, [0.6])
    assert "v1.0; the run is kept, and held against the previous run of its name alone" in caplog.text
    told = receiver.alerts()[-1]["annotations"]
    assert "there is no baseline 'v1.1'; known baselines: v1.0" in told["description"].splitlines()
    assert "没有名为 v1.1 的基线；已有基线：v1.0" in told["description_zh"].splitlines()
    assert told["summary"].startswith("vit: training finished, better than the previous run")


@pytest.mark.usefixtures("undrawn")
def test_only_rank_0_keeps_the_run(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a job with several ranks there is one run in the history."""
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        with start("ddp", history=tmp_path / "runs") as run:
            trained(run, [0.5])
    history = History(tmp_path / "runs")
    (head,) = history.heads()
    assert history.record(head.run_id).facts.world_size == 2


def test_a_training_without_a_history_never_meets_sqlite(trainer: Trainer) -> None:
    """Neither the store nor the drawing is imported where nobody asked for them."""
    script = (
        "import sys, epochwatch\n"
        "with epochwatch.start('plain', port=0, addr='127.0.0.1', gpu=False) as run:\n"
        "    run.step(loss=1.0)\n"
        "print(sorted(name for name in sys.modules if name in ('sqlite3', 'matplotlib', 'requests')))\n"
    )
    out, err = trainer(script).communicate(timeout=60)
    assert (out, err) == ("[]\n", "")


def test_an_end_is_kept_though_the_loop_died_holding_the_ledger(
    start: Start, tmp_path: Path, undrawn: None
) -> None:
    """The head and facts of the last look are kept with it."""
    run = start(history=str(tmp_path / "runs"))
    run.step(loss=1.0)
    history = History(tmp_path / "runs")
    wait_until(lambda: kept(history))
    with run._books.recorder.reading():
        run.finish("failed")
        wait_until(lambda: kept(history)[0].ended_at is not None)
    assert kept(history)[0].state == "failed"


def test_a_run_that_is_replaced_is_kept_as_interrupted(
    start: Start, tmp_path: Path, undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started again under its name in a notebook, before it was finished, it has an end in the history."""
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    start("notebook", history=tmp_path / "runs").step(loss=1.0)
    history = History(tmp_path / "runs")
    wait_until(lambda: kept(history))
    start("notebook", history=tmp_path / "runs")
    wait_until(lambda: sorted(head.state for head in kept(history)) == ["interrupted", "starting"])


KEEPING = """
import sys, time, epochwatch
with epochwatch.start("vit", port=0, addr="127.0.0.1", gpu=False) as run:
    for epoch in run.epochs(3):
        run.step(loss=1.0)
        run.log("validation", loss=1.0, accuracy=0.5)
    print("trained", flush=True)
    if sys.stdin.read(1) == "w":
        time.sleep(60)
print("matplotlib" in sys.modules)
"""


def test_nothing_is_drawn_in_the_trainings_process(trainer: Trainer, tmp_path: Path) -> None:
    """matplotlib never enters it, and the report is there all the same."""
    process = trainer(KEEPING, stdin=subprocess.PIPE, EPOCHWATCH_HISTORY=str(tmp_path / "runs"))
    out, err = process.communicate("x", timeout=60)
    assert (out, err, process.returncode) == ("trained\nFalse\n", "", 0)
    assert "<svg" in only_report(tmp_path / "runs")


def test_a_killed_training_is_in_the_history_with_its_curves(trainer: Trainer, tmp_path: Path) -> None:
    """kill -9 leaves a whole file; the run is shown as vanished once it has been silent for long enough."""
    process = trainer(KEEPING, stdin=subprocess.PIPE, EPOCHWATCH_HISTORY=str(tmp_path / "runs"))
    history = History(tmp_path / "runs")
    assert process.stdout is not None
    assert process.stdout.readline() == "trained\n"
    wait_until(lambda: kept(history))
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    (head,) = history.heads()
    assert head.ended_at is None
    assert head.state_at(head.seen_at + 301) == "vanished"
    assert head.state_at(head.seen_at + 10) in ("starting", "training")


def test_a_report_that_fails_is_said_with_what_to_do(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interpreter that is not there any more, say; the run is in the history all the same."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with start("vit", history=tmp_path / "runs") as run:
        trained(run, [0.5])
    wait_until(lambda: "could not be made (exit code 1)" in caplog.text)
    assert re.search(r"try it by hand: epochwatch report [0-9a-f]{12} --history ", caplog.text)
    assert History(tmp_path / "runs").heads()[0].state == "finished"


def test_a_report_that_takes_long_does_not_hold_the_end_up(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends while its report is still being made, and the report is made all the same."""
    slow = tmp_path / "python"
    slow.write_text(f"#!/bin/sh\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.1; done\ntouch {tmp_path}/made\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    with start("vit", history=tmp_path / "runs") as run:
        trained(run, [0.5])
    assert not (tmp_path / "made").exists()
    (tmp_path / "go").touch()
    wait_until(lambda: (tmp_path / "made").exists())
