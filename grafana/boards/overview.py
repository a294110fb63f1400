"""Dashboard "Training overview": all runs at a glance, each one click from its own dashboard.

A store above several Prometheus servers holds the recorded `run:` series alone (docs/scaling.md): they stand in
where the trainings' own are not there.
"""

from __future__ import annotations

from grafana.board import (
    GREEN,
    RED,
    TEXT,
    YELLOW,
    Bands,
    Board,
    Column,
    Curve,
    Key,
    Number,
    Query,
    Section,
    Table,
    Variable,
    Words,
    board_link,
)
from grafana.boards.states import RUN_CODES, TRAINING_CODE, WORKING, coded

RUN = 'run=~"$run"'
NOT_GOING = "no run is between its first epoch and its end"
NO_GPU = "a training on the CPU has no GPU"
TO_RUN = board_link("epochwatch-run", "var-run=${__data.fields.run}")
SEVERITIES = (("critical", RED), ("warning", YELLOW), ("info", "blue"))


def most(metric: str, more: str = "") -> str:
    """Gives the furthest rank's value of each run."""
    return f"max by (run) ({metric}{{{RUN}{more}}})"


def mean(metric: str) -> str:
    """Gives the mean of each run's devices."""
    return f"avg by (run) ({metric}{{{RUN}}}) or avg by (run) (run:{metric}:avg{{{RUN}}})"


def told(by: str, metric: str) -> str:
    """Gives a value of each run's validation, or of its training where it has none."""
    return " or ".join(
        f'{by} by (run) ({name}{{{RUN}, phase="{phase}"}})'
        for name in (metric, f"run:{metric}:{by}")
        for phase in ("validation", "train")
    )


# A run that a store knows by its recorded series alone.
KNOWN_ABOVE = f"max by (run) (run:training_active:max{{{RUN}}} == 1) unless on (run) training_run_state"
STATE = f"{coded('training_run_state', 'run', RUN, RUN_CODES)} or ({KNOWN_ABOVE}) * {TRAINING_CODE}"
# By the pace of this process: what a resume brought along was not made by it. Epochs first, else steps.
TIME_LEFT = (
    f"(({most('training_planned_epochs')} - {most('training_epochs')})"
    f" / (max by (run) (training_epochs{{{RUN}}} * training_steps_total / training_global_step) > 0"
    f" or {most('training_epochs')} > 0)"
    f" or ({most('training_planned_steps')} - {most('training_global_step')})"
    f" / ({most('training_steps_total')} > 0))"
    f" * max by (run) (time() - training_start_timestamp_seconds{{{RUN}}})"
    f" and {most('training_run_state', f', {WORKING}')} == 1"
)
DONE = (
    f"{most('training_epochs')} / {most('training_planned_epochs')}"
    f" or {most('training_global_step')} / {most('training_planned_steps')}"
)
EPOCHS = f"{most('training_epochs')} or {most('run:training_epochs:max')}"
BADLY_ENDED = ', state=~"failed|interrupted"'
FIRING = f'ALERTS{{{RUN}, run!="", alertstate="firing"}}'

