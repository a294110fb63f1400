"""Which rank of a job tells an event, and that no launch is kept quiet by another one."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from epochwatch.events import Event, failed, new_best, own, started
from epochwatch.failure import Failure
from epochwatch.launch import Launch, read_launch
from epochwatch.phrases import Best, Standing
from epochwatch.ranks import Place
from epochwatch.spokesman import Spokesman

from .event_receiver import Receiver

Trainer = Callable[..., subprocess.Popen[str]]
LAUNCH = Launch("job", "run", "node", began_seconds=1000.0)


def rank(number: int, directory: Path, **launch: object) -> Spokesman:
    """Gives the spokesman of a rank of four."""
    place = Place(rank=number, local_rank=number, world_size=4)
    return Spokesman(place, dataclasses.replace(LAUNCH, **launch), directory)


def test_ranks_that_start_seconds_apart_speak_with_one_voice(tmp_path: Path) -> None:
    """The first to fail tells it, and rank 0, which has to go because of that, was not interrupted."""
    assert rank(3, tmp_path).tells_failure()
    assert not rank(1, tmp_path, began_seconds=1008.0).tells_failure()
    assert not rank(0, tmp_path, began_seconds=993.0).tells_failure()
    assert not rank(0, tmp_path, began_seconds=993.0).tells_interruption()


@pytest.mark.parametrize(
    "launch",
    [{"node_id": "other"}, {"began_seconds": 1012.0}, {"began_seconds": 900.0}],
    ids=["another launcher", "ranks started again", "an older launch"],
)
def test_a_mark_of_another_launch_keeps_nobody_quiet(launch: dict[str, object], tmp_path: Path) -> None:
    """A failure that was told says nothing about the next launch, whose own ranks have one voice again."""
    assert rank(3, tmp_path).tells_failure()
    assert rank(0, tmp_path, **launch).tells_interruption()
    assert rank(2, tmp_path, **launch).tells_failure()
    assert not rank(1, tmp_path, **launch).tells_failure()
    assert not rank(0, tmp_path, **launch).tells_interruption()


def test_a_rank_that_fails_again_is_of_another_launch(tmp_path: Path) -> None:
    """A launch has each rank once, however soon after it the next one comes."""
    assert rank(3, tmp_path).tells_failure()
    assert rank(3, tmp_path, began_seconds=1001.0).tells_failure()
    assert not rank(0, tmp_path, began_seconds=1001.0).tells_failure()


@pytest.mark.parametrize("word", ["", "word", "1 2 3", "one two"])
def test_a_mark_that_nobody_can_read_keeps_nobody_quiet(word: str, tmp_path: Path) -> None:
    """What is left in the mark's place by something else is replaced."""
    marker = tmp_path / f"epochwatch-{os.getuid()}-node.failed"
    marker.symlink_to(word) if word else marker.touch()
    assert rank(0, tmp_path).tells_interruption()
    assert rank(1, tmp_path).tells_failure()
    assert not rank(0, tmp_path).tells_interruption()


def test_a_folder_that_cannot_be_written_keeps_nobody_quiet(tmp_path: Path) -> None:
    """Told twice is better than not told."""
    assert rank(1, tmp_path / "gone").tells_failure()
    assert rank(2, tmp_path / "gone").tells_failure()


def test_marks_are_forgotten_after_a_day(tmp_path: Path) -> None:
    """Launches that failed long ago leave nothing behind."""
    assert rank(1, tmp_path).tells_failure()
    (marker,) = tmp_path.iterdir()
    os.utime(marker, (1.0, 1.0), follow_symlinks=False)
    assert rank(1, tmp_path, node_id="other").tells_failure()
    assert [path.name for path in tmp_path.iterdir()] == [f"epochwatch-{os.getuid()}-other.failed"]


BEST = Best("accuracy", "validation", 0.9, 0.8, 3)


@pytest.mark.parametrize(
    ("event", "run_id"),
    [
        (started(0.0, {}, "", None, None), None),
        (new_best(0.0, BEST, Standing(1.0)), "job"),
        (failed(0.0, Standing(1.0), Failure("other", "", "")), "job"),
        (own(0.0, "title", "", "info", 1), "job"),
    ],
    ids=["started", "new best", "failed", "own"],
)
def test_what_several_ranks_tell_has_the_id_of_the_job(
    event: Event, run_id: str | None, tmp_path: Path
) -> None:
    """Told alike by two ranks it is one; what rank 0 alone tells has the run's id, which no other launch has."""
    spokesman = rank(0, tmp_path)
    assert spokesman.signed(event).labels.get("run_id") == run_id
    assert spokesman.labels["run_id"] == "run"


