"""A run as its user and its scraper see it."""

import copy
import gc
import gzip
import importlib.metadata
import itertools
import logging
import math
import pickle
import socket
import sys
import threading
import time
import tracemalloc
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry, Counter

import epochwatch

from .conftest import local, scrape, wait_until

torch = pytest.importorskip("torch")
Start = Callable[..., epochwatch.Run]


def test_a_training_is_seen_on_its_endpoint(start: Start) -> None:
    """A loop with every helper shows its progress, losses, accuracy, rate and norm."""
    run = start("digits-mlp", epochs=3, labels={"team": "vision"})
    for epoch in run.epochs():
        for batch in run.batches([1, 2]):
            run.step(loss=torch.tensor(1.0 / (epoch + 1)), lr=0.1, grad_norm=2.0, samples=batch)
        run.log("validation", loss=0.5, accuracy=0.9, f1=0.8)
    seen = scrape(run)
    base = {"run": "digits-mlp", "rank": "0", "team": "vision"}
    assert seen.state() == ["training"]
    for name, value in {"steps_total": 6, "samples_total": 9, "global_step": 6, "epochs": 3}.items():
        assert seen.value(f"training_{name}", **base) == value
    assert seen.value("training_planned_epochs", **base) == 3
    assert seen.value("training_loss", phase="validation", **base) == 0.5
    assert seen.value("training_loss_best", phase="train", **base) == pytest.approx(1 / 3)
    assert seen.value("training_loss_best_epoch", phase="validation", **base) == 1
    assert seen.value("training_accuracy_ratio", phase="validation", **base) == 0.9
    assert seen.value("training_metric", phase="validation", name="f1", **base) == 0.8
    assert seen.value("training_learning_rate", group="0", **base) == 0.1
    assert seen.value("training_gradient_norm", **base) == 2.0
    assert seen.value("training_plateau_patience_epochs", **base) == 10
    assert seen.value("training_step_duration_seconds_count", **base) == 6
    assert abs(time.time() - (seen.value("training_last_progress_timestamp_seconds", **base) or 0)) < 10
    assert abs(time.time() - (seen.value("training_start_timestamp_seconds", **base) or 0)) < 10
    assert seen.value("training_exporter_collector_up", collector="training", **base) == 1


def test_what_is_not_known_is_absent_and_known_counters_start_at_zero(start: Start) -> None:
    """Before the first step there is no loss, no end and no plan, but every known counter and state."""
    seen = scrape(start())
    assert seen.state() == ["starting"]
    absent = {
        "training_loss",
        "training_end_timestamp_seconds",
        "training_planned_epochs",
        "training_loss_scale",
    }
    assert not absent & seen.names()
    for kind in ("loss", "metric", "gradient"):
        assert seen.value("training_nonfinite_total", kind=kind) == 0
    for reason in ("amp_overflow", "nonfinite", "user"):
        assert seen.value("training_skipped_steps_total", reason=reason) == 0
    for kind in ("cuda_oom", "other"):
        assert seen.value("training_exceptions_total", kind=kind) == 0
    assert seen.value("training_steps_total") == 0
    assert not {name for name in seen.names() if name.endswith("_created")}


def test_a_step_alone_is_training(start: Start) -> None:
    """A loop that uses no helper leaves the starting state with its first step."""
    run = start()
    run.step(loss=1.0)
    assert scrape(run).state() == ["training"]


def test_phases_are_states_with_their_time(start: Start) -> None:
    """Evaluation and checkpoints are seen while they last, and training comes back after them."""
    run = start()
    run.step(loss=1.0)
    with run.phase("evaluating"):
        assert scrape(run).state() == ["evaluating"]
        with run.phase("checkpointing"):
            assert scrape(run).state() == ["checkpointing"]
        assert scrape(run).state() == ["evaluating"]
    seen = scrape(run)
    assert seen.state() == ["training"]
    assert seen.value("training_phase_seconds_total", phase="evaluate")
    assert seen.value("training_phase_seconds_total", phase="checkpoint")
    assert abs(time.time() - (seen.value("training_last_checkpoint_timestamp_seconds") or 0)) < 10
    assert seen.value("training_checkpoint_interval_seconds") is None
    time.sleep(1.1)  # or it would be another file of the same checkpoint
    with run.phase("checkpointing"):
        pass
    assert scrape(run).value("training_checkpoint_interval_seconds") is not None