NOW = Section(
    Words("Now", "当前"),
    (
        Number(
            Words("At work", "进行中"),
            Words(
                "Runs that start, train, evaluate or save a checkpoint.",
                "正在启动、训练、评估或保存检查点的任务数。",
            ),
            "none",
            (
                Query(
                    f"count({most('training_run_state', f', {WORKING}')} == 1 or {KNOWN_ABOVE}) or vector(0)"
                ),
            ),
            steps=((None, GREEN),),
            decimals=0,
        ),
        Number(
            Words("Failed or interrupted", "失败或中断"),
            Words(
                "Runs that ended so and can still be scraped. Most are "
                "gone a moment after their end: the alerts tell of them.",
                "以失败或中断告终且仍可抓取的任务数。多数任务结束后很快消失，请看告警。",
            ),
            "none",
            (Query(f"count({most('training_run_state', BADLY_ENDED)} == 1) or vector(0)"),),
            steps=((None, GREEN), (1, RED)),
            decimals=0,
        ),
        Number(
            Words("Alerts", "告警"),
            Words(
                "Critical and warning alerts of these runs that fire now.",
                "这些任务当前触发的严重与警告级告警数。",
            ),
            "none",
            (Query(f'count(ALERTS{{{RUN}, run!="", alertstate="firing", severity!="info"}}) or vector(0)'),),
            steps=((None, GREEN), (1, RED)),
            decimals=0,
        ),
        Number(
            Words("GPUs in use", "占用的 GPU"),
            Words("Devices that these runs see, each once.", "这些任务可见的 GPU 数，每张只计一次。"),
            "none",
            (Query(f"count(count by (uuid) (training_gpu_info{{{RUN}}}))"),),
            decimals=0,
            absent=NO_GPU,
        ),
        Number(
            Words("GPU utilization", "GPU 利用率"),
            Words("Mean of all these devices.", "所有 GPU 的平均利用率。"),
            "percentunit",
            (
                Query(
                    f"avg(training_gpu_utilization_ratio{{{RUN}}})"
                    f" or avg(run:training_gpu_utilization_ratio:avg{{{RUN}}})"
                ),
            ),
            decimals=0,
            steps=((None, RED), (0.3, YELLOW), (0.7, GREEN)),
            absent=NO_GPU,
        ),
        Number(
            Words("GPU power", "GPU 功耗"),
            Words("Drawn by all these devices together.", "所有 GPU 的功耗之和。"),
            "watt",
            (
                Query(
                    f"sum(training_gpu_power_watts{{{RUN}}}) or sum(run:training_gpu_power_watts:sum{{{RUN}}})"
                ),
            ),
            absent=NO_GPU,
        ),
        Table(
            Words("Runs", "任务"),
            Words(
                "One line for each run that is scraped now; a click on "
                "its name opens it. Loss and accuracy are those of the "
                "validation, of the training where there is none. Time left goes by the pace so far.",
                "当前可抓取的每个任务一行，点击名称查看详情。"
                "损失与准确率取验证集，没有验证时取训练集。剩余时间按目前速度估计。",
            ),
            height=9,
            keys=(Key("run", Words("Run", "任务"), link=TO_RUN),),
            columns=(
                Column(
                    Words("State", "状态"),
                    STATE,
                    width=110,
                    codes=RUN_CODES,
                ),
                Column(Words("Epoch", "轮次"), EPOCHS, decimals=0, width=75),
                Column(Words("Planned", "计划"), most("training_planned_epochs"), decimals=0, width=80),
                Column(Words("Done", "完成"), DONE, "percentunit", 0, width=140, meter=1),
                Column(
                    Words("Time left", "剩余时间"),
                    TIME_LEFT,
                    "s",
                    1,
                    width=100,
                    absent=NOT_GOING,
                ),
                Column(Words("Loss", "损失"), told("avg", "training_loss"), decimals=4, width=90),
                Column(
                    Words("Best loss", "最佳损失"), told("min", "training_loss_best"), decimals=4, width=95
                ),
                Column(
                    Words("Best accuracy", "最佳准确率"),
                    told("max", "training_accuracy_best_ratio"),
                    "percentunit",
                    1,
                    width=115,
                    absent="no run tells an accuracy",
                ),
                Column(
                    Words("Last progress", "距上次进展"),
                    f"time() - min by (run) (training_last_progress_timestamp_seconds{{{RUN}}})",
                    "s",
                    0,
                    width=115,
                    steps=((None, GREEN), (60, YELLOW), (300, RED)),
                ),
                Column(
                    Words("GPU", "GPU 利用率"),
                    mean("training_gpu_utilization_ratio"),
                    "percentunit",
                    0,
                    width=140,
                    steps=((None, RED), (0.3, YELLOW), (0.7, GREEN)),
                    meter=1,
                    absent=NO_GPU,
                ),
                # Not those of jobs, whose `run` is the job's name.
                Column(
                    Words("Alerts", "告警"),
                    f'count by (run) (ALERTS{{{RUN}, alertstate="firing", severity!="info"}})'
                    f" and on (run) training_run_info{{{RUN}}}",
                    decimals=0,
                    width=80,
                    steps=((None, TEXT), (1, RED)),
                    absent="only where something is wrong",
                ),
            ),
            sort=Words("Run", "任务"),
        ),
        Bands(
            Words("States", "状态变化"),
            Words(
                "What each run did, over time. A gap: nothing was scraped.",
                "各任务各时段在做什么；空白表示没有抓到数据。",
            ),
            "none",
            (Query(STATE, "{{run}}"),),
            width=14,
            height=8,
            codes=RUN_CODES,
        ),
        Table(
            Words("Alerts that fire", "触发中的告警"),
            Words(
                "Alerts of these runs that fire now, silenced ones "
                "too; the number is how many series of one it has.",
                "这些任务当前触发的告警（含被静默的）；数字为同名告警的条数。",
            ),
            width=10,
            keys=(
                Key("severity", Words("Severity", "级别"), 90, colours=SEVERITIES),
                Key("alertname", Words("Alert", "告警")),
                Key("run", Words("Run", "任务"), link=TO_RUN),
            ),
            columns=(
                Column(
                    Words("Count", "条数"),
                    f"count by (severity, alertname, run) ({FIRING})",
                    decimals=0,
                    width=70,
                ),
            ),
            sort=Words("Severity", "级别"),
            absent="only where something is wrong",
        ),
    ),
)

