"""What a run tells, to whom, and that it does not cost the training anything."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import epochwatch
from epochwatch.alertmanager import moment

from .conftest import wait_until
from .event_receiver import Receiver

Start = Callable[..., epochwatch.Run]
Trainer = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A robot or an Alertmanager on loopback."""
    listening = Receiver()
    yield listening
    listening.close()


@pytest.fixture
def robot(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """A robot whose address stands in the environment."""
    monkeypatch.setenv("DINGTALK_WEBHOOK", receiver.webhook)
    monkeypatch.setenv("DINGTALK_SECRET", "SECabc")
    return receiver


def names(receiver: Receiver) -> list[str]:
    """Gives the names of the alerts that were told, oldest first."""
    return [alert["labels"]["alertname"] for alert in receiver.alerts()]


def last(receiver: Receiver, name: str) -> dict[str, dict[str, str]]:
    """Gives the last alert of a name, once it is there."""
    wait_until(lambda: name in names(receiver), 10)
    found: dict[str, dict[str, str]] = [a for a in receiver.alerts() if a["labels"]["alertname"] == name][-1]
    return found


def test_a_run_that_is_replaced_is_not_told_as_interrupted(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started again in a notebook, the group hears of the new start; what was to be said is said without waiting."""
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    receiver.hanging.set()
    start("notebook", alertmanager_url=receiver.url).event("first", "has been")
    start("notebook", alertmanager_url=receiver.url)
    assert "epochwatch-herald-flush" in [thread.name for thread in threading.enumerate()]
    receiver.hanging.clear()
    receiver.released.set()
    wait_until(lambda: sorted(set(names(receiver))) == ["TrainingEvent", "TrainingStarted"], 10)
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == "epochwatch-herald-flush"])
    assert "TrainingInterrupted" not in names(receiver)


def trained(run: epochwatch.Run, accuracies: list[float]) -> None:
    """Makes an epoch for each accuracy, and waits until the run has looked at each."""
    for epoch in run.epochs(len(accuracies)):
        run.step(loss=1 / (epoch + 1))
        run.log("validation", loss=1 / (epoch + 1), accuracy=accuracies[epoch])
        run.epoch_end()
        looked = run._herald
        assert looked is not None
        wait_until(lambda looked=looked: not looked._look_noted)
        time.sleep(0.02)


def test_a_run_tells_start_bests_and_end_to_alertmanager(start: Start, receiver: Receiver) -> None:
    """Start with its details, each better epoch but the first, and the end with values, time and checkpoint."""
    details = {"model": "ViT-B/16", "dataset": "ImageNet", "batch_size": 256}
    run = start("vit", epochs=4, alertmanager_url=receiver.url, labels={"team": "vision"}, details=details)
    with run:
        trained(run, [0.5, 0.75, 0.7, 0.8])
        with run.phase("checkpointing", path="checkpoints/best.pt"):
            pass
    expected = ["TrainingStarted", "TrainingNewBest", "TrainingNewBest", "TrainingFinished"]
    assert names(receiver) == expected
    for alert in receiver.alerts():
        labels = alert["labels"]
        assert (labels["run"], labels["event"], labels["severity"]) == ("vit", "true", "info")
        assert labels["team"] == "vision"
        assert alert["annotations"]["dashboard"].startswith("/d/epochwatch-run?var-run=vit&time=")
        assert alert["startsAt"] < alert["endsAt"]
    assert len({alert["labels"]["run_id"] for alert in receiver.alerts()}) == 1
    began, first_best, second_best, ended = (alert["annotations"] for alert in receiver.alerts())
    assert began["summary"] == "vit: training started"
    assert began["summary_zh"] == "vit：训练开始"
    assert began["description"].splitlines() == [
        "team: vision",
        "model: ViT-B/16",
        "dataset: ImageNet",
        "batch size: 256",
        "epochs planned: 4",
    ]
    assert "批大小：256" in began["description_zh"].splitlines()
    assert first_best["summary"] == "vit: new best accuracy 75.00%"
    assert second_best["description"].splitlines()[0] == "75.00% → 80.00% (+5.00 pp), epoch 4"
    assert second_best["summary_zh"] == "vit：新的最佳验证准确率 80.00%"
    assert [alert["labels"].get("epoch") for alert in receiver.alerts()] == [None, "2", "4", None]
    lines = ended["description"].splitlines()
    assert re.fullmatch(r"4 of 4 epochs, \d+ s", lines[0])
    assert lines[1:] == [
        "accuracy 80.00%, best 80.00% (epoch 4)",
        "validation loss 0.25, best 0.25 (epoch 4)",
        "checkpoint: checkpoints/best.pt",
    ]


def test_each_better_epoch_is_told_however_short_it_is(start: Start, receiver: Receiver) -> None:
    """A best is found at its own epoch's end, also where the next epoch's values come at once."""
    with start(epochs=4, alertmanager_url=receiver.url) as run:
        for epoch in run.epochs():
            run.step(loss=1.0)
            run.log("validation", loss=1 / (epoch + 1))
            time.sleep(0.2)
    assert [a["labels"]["epoch"] for a in receiver.alerts() if "epoch" in a["labels"]] == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("settings", "values", "told"),
    [
        ({}, [{"loss": 1.0}, {"loss": 0.5}, {"loss": 0.9}], "new best validation loss 0.5"),
        (
            {"monitor": "test/f1", "mode": "max"},
            [{"f1": 0.2}, {"f1": 0.5}, {"f1": 0.4}],
            "new best test f1 0.5",
        ),
        (
            {"monitor": "test/accuracy"},
            [{"accuracy": 0.5}, {"accuracy": 0.6}, {"accuracy": 0.4}],
            "new best test accuracy 60.00%",
        ),
        ({"monitor": "test/wer"}, [{"wer": 9}, {"wer": 8}, {"wer": 8.5}], "new best test wer 8"),
    ],
    ids=["loss", "own metric", "accuracy elsewhere", "less is better"],
)
def test_the_monitored_value_decides_what_is_a_best(
    settings: dict[str, str], values: list[dict[str, float]], told: str, start: Start, receiver: Receiver
) -> None:
    """A best of the value and phase that `monitor` names is told with its name; none is told for a worse one."""
    run = start("digits", alertmanager_url=receiver.url, **settings)
    phase = settings.get("monitor", "validation/loss").partition("/")[0]
    with run:
        for value in values:
            run.log(phase, **value)
            run.epoch_end()
            wait_until(lambda: not run._herald._look_noted)
            time.sleep(0.02)
    bests = [a["annotations"]["summary"] for a in receiver.alerts() if a["labels"].get("epoch")]
    assert bests == [f"digits: {told}"]


def test_a_loop_without_epochs_tells_bests_at_its_evaluations(start: Start, receiver: Receiver) -> None:
    """Where no epochs are counted, each evaluation may bring a new best."""
    with start(alertmanager_url=receiver.url) as run:
        for loss in (3.0, 2.0, 2.5, 1.0):
            run.step(loss=loss)
            run.log("validation", loss=loss)
            wait_until(lambda: not run._herald._look_noted)
            time.sleep(0.02)
    assert names(receiver).count("TrainingNewBest") == 2


def test_a_resumed_run_compares_with_the_best_of_before(start: Start, receiver: Receiver) -> None:
    """After a resume the old best is no news, and the first better value is told with it."""
    before = start()
    for accuracy in (0.5, 0.9):
        before.step(loss=1.0)
        before.log("validation", loss=1.0, accuracy=accuracy)
        before.epoch_end()
    state = json.loads(json.dumps(before.state_dict()))
    with start("resumed", alertmanager_url=receiver.url) as run:
        run.load_state_dict(state)
        for accuracy in (0.8, 0.95):
            run.step(loss=1.0)
            run.log("validation", loss=1.0, accuracy=accuracy)
            run.epoch_end()
            wait_until(lambda: not run._herald._look_noted)
            time.sleep(0.02)
    assert names(receiver) == ["TrainingStarted", "TrainingNewBest", "TrainingFinished"]
    assert (
        "90.00% → 95.00% (+5.00 pp), epoch 4"
        in last(receiver, "TrainingNewBest")["annotations"]["description"]
    )


def test_a_failure_is_told_with_its_stack_and_without_secrets(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Type, message and source lines are told; what the environment keeps secret is not."""
    monkeypatch.setenv("MY_API_KEY", "zz-top-4711")
    with pytest.raises(ValueError, match="zz-top"), start(alertmanager_url=receiver.url):
        raise ValueError(f"key {os.environ['MY_API_KEY']} refused")
    failed = last(receiver, "TrainingFailed")
    assert (failed["labels"]["severity"], failed["labels"]["kind"]) == ("critical", "other")
    assert failed["annotations"]["summary"] == "digits: ValueError: key *** refused"
    assert "raise ValueError(" in failed["annotations"]["description"]
    assert "zz-top" not in json.dumps(receiver.bodies)


@pytest.mark.parametrize(
    ("ending", "name", "words"),
    [
        (KeyboardInterrupt(), "TrainingInterrupted", "interrupted by hand (SIGINT)"),
        (SystemExit(0), "TrainingFinished", "training finished"),
        (SystemExit(3), "TrainingFailed", "SystemExit: 3"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            "TrainingFailed",
            "CUDA out of",
        ),
    ],
    ids=["ctrl-c", "exit 0", "exit 3", "out of memory"],
)
def test_each_end_is_told_as_what_it_is(
    ending: BaseException, name: str, words: str, start: Start, receiver: Receiver
) -> None:
    """Interruptions, exits and failures are told apart, once."""
    with pytest.raises(type(ending)), start(alertmanager_url=receiver.url):
        raise ending
    assert names(receiver) == ["TrainingStarted", name]
    assert words in last(receiver, name)["annotations"]["summary"]


def test_an_own_event_is_told_with_its_severity(start: Start, receiver: Receiver) -> None:
    """run.event tells title and text; the same words twice are two events; an unknown severity is info."""
    with start(alertmanager_url=receiver.url) as run:
        run.event("Rate lowered", "to 1e-4\nby hand", "warning")
        run.event("Rate lowered", "to 1e-4\nby hand", "error")
        run.event("Hello", severity="loud")
    own = [alert for alert in receiver.alerts() if alert["labels"]["alertname"] == "TrainingEvent"]
    assert sorted(alert["labels"]["severity"] for alert in own) == ["critical", "info", "warning"]
    assert [alert["annotations"].get("description") for alert in own].count("to 1e-4\nby hand") == 2
    assert len({alert["labels"]["event_id"] for alert in own}) == 3


def test_a_robot_is_told_in_both_languages(start: Start, robot: Receiver) -> None:
    """Straight to the robot a message is signed by its client, in Chinese unless English is asked for."""
    with start("digits", notify="dingtalk", details={"model": "*cnn*"}):
        pass
    with start("digits", notify="dingtalk", language="en"):
        pass
    assert robot.titles() == [
        "🚀 提示 digits：训练开始",
        "🏁 提示 digits：训练完成",
        "🚀 INFO digits: training started",
        "🏁 INFO digits: training finished",
    ]
    first = robot.bodies[0]["markdown"]["text"]
    assert first.startswith(
        '### 🚀 <font color="#1A66CC">提示</font> · 训练开始\n\n**digits**\n\n> 模型：∗cnn∗'
    )
    assert len({body["msgUuid"] for body in robot.bodies}) == 4


def test_several_robots_of_other_vendors_are_told(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Feishu's and WeCom's robots get each event in their own form."""
    receiver.answers["POST"] = {"errcode": 0, "code": 0}
    monkeypatch.setenv("FEISHU_WEBHOOK", f"{receiver.url}/open-apis/bot/v2/hook/9f1c")
    monkeypatch.setenv("FEISHU_SECRET", "demo")
    monkeypatch.setenv("WECOM_WEBHOOK", f"{receiver.url}/cgi-bin/webhook/send?key=77aa")
    with start("digits", notify="feishu,wecom"):
        pass
    cards = [body["card"]["header"]["title"]["content"] for body in receiver.bodies if "card" in body]
    assert cards == ["🚀 提示 digits：训练开始", "🏁 提示 digits：训练完成"]
    assert all(body["sign"] for body in receiver.bodies if "card" in body)
    marked = [body["markdown"]["content"] for body in receiver.bodies if "markdown" in body]
    assert [text.splitlines()[0].endswith("训练开始") for text in marked] == [True, False]


def test_a_failure_reaches_the_robot_at_once(start: Start, robot: Receiver) -> None:
    """It goes past the spacing of other messages, within two seconds of the exception."""
    run = start(notify="dingtalk", language="en")
    wait_until(robot.titles)
    for number in range(10):
        run.event(f"event {number}")
    raised = time.time()
    with pytest.raises(RuntimeError), run:
        raise RuntimeError("boom")
    at = next(at for at, title in zip(robot.at, robot.titles(), strict=True) if "boom" in title)
    assert at - raised < 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"notify": "dingtalk"},
            "notify='dingtalk' needs the robot's address in the environment: set DINGTALK_W",
        ),
        ({"notify": "wecom"}, "notify='wecom': 'nonsense' is no robot address"),
    ],
)
def test_a_robot_that_cannot_be_right_is_refused_at_start(
    settings: dict[str, str], message: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing or impossible address raises at start, names the variable, and leaves no port open."""
    monkeypatch.delenv("DINGTALK_WEBHOOK", raising=False)
    monkeypatch.setenv("WECOM_WEBHOOK", "nonsense")
    with pytest.raises(epochwatch.SettingsError) as refused:
        start(**settings)
    assert message in str(refused.value).replace("WeCom: ", "")


def test_two_alertmanagers_are_told_each_by_itself(start: Start, receiver: Receiver) -> None:
    """A pair's second one that is gone holds up neither the first nor, for long, the end."""
    with Closed() as gone, start(alertmanager_url=f"{gone},{receiver.url}/") as run:
        wait_until(lambda: names(receiver) == ["TrainingStarted"], 5)
        run.event("Hello")
        wait_until(lambda: names(receiver) == ["TrainingStarted", "TrainingEvent"], 5)


class Closed:
    """An address at which nobody listens."""

    def __enter__(self) -> str:
        receiver = Receiver()
        receiver.close()
        return receiver.url

    def __exit__(self, *exception: object) -> None:
        pass


def test_a_password_in_alertmanagers_address_is_sent_and_not_told(start: Start, receiver: Receiver) -> None:
    """User and password go into the header, and into no message or log."""
    url = receiver.url.replace("://", "://me:hunt%40er2@")
    with start(alertmanager_url=url) as run:
        run.event("using hunt%40er2")
    assert set(receiver.logins) == {"Basic bWU6aHVudEBlcjI="}
    assert "hunt%40er2" not in json.dumps(receiver.bodies)


def test_an_alertmanager_that_refuses_is_said_to_do_so(
    start: Start, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong address is logged once with what to look at, and nothing is retried."""
    receiver.status = 404
    with start(alertmanager_url=receiver.url) as run:
        wait_until(lambda: run._books.troubles.counts["events"])
    host = receiver.url.removeprefix("http://")
    assert (
        f"events: Alertmanager {host} answered HTTP 404; is it an Alertmanager's address?; TrainingStarted is not told"
        in caplog.messages
    )


def test_only_rank_0_tells_how_it_goes(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another rank is silent about start and end, but tells its failure; a second one on its node does not."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    for rank in ("1", "2"):
        monkeypatch.setenv("RANK", rank)
        with start(alertmanager_url=receiver.url):
            pass
        assert receiver.bodies == []
    for rank in ("1", "2"):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(RuntimeError), start(alertmanager_url=receiver.url):
            raise RuntimeError("boom")
    assert names(receiver) == ["TrainingFailed"]
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(KeyboardInterrupt), start(alertmanager_url=receiver.url):
        raise KeyboardInterrupt  # its launcher ends it because the other one has failed
    assert names(receiver) == ["TrainingFailed", "TrainingStarted"]


def test_the_rank_that_knows_tells_the_best_as_rank_0_would(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last stage of a pipeline tells Alertmanager a best with the very labels that rank 0 would give it."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with start(alertmanager_url=receiver.url) as run:
            trained(run, [0.5, 0.6])
    first, second = (a["labels"] for a in receiver.alerts() if a["labels"]["alertname"] == "TrainingNewBest")
    assert first == second


def test_what_earlier_runs_said_is_taken_back(start: Start, receiver: Receiver) -> None:
    """Alerts of an earlier run of that name are ended, so that they keep none of this run's quiet; own ones stay.

    So does what was told just now, which may be on its way to the group.
    """
    old = {
        "labels": {"alertname": "TrainingFailed", "run": "digits", "event": "true"},
        "annotations": {"summary": "x"},
    }
    fresh = {**old, "labels": {**old["labels"], "alertname": "TrainingStarted"}}
    new = {**old, "labels": {**old["labels"], "alertname": "TrainingInterrupted"}}
    receiver.answers["GET"] = [
        {**old, "startsAt": "2020-01-01T00:00:00.123Z", "endsAt": "2099-01-01T00:00:00.000Z"},
        {**fresh, "startsAt": "2099-01-01T00:00:00.000Z", "endsAt": "2099-01-01T00:00:00.000Z"},
        {**new, "startsAt": moment(time.time() - 60), "endsAt": "2099-01-01T00:00:00.000Z"},
    ]

    def ended() -> list[dict[str, Any]]:
        taken = ("TrainingFailed", "TrainingInterrupted")
        return [alert for alert in receiver.alerts() if alert["labels"]["alertname"] in taken]

    with start(alertmanager_url=receiver.url) as run:
        wait_until(ended, 5)
        run._herald._retire_at = 0.0
        run.event("wake up")
        wait_until(lambda: len(ended()) == 2, 5)
    assert [alert["labels"] for alert in ended()] == [old["labels"]] * 2
    assert all(alert["endsAt"][:10] != "2099-01-01" for alert in ended())


TRAINING = """
import time
import epochwatch

with epochwatch.start("digits", port=0, addr="127.0.0.1", gpu=False, epochs=20) as run:
    total = 0.0
    for epoch in run.epochs():
        for _ in range(20):
            total += sum(range(2000))
            run.step(loss=1.0)
        run.log("validation", loss=1.0 / (epoch + 1))
        run.event(f"epoch {epoch}")
        time.sleep(0.12)
    print(time.time(), total, flush=True)
    raise RuntimeError("boom")
"""


@pytest.fixture
def troubled() -> Iterator[dict[str, str]]:
    """Addresses of receivers that hang, refuse, are not there, or fail."""
    hanging, failing = Receiver(), Receiver()
    hanging.hanging.set()
    failing.status, failing.answers["POST"] = 503, {}
    with Closed() as refusing:
        yield {
            "hanging": hanging.url,
            "failing": failing.url,
            "refusing": refusing,
            "gone": "https://does-not-exist.invalid",
        }
    hanging.close()
    failing.close()


def test_a_receiver_in_trouble_changes_nothing_of_the_training(
    troubled: dict[str, str], trainer: Trainer
) -> None:
    """Result, exit code and traceback are the same without a receiver as with one that is of no use."""
    environments: dict[str, dict[str, str]] = {"nobody": {}}
    for trouble, url in troubled.items():
        environments[f"alertmanager {trouble}"] = {"EPOCHWATCH_ALERTMANAGER_URL": url}
        webhook = f"{url}/robot/send?access_token=5f0d9a7c21e8"
        environments[f"robot {trouble}"] = {"EPOCHWATCH_NOTIFY": "dingtalk", "DINGTALK_WEBHOOK": webhook}
    processes = {name: trainer(TRAINING, **environment) for name, environment in environments.items()}
    outcomes = {}
    for name, process in processes.items():
        said, complained = process.communicate(timeout=100)
        raised, total = said.split()
        # 5 seconds of flush at most, and what a machine takes that ends nine trainings at once.
        assert time.time() - float(raised) < 30
        assert "5f0d9a7c21e8" not in complained
        traceback = complained[complained.index("Traceback") :]
        outcomes[name] = (total, process.returncode, re.sub(r"train\d", "train", traceback))
    assert set(outcomes.values()) == {outcomes["nobody"]}


def test_the_training_thread_never_waits_for_a_receiver(start: Start, receiver: Receiver) -> None:
    """With a hanging receiver a thousand events and epochs take no longer than a thousand calls."""
    receiver.hanging.set()
    run = start(alertmanager_url=receiver.url)
    began = time.perf_counter()
    for number in range(1000):
        run.event(f"event {number}")
        run.epoch_end()
    assert time.perf_counter() - began < 1.0
    receiver.hanging.clear()
    receiver.released.set()
    run.finish()


FORKING = """
import os, sys, time
import torch
import epochwatch
from torch.utils.data import DataLoader, Dataset

run = epochwatch.start("digits", port=0, addr="127.0.0.1", gpu=False)

class Telling(Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        run.event("from a worker")
        run.epoch_end()
        return index

with run:
    for batch in DataLoader(Telling(), num_workers=2, multiprocessing_context="fork"):
        run.step(loss=1.0)
    child = os.fork()
    if child == 0:
        try:
            with run:
                raise RuntimeError("in the child")
        except RuntimeError:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_workers_and_forks_tell_nothing(receiver: Receiver, trainer: Trainer) -> None:
    """What a DataLoader's workers or a forked child do with the run is told to nobody."""
    process = trainer(FORKING, EPOCHWATCH_ALERTMANAGER_URL=receiver.url)
    assert process.wait(60) == 0
    assert names(receiver) == ["TrainingStarted", "TrainingFinished"]


@pytest.mark.parametrize(
    ("last_line", "name", "words"),
    [
        ("pass", "TrainingFinished", "training finished"),
        ("raise ValueError('no')", "TrainingFailed", "ValueError: no"),
        ("raise KeyboardInterrupt", "TrainingInterrupted", "by hand"),
        ("os.kill(os.getpid(), 15); time.sleep(9)", "TrainingInterrupted", "SIGTERM"),
    ],
)
def test_a_run_without_a_with_block_tells_its_end(
    last_line: str, name: str, words: str, receiver: Receiver, trainer: Trainer
) -> None:
    """At exit and at SIGTERM the end is told as well, with the exception that got through."""
    script = (
        "import os, time, epochwatch\n"
        "run = epochwatch.start('digits', port=0, addr='127.0.0.1', gpu=False)\n"
        f"run.step(loss=1.0)\n{last_line}\n"
    )
    trainer(script, EPOCHWATCH_ALERTMANAGER_URL=receiver.url).wait(60)
    assert names(receiver) == ["TrainingStarted", name]
    assert words in last(receiver, name)["annotations"]["summary"]


def test_a_second_ctrl_c_ends_the_wait_for_a_receiver(receiver: Receiver, trainer: Trainer) -> None:
    """Who presses Ctrl-C twice does not wait for a hanging receiver."""
    receiver.hanging.set()
    process = trainer(
        "import time, epochwatch\n"
        "with epochwatch.start('digits', port=0, addr='127.0.0.1', gpu=False) as run:\n"
        "    print('training', flush=True)\n"
        "    while True: time.sleep(0.1)\n",
        EPOCHWATCH_ALERTMANAGER_URL=receiver.url,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "training\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == -signal.SIGINT
    assert time.monotonic() - began < 2


def test_nobody_is_told_and_nothing_is_loaded_without_a_receiver() -> None:
    """A run that tells nobody starts no thread for it and does not import requests."""
    code = (
        "import sys, threading, epochwatch\n"
        "run = epochwatch.start('digits', port=0, addr='127.0.0.1', gpu=False)\n"
        "run.event('Hello')\n"
        "print('requests' in sys.modules, [t.name for t in threading.enumerate() if 'herald' in t.name])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False []\n"
