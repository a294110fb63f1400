"""Dashboard "Training run": one run, from its state down to its GPUs.

Where a run has several ranks, a loss is averaged over those that know one (with pipeline parallelism not all
do), a count is the furthest rank's, a rate is summed.
"""

from __future__ import annotations

from grafana.board import (
    BLUE,
    RED,
    Board,
    Curve,
    Mark,
    Number,
    Query,
    Section,
    States,
    Variable,
    Words,
)

RUN = 'run="$run"'
STEP_BUCKETS = f"sum by (le) (rate(training_step_duration_seconds_bucket{{{RUN}}}[$__rate_interval]))"
DEVICE = "rank {{rank}} GPU {{gpu}}"

NOW = Section(
    Words("Now", "当前"),
    (
        Number(
            Words("State", "状态"),
            Words("What the training loop does at this moment.", "训练循环此刻在做什么。"),
            "none",
            (Query(f"max by (state) (training_run_state{{{RUN}}} == 1)", "{{state}}"),),
            by_name=True,
        ),
        Number(
            Words("Epochs", "轮次"),
            Words("Completed epochs, resumed ones included.", "已完成的轮次，含恢复前的。"),
            "none",
            (Query(f"max(training_epochs{{{RUN}}})"),),
        ),
        Number(
            Words("Planned done", "完成比例"),
            Words(
                "Completed epochs as part of the planned ones; no data if the run was not told how many.",
                "已完成轮次占计划轮次的比例；未告知计划轮次时无数据。",
            ),
            "percentunit",
            (Query(f"max(training_epochs{{{RUN}}}) / max(training_planned_epochs{{{RUN}}})"),),
        ),
        Number(
            Words("Best validation loss", "最佳验证损失"),
            Words("Lowest finite validation loss so far.", "迄今最低的有限验证损失。"),
            "none",
            (Query(f'min(training_loss_best{{{RUN}, phase="validation"}})'),),
            decimals=4,
        ),
        Number(
            Words("Epochs without a better loss", "未改善轮次"),
            Words(
                "Epochs since the best validation loss. At the run's patience the plateau alert fires.",
                "距最佳验证损失已过的轮次。达到该任务的耐心值时触发停滞告警。",
            ),
            "none",
            (
                Query(
                    f"max(training_epochs{{{RUN}}})"
                    f' - max(training_loss_best_epoch{{{RUN}, phase="validation"}})'
                ),
            ),
        ),
        Number(
            Words("Since the last progress", "距上次进展"),
            Words(
                "Time since the last step, evaluation batch or checkpoint part of the slowest rank.",
                "最慢进程距上一个训练步、评估批次或检查点的时间。",
            ),
            "s",
            (Query(f"time() - min(training_last_progress_timestamp_seconds{{{RUN}}})"),),
        ),
        States(
            Words("States", "状态变化"),
            Words("What the loop did, over time.", "训练循环各时段在做什么。"),
            "none",
            (Query(f"max by (state) (training_run_state{{{RUN}}}) == 1", "{{state}}"),),
        ),
    ),
)