COMPARED = Section(
    Words("Runs compared", "任务对比"),
    (
        Curve(
            Words("Loss", "损失"),
            Words(
                "Of the validation; of the training where a run has "
                "none. Compare only runs whose loss means the same.",
                "验证损失；没有验证时为训练损失。仅在损失含义相同的任务间比较才有意义。",
            ),
            "none",
            (Query(told("avg", "training_loss"), "{{run}}"),),
        ),
        Curve(
            Words("Accuracy", "准确率"),
            Words(
                "Of the validation; of the training where a run has none.",
                "验证准确率；没有验证时为训练准确率。",
            ),
            "percentunit",
            (Query(told("avg", "training_accuracy_ratio"), "{{run}}"),),
            high=1,
            absent="no run tells an accuracy",
        ),
        Curve(
            Words("Throughput", "吞吐"),
            Words("Samples trained on each second, by run.", "各任务每秒训练的样本数。"),
            "short",
            (
                Query(
                    f"sum by (run) (rate(training_samples_total{{{RUN}}}[$__rate_interval]))"
                    f" or sum by (run) (run:training_samples:rate5m{{{RUN}}})",
                    "{{run}}",
                ),
            ),
            width=8,
            low=0,
            every="5m",
        ),
        Curve(
            Words("Goodput", "有效产出"),
            Words(
                "Part of the time that was training: not evaluation, checkpoints, start-up or idling.",
                "真正用于训练的时间占比：不含评估、检查点、启动与空闲。",
            ),
            "percentunit",
            (
                Query(
                    f'sum by (run) (rate(training_phase_seconds_total{{{RUN}, phase="train"}}[$__rate_interval]))'
                    f" / sum by (run) (rate(training_phase_seconds_total{{{RUN}}}[$__rate_interval]))",
                    "{{run}}",
                ),
            ),
            width=8,
            low=0,
            high=1,
            every="5m",
        ),
        Curve(
            Words("GPU utilization", "GPU 利用率"),
            Words("Mean of a run's devices.", "各任务所用 GPU 的平均利用率。"),
            "percentunit",
            (Query(mean("training_gpu_utilization_ratio"), "{{run}}"),),
            width=8,
            low=0,
            high=1,
            absent=NO_GPU,
        ),
    ),
)

RUNS = 'label_values({__name__=~"training_run_info|run:training_active:max"}, run)'

OVERVIEW = Board(
    uid="epochwatch-overview",
    title=Words("Training overview", "训练总览"),
    description=Words(
        "All trainings at a glance: what they do, how far they are, how well they learn, and what is wrong.",
        "所有训练任务一览：在做什么、进度如何、学得如何、哪里有问题。",
    ),
    variables=(Variable("run", Words("Run", "任务"), RUNS, several=True),),
    sections=(NOW, COMPARED),
)
