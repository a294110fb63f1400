"""What a loop, a machine or a hurried user may hand over: nothing of it stops the training or spoils the page."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import epochwatch

from .conftest import Scrape, scrape

Start = Callable[..., epochwatch.Run]

NAMES = [
    ("", "empty"),
    ("a\nb", "newline"),
    ("a\0b", "zero byte"),
    ("a\udcffb", "not UTF-8"),
    ("x" * 10_000, "10 kB"),
]


@pytest.mark.parametrize("name", [name for name, _ in NAMES], ids=[kind for _, kind in NAMES])
@pytest.mark.parametrize(
    ("give", "where", "text"),
    [
        (
            lambda run, name: run.log(name, loss=1.0),
            "phase",
            "must be a short printable text; the values are dropped",
        ),
        (
            lambda run, name: run.log("validation", **{name: 1.0}),
            "metric_names",
            "must be short printable texts; the value is dropped",
        ),
        (
            lambda run, name: run.step(**{name: 1.0}),
            "metric_names",
            "must be short printable texts; the value is dropped",
        ),
        (
            lambda run, name: run.step(lr={name: 0.1, "head": 0.2}),
            "lr",
            "takes 100 groups with short printable names; the others are dropped",
        ),
        (
            lambda run, name: run.log("validation", **{name: "no number"}),
            "other",
            "must be a number or a tensor of one element, got a str",
        ),
    ],
    ids=["phase", "metric of a phase", "metric of a step", "group", "bad value"],
)
def test_an_odd_name_is_left_out_and_the_page_stays_readable(
    give: Callable[[epochwatch.Run, str], None],
    where: str,
    text: str,
    name: str,
    start: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A name that cannot be a label is counted and said, and everything else is served."""
    run = start()
    run.log("validation", loss=0.5, f1=0.25)
    with caplog.at_level(logging.WARNING, "epochwatch"):
        give(run, name)
        seen = scrape(run)
    assert seen.value("training_loss", phase="validation") == 0.5
    assert seen.value("training_metric", phase="validation", name="f1") == 0.25
    assert seen.value("training_exporter_errors_total", where=where) == 1
    assert [f"{where}: {text}"] == caplog.messages
    assert max(map(len, seen.text.splitlines())) < 1000


def series(seen: Scrape, name: str) -> int:
    """Gives how many series of that name the page has."""
    return sum(known == name for known, _ in seen.samples)


@pytest.mark.parametrize(
    ("give", "name", "most"),
    [
        (
            lambda run: run.log("validation", **{f"m{index}": 1.0 for index in range(10_000)}),
            "training_metric",
            50,
        ),
        (
            lambda run: run.step(**{f"m{index}": 1.0 for index in range(10_000)}),
            "training_metric",
            50,
        ),
        (lambda run: [run.log(f"p{index}", loss=1.0) for index in range(1000)], "training_loss", 19),
        (lambda run: run.step(lr=[0.1] * 10_000), "training_learning_rate", 100),
        (
            lambda run: run.log("validation", **{f"m{index}": "x" for index in range(10_000)}),
            "training_exporter_errors_total",
            101,
        ),
    ],
    ids=["metrics of a phase", "metrics of a step", "phases", "groups", "places of errors"],
)
def test_what_a_loop_can_name_is_bounded(
    give: Callable[[epochwatch.Run], object], name: str, most: int, start: Start
) -> None:
    """However many names a loop thinks up, the page has a bounded number of series."""
    run = start()
    give(run)
    assert series(scrape(run), name) == most


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("file/targets", "Not a directory"),
        ("file", "File exists"),
        ("/proc/epochwatch/targets", "No such file or directory"),
    ],
)
def test_unwritable_targets_do_not_stop_the_training(
    place: str, reason: str, start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A targets directory that cannot be written is said with what it is for, and the run goes on."""
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "epochwatch"):
        run = start(targets_dir=tmp_path / place)
    (said,) = caplog.messages
    assert f"cannot be written ({reason}); Prometheus will not find this run by itself" in said
    assert said.endswith("(argument targets_dir=, environment EPOCHWATCH_TARGETS_DIR)")
    assert scrape(run).value("training_exporter_errors_total", where="discovery") == 1


UNPRIVILEGED = """
import epochwatch
run = epochwatch.start("digits", port=80, gpu=False)
print(run.url.rsplit(":", 1)[1])
run._session.end("finished", hold=False)
"""


def test_a_port_without_rights_moves_to_a_free_one() -> None:
    """Port 80 is for the privileged: the run is served on another port and says so."""
    # A network of its own has Linux' default of privileged ports, whatever this machine allows.
    limits = [
        "unshare",
        "--net",
        "setpriv",
        "--bounding-set=-net_bind_service",
        "--inh-caps=-net_bind_service",
    ]
    try:
        subprocess.run([*limits, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this process may not give up rights here")
    done = subprocess.run(
        [*limits, sys.executable, "-W", "error", "-c", UNPRIVILEGED],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (
        0,
        f"port 80 needs rights this process has not; serving on port {done.stdout.strip()}\n",
    )
