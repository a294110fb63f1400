"""What a run tells of itself at the moment it happens, in English and Chinese; pure.

The names are those of the alerts whose rules find the same out later: Alertmanager's inhibition keeps the rule quiet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from .failure import Failure, cut

Language = Literal["en", "zh"]

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
class Words:
    """The same in both languages."""

    en: str
    zh: str

    @classmethod
    def same(cls, text: str) -> Words:
        return cls(text, text)

    def by(self, rewrite: Callable[[str], str]) -> Words:
        """Gives both, rewritten."""
        return Words(rewrite(self.en), rewrite(self.zh))


@dataclass(frozen=True)
class Event:
    """One thing that happened to a run.

    Attributes:
        name: The alert's name.
        at: When it happened, seconds since the epoch.
        said: What happened, in one line, without the run's name.
        lines: What else there is to know, a line each.
        labels: What tells it apart from other events of that name and run.
        lasting_seconds: How long the rule that finds the same out might fire after it.
        final: Whether it is the last one of its run.
    """

    name: str
    severity: str
    at: float
    said: Words
    lines: tuple[Words, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    lasting_seconds: float = 3600.0
    final: bool = False

    @property
    def urgent(self) -> bool:
        """Whether neither it nor what is told before it may wait for the spacing between messages."""
        return self.severity == "critical" or self.final

    def by(self, rewrite: Callable[[str], str]) -> Event:
        """Gives it with all its words rewritten."""
        return replace(self, said=self.said.by(rewrite), lines=tuple(line.by(rewrite) for line in self.lines))


@dataclass(frozen=True)
class Standing:
    """How far a run has come; None for what is not known.

    Attributes:
        seconds: Since its start.
        loss, accuracy: The validation's last values, or the training's loss where there is no validation.
        best_loss, best_accuracy: The best ones with their epochs.
        checkpoint: Where the last checkpoint lies.
    """

    seconds: float
    epochs: int = 0
    planned_epochs: int | None = None
    steps: int = 0
    loss: float | None = None
    accuracy: float | None = None
    best_loss: tuple[float, int | None] | None = None
    best_accuracy: tuple[float, int | None] | None = None
    checkpoint: str | None = None


@dataclass(frozen=True)
class Best:
    """A new best of the monitored value: what it is called, before and now, and the epoch it came in."""

    metric: str
    phase: str
    value: float
    before: float
    epoch: int


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
    )


def finished(at: float, standing: Standing) -> Event:
    """Takes how far a run has come and gives the event that it is done."""
    spent = duration(standing.seconds)
    lines = [
        Words(f"{epochs(standing).en}, {spent.en}", f"{epochs(standing).zh}，用时 {spent.zh}"),
        *value_lines(standing),
        *checkpoint_lines(standing),
    ]
    said = Words("training finished", "训练完成")
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
    return Event(
        "TrainingFailed", "critical", at, said, tuple(lines), labels={"kind": failure.kind}, final=True
    )


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
    )


def detail(name: str, value: str) -> Words:
    """Gives a detail under the name that the user gave it, or in Chinese if it is one of the usual ones."""
    usual = {
        "model": "模型",
        "data": "数据",
        "dataset": "数据集",
        "batch_size": "批大小",
        "batch size": "批大小",
    }
    return Words(f"{name.replace('_', ' ')}: {value}", f"{usual.get(name.lower(), name)}：{value}")


def value_lines(standing: Standing, but: str = "") -> Iterable[Words]:
    """Gives the last and best values but those of one metric, a line each."""
    for metric, value, best in (
        ("accuracy", standing.accuracy, standing.best_accuracy),
        ("loss", standing.loss, standing.best_loss),
    ):
        if value is None or metric == but:
            continue
        name, now = metric_words(metric, "validation"), metric_value(metric, value)
        if best is None or best[1] is None:
            yield Words(f"{name.en} {now}", f"{name.zh} {now}")
            continue
        top = metric_value(metric, best[0])
        yield Words(
            f"{name.en} {now}, best {top} (epoch {best[1]})",
            f"{name.zh} {now}，最佳 {top}（第 {best[1]} 轮）",
        )


def checkpoint_lines(standing: Standing) -> Iterable[Words]:
    """Gives where the model lies, if somebody said so."""
    if standing.checkpoint:
        yield Words(f"checkpoint: {standing.checkpoint}", f"检查点：{standing.checkpoint}")


def epochs(standing: Standing) -> Words:
    """Gives how many epochs are done, of how many; the steps where no epochs are counted."""
    if not standing.epochs and standing.planned_epochs is None:
        return Words(f"{standing.steps} steps", f"{standing.steps} 步")
    if standing.planned_epochs is None:
        return Words(f"{standing.epochs} epochs", f"{standing.epochs} 轮")
    return Words(
        f"{standing.epochs} of {standing.planned_epochs} epochs",
        f"{standing.epochs}/{standing.planned_epochs} 轮",
    )


def duration(seconds: float) -> Words:
    """Takes seconds and gives them as people say them, in two units at most."""
    whole = max(0, round(seconds))
    for unit, smaller, size in (("d", "h", 86_400), ("h", "min", 3600), ("min", "s", 60)):
        if whole >= size:
            rest = whole % size // {"h": 3600, "min": 60, "s": 1}[smaller]
            zh = {"d": "天", "h": "小时", "min": "分", "s": "秒"}
            return Words(
                f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else ""),
                f"{whole // size} {zh[unit]}" + (f" {rest} {zh[smaller]}" if rest else ""),
            )
    return Words(f"{whole} s", f"{whole} 秒")


def metric_words(metric: str, phase: str) -> Words:
    """Gives what a metric of a phase is called."""
    where = {"validation": Words("validation ", "验证"), "train": Words("training ", "训练")}.get(
        phase, Words(f"{phase} ", f"{phase} ")
    )
    if metric == "accuracy":
        return Words("accuracy" if phase == "validation" else f"{where.en}accuracy", f"{where.zh}准确率")
    if metric == "loss":
        return Words(f"{where.en}loss", f"{where.zh}损失")
    return Words(f"{where.en}{metric}", f" {where.zh}{metric}")


def metric_value(metric: str, value: float) -> str:
    """Gives a value as people read it."""
    return f"{value:.2%}" if metric == "accuracy" else f"{value:.4g}"


def improvement(best: Best) -> str:
    """Gives by how much a best is better than the one before."""
    change = best.value - best.before
    if best.metric == "accuracy":
        return f"{change * 100:+.2f} pp"
    return f"{change / abs(best.before):+.1%}" if best.before else f"{change:+.4g}"
