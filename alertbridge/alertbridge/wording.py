"""The words and colours of messages, as data: severities, names of the shipped alerts, names of links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alertbridge.settings import Language

Level = Literal["critical", "warning", "info", "other"]

# What other people's rules call the same; whatever else a rule says is shown as it is said.
LEVELS: dict[str, Level] = {
    "critical": "critical",
    "error": "critical",
    "fatal": "critical",
    "page": "critical",
    "warning": "warning",
    "warn": "warning",
    "info": "info",
    "information": "info",
    "none": "info",
}
RANKS: dict[Level, int] = {"critical": 0, "warning": 1, "other": 2, "info": 3}


@dataclass(frozen=True)
class Sign:
    """How something looks at a glance."""

    emoji: str
    colour: str


SIGNS: dict[Level, Sign] = {
    "critical": Sign("🔴", "#D93026"),
    "warning": Sign("🟠", "#C25E00"),
    "other": Sign("🔔", "#5F6368"),
    "info": Sign("🔵", "#1A66CC"),
}
# Neither a tick nor green: an alert also ends because the process that it is about has died.
RESOLVED_SIGN = Sign("⚪", "#80868B")
DIGEST_EMOJI = "📋"
EVENT_EMOJI = {
    "TrainingStarted": "🚀",
    "TrainingNewBest": "🏆",
    "TrainingFinished": "🏁",
    "TrainingInterrupted": "✋",
    "TrainingJobFinished": "🏁",
    "TrainingJobInterrupted": "✋",
    "TrainingJobRestarted": "🔁",
}

SEVERITY_WORDS: dict[Language, dict[Level, str]] = {
    "zh": {"critical": "严重", "warning": "警告", "info": "提示", "other": "告警"},
    "en": {"critical": "CRITICAL", "warning": "WARNING", "info": "INFO", "other": "ALERT"},
}
RESOLVED_WORDS: dict[Language, str] = {"zh": "已解除", "en": "RESOLVED"}
DIGEST_WORDS: dict[Language, str] = {"zh": "告警汇总", "en": "DIGEST"}
LINK_WORDS: dict[Language, dict[str, str]] = {
    "zh": {
        "report": "训练报告",
        "dashboard": "仪表盘",
        "silence": "静默",
        "runbook": "处理手册",
        "alerts": "全部告警",
    },
    "en": {
        "report": "Report",
        "dashboard": "Dashboard",
        "silence": "Silence",
        "runbook": "Runbook",
        "alerts": "All alerts",
    },
}
PHASE_WORDS: dict[Language, dict[str, str]] = {
    "zh": {"validation": "验证损失", "train": "训练损失"},
    "en": {"validation": "Validation loss", "train": "Training loss"},
}

_NAMES: dict[str, tuple[str, str]] = {
    "TrainingFailed": ("训练失败", "Training failed"),
    "TrainingProcessDied": ("训练进程消失", "Training process is gone"),
    "TrainingStalled": ("训练卡住不动", "Training is stalled"),
    "TrainingLossNonFinite": ("损失变为 NaN 或无穷", "Loss is NaN or infinite"),
    "TrainingOutOfMemory": ("显存或内存不足", "Out of memory"),
    "TrainingGpuXid": ("GPU 硬件报错 (Xid)", "GPU error (Xid)"),
    "TrainingGpuEccUncorrectable": ("GPU 显存出现不可纠正错误", "GPU memory error, uncorrectable"),
    "TrainingJobFailed": ("任务失败", "Job failed"),
    "TrainingJobMissedStart": ("任务没有按时启动", "Job did not start on time"),
    "TrainingSchedulerAbsent": ("调度器失联", "Scheduler is absent"),
    "TrainingLossPlateau": ("损失不再下降", "Loss has stopped improving"),
    "TrainingLossDiverging": ("损失发散", "Loss is diverging"),
    "TrainingLossSpikes": ("损失突跳", "Loss spikes"),
    "TrainingGradientExploding": ("梯度爆炸", "Gradients explode"),
    "TrainingGradientVanishing": ("梯度消失", "Gradients vanish"),
    "TrainingStepsSkipped": ("大量优化步被跳过", "Steps are being skipped"),
    "TrainingLossScaleCollapsed": ("损失缩放系数崩塌", "Loss scale has collapsed"),
    "TrainingThroughputDrop": ("训练速度下降", "Throughput has dropped"),
    "TrainingInputBound": ("训练在等待数据", "Training waits for data"),
    "TrainingStraggler": ("有进程拖慢全局", "A rank holds the others up"),
    "TrainingRanksDesynced": ("各进程步数不一致", "Ranks are out of step"),
    "TrainingCheckpointStale": ("检查点太久没有保存", "Checkpoint is overdue"),
    "TrainingRestartLoop": ("训练反复重启", "Training restarts again and again"),
    "TrainingGpuIdle": ("GPU 空闲", "GPU is idle"),
    "TrainingGpuThrottled": ("GPU 被降频", "GPU is throttled"),
    "TrainingGpuHot": ("GPU 过热", "GPU is hot"),
    "TrainingGpuMemoryPressure": ("显存即将用尽", "GPU memory is nearly full"),
    "TrainingJobOverrunning": ("任务运行过久", "Job runs too long"),
    "TrainingOverfitting": ("出现过拟合", "Overfitting"),
    "TrainingStarted": ("训练开始", "Training started"),
    "TrainingNewBest": ("新的最佳成绩", "New best"),
    "TrainingFinished": ("训练完成", "Training finished"),
    "TrainingInterrupted": ("训练被中断", "Training interrupted"),
    "TrainingEvent": ("训练消息", "Training event"),
    "TrainingJobFinished": ("任务完成", "Job finished"),
    "TrainingJobInterrupted": ("任务被中断", "Job interrupted"),
    "TrainingJobRestarted": ("任务重新启动", "Job is started again"),
    "TrainingExporterDegraded": ("部分指标采集不到", "Some metrics are missing"),
    "AlertbridgeTest": ("测试消息", "Test message"),
    "AlertbridgeWebhookRefused": ("有告警未能送达", "Alerts are missing"),
    "MonitoringSilent": ("监控已沉默", "Monitoring is silent"),
    "AlertbridgeDown": ("告警桥失联", "Alertbridge is down"),
    "AlertbridgeDeliveryFailing": ("告警消息发送失败", "Messages cannot be delivered"),
    "AlertbridgeBacklog": ("告警消息积压", "Messages pile up"),
    "AlertbridgeRobotLimited": ("机器人被限流", "Robot is rate-limited"),
    "AlertbridgeQuotaNearlySpent": ("机器人月度配额即将用尽", "Robot's monthly quota is nearly spent"),
    "Watchdog": ("监控心跳", "Watchdog"),
}


def level_of(severity: str) -> Level:
    """Takes a `severity` label, gives how it is shown."""
    return LEVELS.get(severity.lower(), "other")


def alert_name(alertname: str, language: Language) -> str:
    """Takes an alert's name, gives it in words if it is one of the shipped rules, else as it is."""
    names = _NAMES.get(alertname)
    return alertname if names is None else names[0 if language == "zh" else 1]
