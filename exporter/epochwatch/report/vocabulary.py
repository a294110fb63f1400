"""The words of a report in both languages, by what they name; pure."""

from __future__ import annotations

from epochwatch.phrases import Words

STATES = {
    "starting": Words("starting", "启动中"),
    "training": Words("training", "训练中"),
    "evaluating": Words("evaluating", "评估中"),
    "checkpointing": Words("writing a checkpoint", "保存检查点"),
    "finished": Words("finished", "已完成"),
    "failed": Words("failed", "失败"),
    "interrupted": Words("interrupted", "被中断"),
    "vanished": Words("vanished", "已消失"),
}
PHASES = {
    "startup": Words("start-up", "启动"),
    "train": Words("training", "训练"),
    "evaluate": Words("evaluation", "评估"),
    "checkpoint": Words("checkpoints", "检查点"),
    "idle": Words("idle", "空闲"),
}
PARTS = {
    "data_wait": Words("waiting for data", "等待数据"),
    "forward": Words("forward", "前向"),
    "backward": Words("backward", "反向"),
    "optimizer": Words("optimizer", "优化器"),
    "sync_wait": Words("waiting for other ranks", "等待其他进程"),
    "other": Words("other", "其他"),
}
COUNTS = {
    "nonfinite loss": Words("losses that were not finite", "非有限的损失值"),
    "nonfinite metric": Words("metrics that were not finite", "非有限的指标值"),
    "nonfinite gradient": Words("gradients that were not finite", "非有限的梯度"),
    "loss_spikes": Words("loss spikes", "损失突增"),
    "exceptions cuda_oom": Words("CUDA out of memory", "显存不足"),
    "exceptions other": Words("exceptions", "异常"),
}
SEVERITIES = {
    "info": Words("info", "提示"),
    "warning": Words("warning", "警告"),
    "critical": Words("critical", "严重"),
}
ALERTS = {
    "TrainingEvent": Words("own event", "自定义消息"),
    "TrainingFailed": Words("training failed", "训练失败"),
    "TrainingInterrupted": Words("training interrupted", "训练被中断"),
}
WHAT_RAN = Words("What ran", "训练信息")
COMPARISON = Words("Comparison", "对比")
CURVES = Words("Curves", "曲线")
VALUES = Words("Values", "指标")
TIME = Words("Where the time went", "时间分布")
STEP = Words("Within the steps", "训练步内部")
GPUS = Words("GPUs", "GPU")
ALERTS_RAISED = Words("Alerts and events", "告警与消息")
NOTHING_RAISED = Words("None.", "无。")
FIRST_RUN = Words(
    "There is nothing to compare with yet: no earlier run of this name has finished, and no baseline is named.",
    "暂无可对比的训练：没有同名的已完成训练，也未指定基线。",
)
VALUES_HEADING = (
    Words("value", "指标"),
    Words("best", "最佳"),
    Words("epoch", "轮"),
    Words("last", "最终"),
)
COMPARED_HEADING = (
    Words("value", "指标"),
    Words("reference", "对比对象"),
    Words("this run", "本次"),
    Words("difference", "差值"),
    Words("", ""),
)
GPU_HEADING = (
    Words("GPU", "GPU"),
    Words("utilization", "利用率"),
    Words("memory, peak", "显存峰值"),
    Words("power", "功率"),
    Words("temperature, peak", "最高温度"),
    Words("energy", "能耗"),
)
EPOCHS = Words("epochs", "轮数")
STEPS = Words("steps", "步数")
SAMPLES = Words("samples", "样本数")
STARTED = Words("started", "开始")
ENDED = Words("ended", "结束")
SEEN = Words("last seen", "最后可见")
TOOK = Words("took", "用时")
HOST = Words("host", "主机")
FRAMEWORK = Words("framework", "框架")
COMMIT = Words("git commit", "Git 提交")
RANKS = Words("ranks", "进程数")
RESTART = Words("restart", "重启次数")
CHECKPOINT = Words("checkpoint", "检查点")
FAILURE = Words("failure", "失败原因")
RUN_ID = Words("run id", "训练 ID")
BY_EPOCH = Words("by epoch", "横轴：轮")
BY_STEP = Words("by step", "横轴：步")
LOGARITHMIC = Words("logarithmic", "对数坐标")
REFERENCE = Words("dashed", "虚线")
ODD = Words("dotted: not finite", "点线：非有限值")
GOODPUT = Words("of the time was training", "的时间用于训练")


def count_words(kind: str) -> Words:
    """Gives what a count is called."""
    if kind.startswith("skipped_steps "):
        reason = kind.removeprefix("skipped_steps ")
        return Words(f"skipped steps ({reason})", f"跳过的步（{reason}）")
    return COUNTS.get(kind, Words.same(kind))