def test_a_failed_checkpoint_is_none(start: Start) -> None:
    """A checkpoint that raises does not count as made, and its exception goes on."""
    run = start()
    with pytest.raises(OSError, match="disk full"), run.phase("checkpointing"):
        raise OSError("disk full")
    assert scrape(run).value("training_last_checkpoint_timestamp_seconds") is None


def test_batches_of_another_phase_are_evaluation(start: Start) -> None:
    """Going over a validation loader is evaluating, and leaving it half-way ends that too."""
    run = start()
    run.step(loss=1.0)
    for index, _ in enumerate(run.batches([1, 2, 3], phase="validation")):
        assert scrape(run).state() == ["evaluating"]
        if index:
            break
    assert scrape(run).state() == ["training"]


def test_batches_keep_their_length_and_order(start: Start) -> None:
    """Progress bars still know the total, and every pass goes over the whole loader."""
    batches = start().batches([1, 2, 3])
    assert len(batches) == 3
    assert list(batches) == [1, 2, 3] == list(batches)


def test_waiting_for_data_and_parts_are_timed(start: Start) -> None:
    """The time a loader needs is data_wait; parts given by hand count under their names."""
    run = start()

    def slow_loader() -> object:
        time.sleep(0.05)
        yield 1

    for _ in run.batches(slow_loader()):
        with run.part("forward"):
            time.sleep(0.02)
        run.step(loss=1.0)
    seen = scrape(run)
    assert 0.05 <= (seen.value("training_step_part_seconds_total", part="data_wait") or 0) < 1
    assert 0.02 <= (seen.value("training_step_part_seconds_total", part="forward") or 0) < 1
    assert seen.value("training_step_part_seconds_total", part="backward") == 0
    total = sum(
        seen.value("training_step_part_seconds_total", part=part) or 0 for part in epochwatch.catalogue.PARTS
    )
    assert total == pytest.approx(seen.value("training_step_duration_seconds_sum") or 0)


def test_epochs_go_on_where_they_are_told(start: Start) -> None:
    """A resumed loop counts the epochs before it; a plan given late is a plan."""
    run = start()
    assert list(run.epochs(total=5, start=3)) == [3, 4]
    seen = scrape(run)
    assert (seen.value("training_epochs"), seen.value("training_planned_epochs")) == (5, 5)


def test_epochs_without_a_plan_are_endless(start: Start) -> None:
    """With no number anywhere the loop decides; an epoch left by break is not complete."""
    run = start()
    assert list(itertools.islice(run.epochs(), 3)) == [0, 1, 2]
    assert scrape(run).value("training_epochs") == 2


@pytest.mark.parametrize("scraped", [False, True])
def test_every_loop_of_a_run_begins_at_0(scraped: bool, start: Start) -> None:
    """A second loop, as for a second fold, makes all of its epochs, whether somebody looked at the first or not."""
    run = start()
    for _ in range(3):
        assert list(run.epochs(2)) == [0, 1]
        if scraped:
            scrape(run)
    assert scrape(run).value("training_epochs") == 2


def test_no_epochs_are_none(start: Start) -> None:
    """A loop over 0 epochs does nothing, whatever was planned."""
    assert list(start(epochs=3).epochs(0)) == []


def test_an_epoch_ended_by_hand_counts_once(start: Start) -> None:
    """Calling epoch_end inside of epochs() does not count it twice."""
    run = start(epochs=2)
    for _ in run.epochs():
        run.epoch_end()
    assert scrape(run).value("training_epochs") == 2