LEARNING = Section(
    Words("Learning", "学习情况"),
    (
        Curve(
            Words("Loss", "损失"),
            Words(
                "Mean loss of each phase. A gap is NaN or infinite; dashed is the best validation loss.",
                "各阶段的平均损失。断点表示 NaN 或无穷；虚线为迄今最佳验证损失。",
            ),
            "none",
            (
                Query(f"avg by (phase) (training_loss{{{RUN}}})", "{{phase}}"),
                Query(f'min(training_loss_best{{{RUN}, phase="validation"}})', "best"),
            ),
            dashed=("best",),
        ),
        Curve(
            Words("Accuracy", "准确率"),
            Words("Last reported accuracy of each phase.", "各阶段最近一次上报的准确率。"),
            "percentunit",
            (Query(f"avg by (phase) (training_accuracy_ratio{{{RUN}}})", "{{phase}}"),),
            high=1,
        ),
        Curve(
            Words("Learning rate", "学习率"),
            Words("Of each parameter group, in powers of ten.", "各参数组的学习率（对数坐标）。"),
            "sci",
            (Query(f"max by (group) (training_learning_rate{{{RUN}}})", "{{group}}"),),
            logarithmic=True,
        ),
        Curve(
            Words("Gradient norm", "梯度范数"),
            Words(
                "Global L2 norm before clipping, in powers of ten. Growing without end: diverging; "
                "falling to nothing: no longer learning.",
                "裁剪前的全局 L2 范数（对数坐标）。持续增大意味着发散，趋近于零意味着不再学习。",
            ),
            "none",
            (Query(f"max(training_gradient_norm{{{RUN}}})", "norm"),),
            logarithmic=True,
        ),
        Curve(
            Words("Epochs without a better loss", "未改善轮次"),
            Words(
                "Climbs while nothing gets better; the plateau alert fires at the dashed line.",
                "没有改善时每轮加一；到达虚线时触发停滞告警。",
            ),
            "none",
            (
                Query(
                    f"scalar(max(training_epochs{{{RUN}}}))"
                    f" - max by (phase) (training_loss_best_epoch{{{RUN}}})",
                    "{{phase}}",
                ),
                Query(f"max(training_plateau_patience_epochs{{{RUN}}})", "patience"),
            ),
            low=0,
            dashed=("patience",),
        ),
        Curve(
            Words("NaN and infinite values", "NaN 与无穷值"),
            Words("Non-finite values seen since the start, by kind.", "启动以来出现的非有限值，按种类。"),
            "none",
            (Query(f"sum by (kind) (training_nonfinite_total{{{RUN}}})", "{{kind}}"),),
            low=0,
        ),
    ),
)

SPEED = Section(
    Words("Speed", "速度"),
    (
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
            Words("Samples a second", "每秒样本数"),
            Words("Samples trained on, all ranks together.", "所有进程合计每秒训练的样本数。"),
            "none",
            (Query(f"sum(rate(training_samples_total{{{RUN}}}[$__rate_interval]))", "samples"),),
            low=0,
        ),
    ),
)

GPU = Section(
    Words("GPU", "GPU"),
    (
        Curve(
            Words("GPU utilization", "GPU 利用率"),
            Words(
                "Part of the time in which a kernel ran. Low while training: the loop waits for data.",
                "有核函数运行的时间占比。训练中偏低通常是在等数据。",
            ),
            "percentunit",
            (Query(f"max by (rank, gpu) (training_gpu_utilization_ratio{{{RUN}}})", DEVICE),),
            width=8,
            low=0,
            high=1,
        ),
        Curve(
            Words("GPU memory", "显存"),
            Words(
                "Device memory in use by all processes; dashed is what there is.",
                "所有进程占用的显存；虚线为显存总量。",
            ),
            "bytes",
            (
                Query(f"max by (rank, gpu) (training_gpu_memory_used_bytes{{{RUN}}})", DEVICE),
                Query(f"max(training_gpu_memory_total_bytes{{{RUN}}})", "total"),
            ),
            width=8,
            low=0,
            dashed=("total",),
        ),
        Curve(
            Words("GPU temperature", "GPU 温度"),
            Words(
                "Temperature of the chip; at the dashed line the device slows itself down.",
                "芯片温度；到达虚线时设备会自行降频。",
            ),
            "celsius",
            (
                Query(f"max by (rank, gpu) (training_gpu_temperature_celsius{{{RUN}}})", DEVICE),
                Query(f"min(training_gpu_slowdown_temperature_celsius{{{RUN}}})", "slow-down"),
            ),
            width=8,
            dashed=("slow-down",),
        ),
    ),
)

TRAINING_RUN = Board(
    uid="epochwatch-run",
    title=Words("Training run", "训练任务"),
    description=Words(
        "One training: does it run, does it learn, how fast, and how are its GPUs.",
        "单个训练任务：是否在运行、是否在学习、速度如何、GPU 状况如何。",
    ),
    variables=(Variable("run", Words("Run", "任务"), "label_values(training_run_info, run)"),),
    sections=(NOW, LEARNING, SPEED, GPU),
    marks=(
        Mark(
            Words("Alerts", "告警"),
            f'ALERTS{{{RUN}, alertstate="firing"}}',
            "{{alertname}}",
            "{{severity}}",
            RED,
        ),
        Mark(
            Words("Starts", "启动"),
            f"training_start_timestamp_seconds{{{RUN}}} * 1000",
            "start",
            "{{run}}",
            BLUE,
            value_is_time=True,
        ),
    ),
)
