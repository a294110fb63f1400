"""What a run and its supervisor know of each other."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import epochwatch
from epochwatch.ranks import port_offset, read_place
from epochwatch.supervised import SAID, Supervised, read

from .conftest import scrape

Start = Callable[..., epochwatch.Run]


def test_the_environment_carries_it_over(tmp_path: Path) -> None:
    """What the supervisor sets is what the run reads."""
    supervised = Supervised("nightly", tmp_path, 9401, 2, "5f0d")
    assert read(supervised.environment()) == supervised
    without = Supervised("nightly", tmp_path)
    assert read(without.environment()) == without


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"EPOCHWATCH_SUPERVISOR_JOB": "nightly"},
        {"EPOCHWATCH_SUPERVISOR_JOB": "", "EPOCHWATCH_SUPERVISOR_DIR": "/tmp"},
    ],
)
def test_half_of_it_is_none(environ: dict[str, str]) -> None:
    """Without a name or a directory there is no supervisor."""
    assert read(environ) is None


def test_words_are_heard_in_their_order_and_others_are_passed_over(tmp_path: Path) -> None:
    """Lines that are cut, no JSON, no object or no texts do not spoil the rest."""
    supervised = Supervised("nightly", tmp_path)
    supervised.say("started", run="digits")
    with (tmp_path / SAID).open("ab") as file:
        file.write(b'{"word": "to\n[1]\n{"word": 5}\n\xff\xfe\n\n')
    supervised.say("failed", run="digits", kind="cuda_oom")
    assert list(supervised.said()) == [
        {"word": "started", "run": "digits"},
        {"word": "failed", "run": "digits", "kind": "cuda_oom"},
    ]


def test_a_supervisor_that_is_gone_is_no_matter(tmp_path: Path) -> None:
    """Its directory is not there any more: nothing is said, nothing raised."""
    gone = Supervised("nightly", tmp_path / "gone")
    gone.say("started")
    gone.announce_ending()
    assert (list(gone.said()), gone.ends_it) == ([], False)


def test_an_ending_is_announced(tmp_path: Path) -> None:
    """The run can see that the supervisor is about to end it."""
    supervised = Supervised("nightly", tmp_path)
    assert not supervised.ends_it
    supervised.announce_ending()
    assert supervised.ends_it


@pytest.mark.parametrize(
    ("port", "ranks", "taken", "ports"),
    [
        (9400, 4, None, [9400, 9401, 9402, 9403]),
        (9400, 4, 9401, [9400, 9402, 9403, 9404]),
        (9400, 4, 9403, [9400, 9401, 9402, 9404]),
        (9400, 4, 9404, [9400, 9401, 9402, 9403]),
        (9401, 2, 9401, [9402, 9403]),
        (9402, 2, 9401, [9402, 9403]),
    ],
)
def test_ranks_keep_clear_of_the_supervisors_port(
    port: int, ranks: int, taken: int | None, ports: list[int]
) -> None:
    """They stay in their order, and the same ones each time."""
    assert [port + port_offset(port, rank, taken) for rank in range(ranks)] == ports


def test_a_run_serves_beside_its_supervisor(start: Start, free_port: int, tmp_path: Path) -> None:
    """Also where that port is not taken in truth, so that it is there for a supervisor that comes back."""
    supervised = Supervised("nightly", tmp_path, free_port, 2)
    os.environ.update(supervised.environment())
    try:
        run = start(port=free_port)
    finally:
        for name in supervised.environment():
            del os.environ[name]
    assert not run.url.endswith(f":{free_port}")
    assert scrape(run).value("training_restart_count") == 2


def test_restarts_of_launcher_and_supervisor_add_up() -> None:
    """torchrun counts from 0 each time the supervisor starts it."""
    counts = {"TORCHELASTIC_RESTART_COUNT": "1", "EPOCHWATCH_SUPERVISOR_RESTARTS": "2"}
    assert read_place(counts).restarts == 3
    assert read_place({"EPOCHWATCH_SUPERVISOR_RESTARTS": "0"}).restarts == 0
    assert read_place({}).restarts is None