def test_the_time_after_the_last_epoch_is_idle(start: Start) -> None:
    """What happens between the loop and the end is not training time."""
    run = start(epochs=1)
    list(run.epochs())
    before = scrape(run).value("training_phase_seconds_total", phase="train")
    seen = scrape(run)
    assert seen.value("training_phase_seconds_total", phase="train") == before
    assert seen.value("training_phase_seconds_total", phase="idle")


@pytest.mark.parametrize(
    ("error", "state", "kind"),
    [
        (None, "finished", None),
        (SystemExit(0), "finished", None),
        (SystemExit(3), "failed", "other"),
        (KeyboardInterrupt(), "interrupted", None),
        (ValueError("no"), "failed", "other"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "failed", "cuda_oom"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "failed", "cuda_oom"),
    ],
    ids=repr,
)
def test_the_end_is_told_apart_and_shown_until_it_is_seen(
    error: BaseException | None, state: str, kind: str | None, start: Start
) -> None:
    """The end state waits for the next scrape and no longer; an exception comes out as it went in."""
    run = start()
    scrape(run)
    caught: list[BaseException] = []

    def train() -> None:
        try:
            with run:
                if error is not None:
                    raise error
        except BaseException as seen:
            caught.append(seen)

    training = threading.Thread(target=train)
    training.start()
    wait_until(lambda: run._books.progress.ended_at)
    assert training.is_alive()
    seen = scrape(run)
    training.join(5)
    assert not training.is_alive()
    assert caught == ([] if error is None else [error])
    assert seen.state() == [state]
    assert abs(time.time() - (seen.value("training_end_timestamp_seconds") or 0)) < 10
    for known in ("cuda_oom", "other"):
        assert seen.value("training_exceptions_total", kind=known) == (known == kind)
    with pytest.raises(OSError, match="refused"):
        scrape(run)


def test_nothing_is_held_if_nobody_ever_scraped(start: Start) -> None:
    """A run that nobody watches ends at once."""
    began = time.monotonic()
    with start():
        pass
    assert time.monotonic() - began < 1


def test_the_port_is_free_right_after_the_end(start: Start) -> None:
    """The next run gets the same port."""
    first = start()
    port = int(first.url.rsplit(":", 1)[1])
    scrape(first)
    first._session.end("finished", hold=False)
    assert start(port=port).url == first.url


def test_finish_twice_and_calls_after_it_are_harmless(start: Start) -> None:
    """After the end every call is taken and does nothing."""
    run = start()
    run.finish()
    run.finish("failed")
    run.step(loss=1.0)
    run.log("validation", loss=1.0)
    run.epoch_end()
    run.skipped_step("user")
    run.event("title", "text", "warning")
    with run.phase("evaluating"), run.part("forward"):
        pass
    assert list(run.epochs(2)) == [0, 1]
    assert list(run.batches([1])) == [1]
    assert run.should_stop is False
    assert run._books.timeline.state == "finished"


