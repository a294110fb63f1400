"""Who trains what in the made-up history, and what went wrong: everything relative to its end."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.preview.made_up.jobs import MadeUpJob
from grafana.preview.made_up.messages import bridge_series
from grafana.preview.made_up.openmetrics import Series
from grafana.preview.made_up.run_series import series_of
from grafana.preview.made_up.runs import MadeUpRun

HOUR, MINUTE = 3600.0, 60.0


def runs(end: float) -> tuple[MadeUpRun, ...]:
    """Gives the trainings: one goes well but for a hot GPU, one is flat, one failed, one has just begun."""
    return (
        MadeUpRun(
            "resnet50-imagenet",
            "gpu-01",
            started=end - 5.2 * HOUR,
            epochs=90,
            epoch_seconds=330,
            ranks=4,
            hot_rank=2,
            loss_to=0.9,
            pace_epochs=16,
            batch=256,
        ),
        MadeUpRun(
            "bert-intent-zh",
            "gpu-02",
            started=end - 3.4 * HOUR,
            epochs=60,
            epoch_seconds=280,
            flat_after=21,
            loss_from=4.6,
            loss_to=0.62,
            pace_epochs=5,
            accuracy_to=0.93,
            learning_rate=2e-5,
            memory_gib=22,
            step_seconds=0.15,
        ),
        MadeUpRun(
            "asr-conformer",
            "gpu-03",
            started=end - 5.6 * HOUR,
            ended=end - 2.1 * HOUR,
            end_state="failed",
            epochs=40,
            epoch_seconds=900,
            loss_from=5.8,
            loss_to=1.4,
            memory_gib=77.5,
            step_seconds=0.8,
        ),
        MadeUpRun(
            "vit-b16-finetune",
            "gpu-04",
            started=end - 1.1 * HOUR,
            epochs=30,
            epoch_seconds=410,
            ranks=2,
            loss_from=2.3,
            loss_to=0.31,
            pace_epochs=4,
            accuracy_to=0.97,
            learning_rate=5e-5,
            memory_gib=48,
            step_seconds=0.25,
            pod="vit-b16-finetune-0",
        ),
    )


def jobs(end: float) -> tuple[MadeUpJob, ...]:
    """Gives the jobs: one nightly that failed once, one hourly, one that is late, one that is a training of above."""
    return (
        MadeUpJob("imagenet", "", end - 5.2 * HOUR, 1000 * HOUR, 9 * HOUR, 14, 88, host="gpu-01"),
        MadeUpJob(
            "nightly-retrain", "0 2 * * *", end - 26 * HOUR, 24 * HOUR, 3.4 * HOUR, failing=frozenset({0})
        ),
        MadeUpJob("hourly-eval", "0 * * * *", end - 47.6 * HOUR, HOUR, 17 * MINUTE, cores=2.2, memory_gib=6),
        MadeUpJob(
            "distil-weekly",
            "0 8 * * 1",
            end - 46 * HOUR,
            45.7 * HOUR,
            5.5 * HOUR,
            cores=9,
            memory_gib=31,
            missed=frozenset({1}),
        ),
    )


# Name, severity, labels, hours before the end at which it began to fire, at which it ended.
ALERTS = (
    ("TrainingGpuHot", "warning", {"run": "resnet50-imagenet", "rank": "2", "gpu": "2"}, 0.9, 0.0),
    ("TrainingGpuThrottled", "warning", {"run": "resnet50-imagenet", "rank": "2", "gpu": "2"}, 0.7, 0.0),
    ("TrainingLossPlateau", "warning", {"run": "bert-intent-zh", "phase": "validation"}, 0.9, 0.0),
    ("TrainingOutOfMemory", "critical", {"run": "asr-conformer"}, 2.1, 2.0),
    ("TrainingFailed", "critical", {"run": "asr-conformer"}, 2.1, 2.0),
    ("TrainingJobFailed", "critical", {"run": "nightly-retrain", "job_name": "nightly-retrain"}, 24.2, 2.0),
    ("TrainingJobMissedStart", "critical", {"run": "distil-weekly", "job_name": "distil-weekly"}, 0.15, 0.0),
    ("AlertbridgeQuotaNearlySpent", "warning", {"receiver": "ml-oncall", "robot": "robot-1"}, 1.7, 0.0),
    ("AlertbridgeRobotLimited", "warning", {"receiver": "ml-oncall", "robot": "robot-1"}, 3.3, 3.13),
)


def alerts(end: float) -> Iterator[Series]:
    """Gives ALERTS as Prometheus would have recorded it."""
    for name, severity, labels, begun, ended in ALERTS:
        all_labels = {"alertname": name, "alertstate": "firing", "severity": severity, **labels}
        since, until = end - begun * HOUR, end - ended * HOUR
        yield Series(
            "ALERTS", all_labels, lambda t, since=since, until=until: 1.0 if since <= t <= until else None
        )


def recent(end: float) -> Iterator[Series]:
    """Gives what is worth a sample every few seconds: trainings, alerts and messages."""
    for run in runs(end):
        yield from series_of(run)
    yield from alerts(end)
    yield from bridge_series(end)


def longer(end: float) -> Iterator[Series]:
    """Gives what is looked at over days: jobs."""
    for job in jobs(end):
        yield from job.series()
