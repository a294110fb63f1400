"""How fast a run is, and where its time goes."""

from __future__ import annotations

from grafana.board import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    Curve,
    Query,
    Section,
    Words,
)
from grafana.boards.one_run import RUN, rate

STEP_BUCKETS = f"sum by (le) ({rate('training_step_duration_seconds_bucket')})"

SPEED = Section(
    Words("Speed", "速度"),
    (
        Curve(
            Words("Where a step's time goes", "单步耗时构成"),
            Words(
                "Seconds of a step by part, mean of the ranks. "
                "Waiting for data or for other ranks is time lost.",
                "单步各部分耗时（秒），各进程平均。等数据（data_wait）或等其他进程（sync_wait）都是损失。",
            ),
            "s",
            (
                Query(
                    f"sum by (part) ({rate('training_step_part_seconds_total')})"
                    f" / scalar(sum({rate('training_steps_total')}))",
                    "{{part}}",
                ),
            ),
            low=0,
            stacked=True,
            colours=(
                ("forward", BLUE),
                ("backward", PURPLE),
                ("optimizer", GREEN),
                ("data_wait", ORANGE),
                ("sync_wait", RED),
                ("other", GREY),
            ),
        ),
        Curve(
            Words("Step time", "单步耗时"),
            Words(
                "Time from one optimizer step to the next: half of the steps, and 95 in 100, are faster.",
                "相邻优化步之间的时间：50% 与 95% 的步比这更快。",
            ),
            "s",
            (
                Query(f"histogram_quantile(0.5, {STEP_BUCKETS})", "p50"),
                Query(f"histogram_quantile(0.95, {STEP_BUCKETS})", "p95"),
            ),
            low=0,
        ),
        Curve(
            Words("Throughput", "吞吐"),
            Words("Samples trained on each second, all ranks together.", "所有进程合计每秒训练的样本数。"),
            "short",
            (Query(f"sum({rate('training_samples_total')})", "samples/s"),),
            width=8,
            low=0,
        ),
        Curve(
            Words("Where the time goes", "时间去向"),
            Words(
                "Part of the time by what it was spent on. That of training is the goodput.",
                "时间按用途的占比；其中 train 的占比即有效产出（goodput）。",
            ),
            "percentunit",
            (
                Query(
                    f"sum by (phase) ({rate('training_phase_seconds_total')})"
                    f" / scalar(sum({rate('training_phase_seconds_total')}))",
                    "{{phase}}",
                ),
            ),
            width=8,
            low=0,
            high=1,
            stacked=True,
            colours=(
                ("train", GREEN),
                ("evaluate", BLUE),
                ("checkpoint", PURPLE),
                ("startup", GREY),
                ("idle", ORANGE),
            ),
        ),
        Curve(
            Words("Age of the last checkpoint", "距上次检查点"),
            Words(
                "What a crash would cost now. Dashed is three of the "
                "usual intervals, 30 minutes at least: beyond it the "
                "alert fires.",
                "此刻崩溃会损失的时间。虚线为通常间隔的三倍（至少 30 分钟），超过即告警。",
            ),
            "s",
            (
                Query(f"time() - max(training_last_checkpoint_timestamp_seconds{{{RUN}}})", "age"),
                Query(f"clamp_min(3 * max(training_checkpoint_interval_seconds{{{RUN}}}), 1800)", "alert"),
            ),
            width=8,
            low=0,
            dashed=("alert",),
            absent="the run makes no checkpoints",
        ),
    ),
)
