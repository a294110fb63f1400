"""How a run learns: loss, accuracy, learning rate, gradients, and what went wrong."""

from __future__ import annotations

from grafana.board import (
    BLUE,
    ORANGE,
    Curve,
    Query,
    Section,
    Words,
)
from grafana.boards.one_run import RUN, SINCE_BEST

LEARNING = Section(
    Words("Learning", "学习情况"),
    (
        Curve(
            Words("Loss", "损失"),
            Words(
                "Mean loss of each phase. A gap is NaN or infinite; "
                "dashed is the best validation loss. Vertical lines are "
                "alerts, starts and ends; checkpoints and new bests can be switched on above.",
                "各阶段的平均损失。断点表示 NaN 或无穷；"
                "虚线为迄今最佳验证损失。竖线为告警、启动、检查点和结束。",
            ),
            "none",
            (
                Query(f"avg by (phase) (training_loss{{{RUN}}})", "{{phase}}"),
                Query(f'min(training_loss_best{{{RUN}, phase="validation"}})', "best"),
            ),
            height=9,
            dashed=("best",),
            colours=(("train", BLUE), ("validation", ORANGE)),
        ),
        Curve(
            Words("Accuracy", "准确率"),
            Words("Last reported accuracy of each phase.", "各阶段最近一次上报的准确率。"),
            "percentunit",
            (Query(f"avg by (phase) (training_accuracy_ratio{{{RUN}}})", "{{phase}}"),),
            height=9,
            high=1,
            colours=(("train", BLUE), ("validation", ORANGE)),
            absent="the run tells no accuracy",
        ),
        Curve(
            Words("Learning rate", "学习率"),
            Words("Of each parameter group, in powers of ten.", "各参数组的学习率（对数坐标）。"),
            "sci",
            decimals=2,
            queries=(Query(f"max by (group) (training_learning_rate{{{RUN}}})", "group {{group}}"),),
            width=8,
            logarithmic=True,
            absent="the run tells no learning rate",
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
            width=8,
            logarithmic=True,
            absent="the run tells no gradient norm",
        ),
        Curve(
            Words("Epochs without a better loss", "未改善轮次"),
            Words(
                "Climbs while nothing gets better; the plateau alert fires at the dashed line.",
                "没有改善时每轮加一；到达虚线时触发停滞告警。",
            ),
            "none",
            (
                Query(SINCE_BEST.replace("{phase}", ""), "{{phase}}"),
                Query(f"max(training_plateau_patience_epochs{{{RUN}}})", "patience"),
            ),
            width=8,
            low=0,
            dashed=("patience",),
            colours=(("train", BLUE), ("validation", ORANGE)),
        ),
        Curve(
            Words("NaN, spikes, skipped steps", "NaN、突跳、跳过的步"),
            Words(
                "What went wrong in single steps: non-finite values by "
                "kind, losses that stood out, optimizer steps left out.",
                "单步中的异常：各类非有限值、明显突跳的损失、被跳过的优化步。",
            ),
            "short",
            (
                Query(
                    f"sum by (kind) (increase(training_nonfinite_total{{{RUN}}}[$__rate_interval]))",
                    "not finite: {{kind}}",
                ),
                Query(f"max(increase(training_loss_spikes_total{{{RUN}}}[$__rate_interval]))", "loss spikes"),
                Query(
                    f"max by (reason) (increase(training_skipped_steps_total{{{RUN}}}[$__rate_interval]))",
                    "skipped: {{reason}}",
                ),
            ),
            width=8,
            low=0,
            bars=True,
        ),
        Curve(
            Words("Your own metrics", "自定义指标"),
            Words(
                "What the training reports with run.step or run.log beside loss and accuracy, last values.",
                "训练用 run.step 或 run.log 上报的其他指标的最近值。",
            ),
            "none",
            (Query(f"avg by (name, phase) (training_metric{{{RUN}}})", "{{name}} {{phase}}"),),
            width=8,
            absent="the run tells no metric of its own",
        ),
        Curve(
            Words("Loss scale", "损失缩放"),
            Words(
                "Of the mixed-precision GradScaler, in powers of ten. It halves at each overflow; "
                "below 1 it has given up.",
                "混合精度 GradScaler 的缩放系数（对数坐标）。每次溢出减半，低于 1 即已失效。",
            ),
            "short",
            (Query(f"min(training_loss_scale{{{RUN}}})", "scale"),),
            width=8,
            logarithmic=True,
            absent="the run uses no GradScaler",
        ),
    ),
)
