"""Words of events in both languages: how far a run has come, how long it took, what a value is called; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


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


@dataclass(frozen=True)
class Closing:
    """What the history of runs adds to the end of one.

    Attributes:
        verdict: Better, worse or the same, and than what; None where there is nothing to compare with.
        lines: Comparison and curve, a line each.
    """

    verdict: Words | None = None
    lines: tuple[Words, ...] = ()


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
    return Words(f"{where.en}{metric}", f" {where.zh.rstrip()} {metric}")


def metric_value(metric: str, value: float) -> str:
    """Gives a value as people read it."""
    return f"{value:.2%}" if metric == "accuracy" else f"{value:.4g}"


def improvement(best: Best) -> str:
    """Gives by how much a best is better than the one before."""
    change = best.value - best.before
    if best.metric == "accuracy":
        return f"{change * 100:+.2f} pp"
    return f"{change / abs(best.before):+.1%}" if best.before else f"{change:+.4g}"