@pytest.mark.parametrize(
    "said", [{}, {"LOCAL_WORLD_SIZE": "2"}, {"LOCAL_SIZE": "2"}], ids=["two nodes", "one node", "DeepSpeed"]
)
def test_launches_are_told_apart_though_their_environment_is_the_same(said: dict[str, str]) -> None:
    """Ranks of one launcher have it in common, also from under a script of their own; the next launcher's have not."""
    first, second = launched(said), launched(said)
    assert first[0].node_id == first[1].node_id != second[0].node_id
    assert first[0].run_id != second[0].run_id
    assert (first[0].run_id == first[1].run_id) == bool(said)  # nodes do not know of each other
    assert all(0 <= rank.began_seconds - first[0].began_seconds < 10 for rank in first)


RANK = """
import dataclasses, json, os
from epochwatch.launch import read_launch
from epochwatch.ranks import read_place
print(json.dumps(dataclasses.asdict(read_launch(read_place(os.environ), os.environ))))
"""
LAUNCHER = """
import os, subprocess, sys
for rank in "01":
    subprocess.run([*sys.argv[1:]], env={**os.environ, "RANK": rank, "LOCAL_RANK": rank}, check=True)
"""


def launched(said: dict[str, str]) -> Sequence[Launch]:
    """Starts two ranks under one launcher, by a shell that stays; gives their launches."""
    command = [sys.executable, "-c", LAUNCHER, "sh", "-c", f"{sys.executable} -c '{RANK}'; exit $?"]
    environment = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "gpu-01", "MASTER_PORT": "29500", **said}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return [Launch(**json.loads(line)) for line in done.stdout.splitlines()]


def test_nodes_that_begin_together_agree_on_the_job() -> None:
    """The id that several nodes share comes from what the launcher says, its restarts, and the minute."""
    place = Place(rank=4, world_size=8, restarts=0)
    environ = {"MASTER_ADDR": "gpu-01", "MASTER_PORT": "29500", "LOCAL_WORLD_SIZE": "4"}
    one, other = read_launch(place, environ), read_launch(dataclasses.replace(place, rank=0), environ)
    assert one.job_id == other.job_id
    assert one.run_id != other.run_id
    restarted = read_launch(dataclasses.replace(place, restarts=1), environ)
    elsewhere = read_launch(place, {**environ, "MASTER_PORT": "29501"})
    assert len({launch.job_id for launch in (one, restarted, elsewhere)}) == 3
    assert len({launch.node_id for launch in (one, restarted, elsewhere)}) == 3


def test_a_lone_process_has_an_id_of_its_own() -> None:
    """Two runs that are no job of several ranks are two."""
    one, other = read_launch(Place(), {}), read_launch(Place(), {})
    assert one.job_id == one.run_id != other.run_id


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An Alertmanager on loopback."""
    listening = Receiver()
    yield listening
    listening.close()


ENDING = """
import sys
import epochwatch
with epochwatch.start("llm", port=0, addr="127.0.0.1", gpu=False) as run:
    run.step(loss=1.0)
    raise {ending}
"""


def test_each_launch_of_a_job_tells_its_own_end(receiver: Receiver, trainer: Trainer, tmp_path: Path) -> None:
    """Failure, failure and interruption of one job, started again with the same environment, are all told."""
    said = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "8", "MASTER_ADDR": "a", "MASTER_PORT": "29500"}
    for ending in ("RuntimeError('first')", "RuntimeError('second')", "KeyboardInterrupt"):
        process = trainer(
            ENDING.format(ending=ending),
            EPOCHWATCH_ALERTMANAGER_URL=receiver.url,
            TMPDIR=str(tmp_path),
            **said,
        )
        assert process.wait(30)
    told = [(alert["labels"]["alertname"], alert["labels"]["run_id"]) for alert in receiver.alerts()]
    assert [name for name, _ in told] == [
        *("TrainingStarted", "TrainingFailed"),
        *("TrainingStarted", "TrainingFailed"),
        *("TrainingStarted", "TrainingInterrupted"),
    ]
    assert len({run_id for name, run_id in told if name == "TrainingStarted"}) == 3
