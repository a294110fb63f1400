"""What a run tells of itself at the moment it happens, in English and Chinese; pure.

The names are those of the alerts whose rules find the same out later: Alertmanager's inhibition keeps the rule quiet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from .failure import Failure, cut
from .phrases import (
    Best,
    Closing,
    Standing,
    Words,
    checkpoint_lines,
    detail,
    duration,
    epochs,
    improvement,
    metric_value,
    metric_words,
    value_lines,
)

SEVERITIES = {
    "info": "info",
    "warning": "warning",
    "warn": "warning",
    "error": "critical",
    "critical": "critical",
}
TITLE_LIMIT = 100
TEXT_LIMIT = 1000


@dataclass(frozen=True)
class Event:
    """One thing that happened to a run.

    Attributes:
        name: The alert's name.
        at: When it happened, seconds since the epoch.
        said: What happened, in one line, without the run's name.
        lines: What else there is to know, a line each.
        labels: What tells it apart from other events of that name and run. An event of a job has `job_name`, and may
            have the `run` that the job made.
        lasting_seconds: How long the rule that finds the same out might fire after it.
        final: Whether it is the last one of its run.
        shared: Whether several ranks of a job may tell it alike.
        link: Address of a report on it; empty if there is none.
    """

    name: str
    severity: str
    at: float
    said: Words
    lines: tuple[Words, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    lasting_seconds: float = 3600.0
    final: bool = False
    shared: bool = False
    link: str = ""

    @property
    def urgent(self) -> bool:
        """Whether neither it nor what is told before it may wait for the spacing between messages."""
        return self.severity == "critical" or self.final

    def subject(self, run: str) -> str:
        """Takes the run of the channel it is told through and gives whom it is about: that, or a job."""
        return self.labels.get("job_name", run)

    def by(self, rewrite: Callable[[str], str]) -> Event:
        """Gives it with all its words rewritten."""
        return replace(self, said=self.said.by(rewrite), lines=tuple(line.by(rewrite) for line in self.lines))


def started(
    at: float, details: Mapping[str, str], gpus: str, planned_epochs: int | None, restarts: int | None
) -> Event:
    """Takes what is known before the first step and gives the event that a run has started."""
    lines = [detail(name, value) for name, value in details.items()]
    if gpus:
        lines.append(Words.same(f"GPU: {gpus}"))
    if planned_epochs is not None:
        lines.append(Words(f"epochs planned: {planned_epochs}", f"计划轮数：{planned_epochs}"))
    said = Words("training started", "训练开始")
    if restarts:
        said = Words(f"training started again (restart {restarts})", f"训练重新开始（第 {restarts} 次重启）")
    return Event("TrainingStarted", "info", at, said, tuple(lines))


def new_best(at: float, best: Best, standing: Standing) -> Event:
    """Takes a new best and gives its event, improvement and epoch included."""
    value, before = metric_value(best.metric, best.value), metric_value(best.metric, best.before)
    name = metric_words(best.metric, best.phase)
    change = improvement(best)
    lines = [
        Words(
            f"{before} → {value} ({change}), epoch {best.epoch}",
            f"{before} → {value}（{change}），第 {best.epoch} 轮",
        ),
        *value_lines(standing, but=best.metric),
    ]
    return Event(
        "TrainingNewBest",
        "info",
        at,
        Words(f"new best {name.en} {value}", f"新的最佳{name.zh} {value}"),
        tuple(lines),
        labels={"epoch": str(best.epoch)},
        # The rule fires for five minutes after the last best, and is told after another one.
        lasting_seconds=900.0,
        shared=True,
    )


def finished(at: float, standing: Standing, closing: Closing | None = None) -> Event:
    """Takes how far a run has come, what the history says of it, and gives the event that it is done."""
    closing = closing or Closing()
    spent = duration(standing.seconds)
    lines = [
        Words(f"{epochs(standing).en}, {spent.en}", f"{epochs(standing).zh}，用时 {spent.zh}"),
        *value_lines(standing),
        *closing.lines,
        *checkpoint_lines(standing),
    ]
    said = Words("training finished", "训练完成")
    if closing.verdict is not None:
        said = Words(f"{said.en}, {closing.verdict.en}", f"{said.zh}，{closing.verdict.zh}")
    return Event("TrainingFinished", "info", at, said, tuple(lines), final=True)


def interrupted(at: float, standing: Standing, cause: str) -> Event:
    """Takes how far a run has come and what stopped it ("SIGINT", "SIGTERM", "" if unknown), gives its event."""
    how = {
        "SIGINT": Words("interrupted by hand (SIGINT)", "被手动中断（SIGINT）"),
        "SIGTERM": Words("terminated from outside (SIGTERM)", "被外部终止（SIGTERM）"),
    }.get(cause, Words("ended before it was finished", "未完成即结束"))
    spent = duration(standing.seconds)
    lines = [
        Words(
            f"after {epochs(standing).en}, {spent.en}", f"此前已完成 {epochs(standing).zh}，用时 {spent.zh}"
        ),
        *value_lines(standing),
        *checkpoint_lines(standing),
    ]
    return Event("TrainingInterrupted", "info", at, how, tuple(lines), final=True)


def failed(at: float, standing: Standing, failure: Failure) -> Event:
    """Takes how far a run has come and the exception that ended it, gives its event: memory, stack, progress."""
    said = Words.same(failure.headline)
    if failure.kind == "cuda_oom":
        # torch's message begins with the very words.
        said = Words(failure.message, f"显存不足：{failure.message}")
    elif not failure.type:
        said = Words("training failed", "训练失败")
    spent = duration(standing.seconds)
    lines = [
        Words(
            f"after {epochs(standing).en}, {spent.en}", f"此前已完成 {epochs(standing).zh}，用时 {spent.zh}"
        ),
        *map(Words.same, failure.memory),
        *map(Words.same, failure.stack),
        *value_lines(standing),
        *checkpoint_lines(standing),
    ]
    labels = {"kind": failure.kind}
    return Event("TrainingFailed", "critical", at, said, tuple(lines), labels=labels, final=True, shared=True)


def own(at: float, title: str, text: str, severity: str, number: int) -> Event:
    """Takes what the user tells and gives its event; `number` counts those that say the same."""
    lines = [cut(line, TEXT_LIMIT) for line in text[:TEXT_LIMIT].splitlines() if line.strip()]
    said = hashlib.sha256(f"{title}\0{text}\0{number}".encode("utf-8", "replace")).hexdigest()[:12]
    return Event(
        "TrainingEvent",
        severity,
        at,
        Words.same(cut(title, TITLE_LIMIT)),
        tuple(map(Words.same, lines)),
        labels={"event_id": said},
        shared=True,
    )