def test_wrong_names_are_counted_and_do_no_harm(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Unknown phases, parts, reasons and states are said in the log, with the known ones."""
    run = start()
    with caplog.at_level(logging.WARNING, "epochwatch"):
        with run.phase("validating"), run.part("forwards"):
            pass
        run.skipped_step("overflow")
        run.log("", loss=1.0)
        run.log("a\nb", loss=1.0)
        run.log(3, loss=1.0)
        run.load_state_dict({"version": 99})
    assert 'phase: run.phase knows "evaluating" and "checkpointing"' in caplog.messages
    assert "part: run.part knows data_wait, forward, backward, optimizer, sync_wait, other" in caplog.messages
    assert "skipped_step: run.skipped_step knows amp_overflow, nonfinite, user" in caplog.messages
    seen = scrape(run)
    assert seen.value("training_skipped_steps_total", reason="user") == 1
    assert seen.value("training_exporter_errors_total", where="phase") == 4
    assert seen.value("training_exporter_errors_total", where="load_state_dict") == 1


def test_odd_texts_arrive_whole(start: Start) -> None:
    """Quotes, backslashes and Chinese in names come out of the exposition as they went in."""
    run = start('训练 "A\\B"', labels={"team": 'a"b'})
    run.log('阶段 "x"', loss=1.0)
    assert scrape(run).value("training_loss", run='训练 "A\\B"', team='a"b', phase='阶段 "x"') == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_nonfinite_loss_is_on_the_page(value: float, start: Start) -> None:
    """NaN and infinity are served, in a format Prometheus reads."""
    run = start()
    run.log("validation", loss=value)
    seen = scrape(run).value("training_loss", phase="validation")
    assert seen is not None
    assert not math.isfinite(seen)


def test_both_formats_and_compression(start: Start) -> None:
    """Prometheus' text, OpenMetrics and gzip are served as asked for."""
    run = start()
    run.step(loss=1.0, samples=1)

    def get(**headers: str) -> tuple[str, bytes]:
        request = urllib.request.Request(f"{run.url}/metrics", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = answer.read()
            if answer.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
                assert len(body) > 4 * int(answer.headers["Content-Length"])
            return answer.headers["Content-Type"], body

    kind, body = get()
    assert kind.startswith("text/plain; version=")
    assert b"training_steps_total{" in body
    kind, body = get(Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    assert b"# TYPE training_steps counter" in body
    assert b"training_steps_total{" in get(**{"Accept-Encoding": "gzip"})[1]


def test_a_registry_of_the_user_is_served_too(start: Start) -> None:
    """Own metrics of prometheus_client come along, and the registry is given back as it was."""
    registry = CollectorRegistry()
    own = Counter("own", "The user's own.", registry=registry)
    run = start(registry=registry)
    own.inc(3)
    assert scrape(run).value("own_total") == 3
    assert scrape(run).value("training_steps_total") == 0
    run._session.end("finished", hold=False)
    assert [family.name for family in registry.collect()] == ["own"]


def test_one_registry_serves_one_run(start: Start) -> None:
    """A second run in the same registry is refused, and nothing of it is left behind."""
    registry = CollectorRegistry()
    first = start(registry=registry)
    with pytest.raises(epochwatch.SettingsError, match="registry serves a run already"):
        start("second", registry=registry)
    assert scrape(first).state() == ["starting"]


def test_many_steps_leave_nothing_behind(start: Start) -> None:
    """Memory stays where it was, scraped or not."""
    run = start()
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(3):
            for step in range(100_000):
                run.step(loss=2.0 + step % 7, lr=0.1, grad_norm=1.0, samples=32)
            scrape(run)
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[2] - sizes[1] < 20_000


def test_a_broken_collector_of_the_user_is_said(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A registry that raises gives 500 and a line in the log, and the server lives on."""
    registry = CollectorRegistry()
    run = start(registry=registry)

    class Broken:
        def describe(self) -> list[object]:
            return []

        def collect(self) -> list[object]:
            raise RuntimeError("no")

    broken = Broken()
    registry.register(broken)
    with pytest.raises(urllib.error.HTTPError) as answer, caplog.at_level(logging.WARNING, "epochwatch"):
        scrape(run)
    with answer.value:
        assert answer.value.code == 500
    assert caplog.messages == ["scrape: RuntimeError: no"]
    registry.unregister(broken)
    assert scrape(run).state() == ["starting"]


def test_two_runs_at_once_have_two_ports(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Of two runs that want one port the second moves, says so, and both are served."""
    first = start("first")
    port = int(first.url.rsplit(":", 1)[1])
    with caplog.at_level(logging.WARNING, "epochwatch"):
        second = start("second", port=port)
    moved = int(second.url.rsplit(":", 1)[1])
    assert moved != port
    assert caplog.messages == [
        f"port {port} is held by run 'first' of this process, until its finish() is called; serving on port {moved}"
    ]
    assert scrape(first).value("training_steps_total", run="first") == 0
    assert scrape(second).value("training_steps_total", run="second") == 0


def test_a_foreign_address_is_refused() -> None:
    """An address of another machine is a teaching error at start, and nothing is left behind."""
    with pytest.raises(epochwatch.ServeError, match=r"cannot serve on addr='192\.0\.2\.77'.*EPOCHWATCH_ADDR"):
        epochwatch.start("digits", addr="192.0.2.77", port=0, gpu=False)


def test_a_dropped_handle_gives_its_port_back(start: Start) -> None:
    """A notebook cell run twice replaces the handle: the first run ends, and nothing is left of it."""
    run = epochwatch.start("notebook", port=0, addr="127.0.0.1", gpu=False)
    port = int(run.url.rsplit(":", 1)[1])
    run = epochwatch.start("notebook", port=0, addr="127.0.0.1", gpu=False)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert scrape(run).state() == ["starting"]
    run._session.end("finished", hold=False)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this process one where somebody types, as notebooks are."""
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)


def test_a_cell_run_again_keeps_its_port(
    start: Start, typed: None, free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A run of the same name replaces the one that was not finished: each time on the same port, and it is said."""
    run = start("notebook", port=free_port)
    for _ in range(3):
        run.step(loss=1.0)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "epochwatch"):
            run = start("notebook", port=free_port)
        assert run.url.endswith(f":{free_port}")
        assert scrape(run).value("training_steps_total") == 0
        (said,) = caplog.messages
        assert said.startswith("run notebook is started again: its earlier run in this process")
    gc.collect()
    assert scrape(run).state() == ["starting"]


def test_a_program_may_have_two_runs_of_one_name(start: Start) -> None:
    """Nobody runs a cell again there; both serve, on ports of their own."""
    runs = [start("digits"), start("digits")]
    assert [scrape(run).state() for run in runs] == [["starting"]] * 2


def test_runs_side_by_side_stay(start: Start, typed: None) -> None:
    """A run of another name, of another thread, or in its `with` block is not replaced."""
    other = start("other")
    with ThreadPoolExecutor(1) as pool:
        threaded = pool.submit(start, "digits").result()
        with start("digits") as outer:
            inner = start("digits")
            assert [scrape(run).state() for run in (other, threaded, outer, inner)] == [["starting"]] * 4
            outer._session.end("finished", hold=False)


@pytest.mark.parametrize("clone", [lambda run: pickle.loads(pickle.dumps(run)), copy.deepcopy, copy.copy])
def test_a_copied_handle_is_inert(clone: Callable[[object], epochwatch.Run], start: Start) -> None:
    """A pickled or copied handle takes everything, serves nothing and does not touch the original."""
    run = start()
    inert = clone(run)
    with inert:
        for _ in inert.epochs(1):
            inert.step(loss=1.0)
            inert.log("validation", loss=1.0)
    assert (inert.name, inert.url, inert.should_stop) == ("digits", "", False)
    seen = scrape(run)
    assert (seen.state(), seen.value("training_steps_total")) == (["starting"], 0)


def test_the_run_says_what_it_is(start: Start) -> None:
    """run_info names the framework, its version, this host, this process and the commit."""
    info = next(
        dict(labels) for (name, labels), _ in scrape(start()).samples.items() if name == "training_run_info"
    )
    assert (info["framework"], info["version"]) == ("pytorch", importlib.metadata.version("torch"))
    assert info["host"] == socket.gethostname()
    assert len(info["run_id"]) == 12


def test_the_page_leads_to_the_metrics(start: Start) -> None:
    """The root is a page with the run's name, escaped, and a link."""
    run = start("<b>digits")
    with urllib.request.urlopen(local(run.url), timeout=10) as answer:
        page = answer.read().decode()
    assert "&lt;b&gt;digits" in page
    assert 'href="/metrics"' in page
