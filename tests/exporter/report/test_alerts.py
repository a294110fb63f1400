"""Which alerts fired while a run was running, asked of a real Prometheus that remembers."""

import subprocess
from collections.abc import Callable, Iterator

import pytest
from click.testing import Result

from demo.stack import Service, binary, free_port
from epochwatch.errors import HistoryError
from epochwatch.report.alerts import fired, summed_up
from epochwatch.report.record import Facts, Head
from epochwatch.report.store import History

from ..event_receiver import Receiver

pytestmark = pytest.mark.stack

HOUR = 3600
# Well behind now, as Prometheus' own head block does not take what is given to it in blocks.
BEGAN = 1_700_000_000
NAME = 'vit "large" \\ 大'


def run(**more: object) -> Head:
    facts: dict[str, object] = {"seen_at": BEGAN + HOUR, "ended_at": BEGAN + HOUR, **more}
    return Head(run_id="abc123", name=NAME, state="finished", started_at=BEGAN, **facts)


def samples() -> Iterator[str]:
    """Gives alerts as OpenMetrics: a plateau in two spells and on two ranks, an earlier one, another run's."""
    name = NAME.replace("\\", "\\\\").replace('"', '\\"')
    yield "# TYPE ALERTS gauge"
    spells = [
        (
            "TrainingLossPlateau",
            "warning",
            "firing",
            name,
            "0",
            [*range(600, 1200, 15), *range(2400, 2700, 15)],
        ),
        ("TrainingLossPlateau", "warning", "firing", name, "1", range(600, 1200, 15)),
        ("TrainingGpuHot", "warning", "pending", name, "0", range(0, 3600, 15)),
        ("TrainingLossNonFinite", "critical", "firing", name, "0", range(3000, 3300, 15)),
        ("TrainingStalled", "critical", "firing", name, "0", range(-7200, -3600, 15)),
        ("TrainingFailed", "critical", "firing", "another", "0", range(600, 1200, 15)),
    ]
    for alert, severity, state, run_name, rank, seconds in spells:
        labels = (
            f'alertname="{alert}",severity="{severity}",alertstate="{state}",run="{run_name}",rank="{rank}"'
        )
        yield from (f"ALERTS{{{labels}}} 1 {BEGAN + second}" for second in seconds)
    yield "# EOF"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that remembers those alerts; gives its address."""
    place = tmp_path_factory.mktemp("prometheus")
    (place / "alerts.om").write_text("\n".join(samples()) + "\n")
    blocks = [
        binary("promtool"),
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        place / "alerts.om",
        place / "data",
    ]
    subprocess.run(blocks, check=True, capture_output=True)
    (place / "prometheus.yml").write_text("")
    address = f"http://127.0.0.1:{free_port()}"
    service = Service(
        "prometheus",
        [
            binary("prometheus"),
            f"--config.file={place / 'prometheus.yml'}",
            f"--storage.tsdb.path={place / 'data'}",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address={address.removeprefix('http://')}",
        ],
        place / "log",
        address,
        "/-/ready",
    ).start()
    yield address
    service.stop()


def test_each_kind_of_alert_that_fired_is_told_once(prometheus: str) -> None:
    """When first, and how long in all; not what was pending, earlier, or another run's."""
    found = fired(prometheus, run())
    assert [(one.name, one.severity, one.at - BEGAN) for one in found] == [
        ("TrainingLossPlateau", "warning", 600.0),
        ("TrainingLossNonFinite", "critical", 3000.0),
    ]
    assert (found[0].said_en, found[0].said_zh) == ("for about 17 min", "共持续约 17 分")


def test_a_run_of_months_is_one_bounded_query(prometheus: str) -> None:
    """Prometheus refuses more than 11,000 samples of a series; short alerts are found all the same."""
    found = fired(prometheus, run(ended_at=BEGAN + 400 * 24 * HOUR))
    assert {one.name for one in found} == {"TrainingLossPlateau", "TrainingLossNonFinite"}


def test_the_report_keeps_the_alerts(
    prometheus: str, history: History, command: Callable[..., Result]
) -> None:
    """They are in the history from then on, once however often the report is made: Prometheus forgets."""
    history.put(run(), Facts())
    for _ in range(2):
        result = command("report", NAME, "--prometheus-url", prometheus, "--format", "md", "--language", "en")
        assert (result.exit_code, result.stderr) == (0, "")
        assert "warning · TrainingLossPlateau · for about 17 min" in result.stdout
    kept = [one.name for one in history.record("abc123").raised]
    assert kept == ["TrainingLossPlateau", "TrainingLossNonFinite"]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"data": None},
        {"data": {"result": [{}]}},
        {"data": {"result": [{"metric": {}, "values": [1]}]}},
    ],
)
def test_what_is_no_answer_of_prometheus_is_refused(answer: object) -> None:
    """Whatever comes back, the report goes on without the alerts."""
    receiver = Receiver()
    receiver.answers["POST"] = answer
    try:
        with pytest.raises(HistoryError, match="Prometheus does not say which alerts fired"):
            fired(receiver.url, run())
    finally:
        receiver.close()


def test_no_series_is_no_alert() -> None:
    """A healthy run."""
    assert summed_up([], 15.0) == []
