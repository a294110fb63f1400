"""What a comparison says to people, in English and Chinese; pure."""

from __future__ import annotations

import math

from epochwatch.errors import ComparisonError
from epochwatch.phrases import Words, metric_value, metric_words

from .comparison import Comparison, Verdict, known_mode
from .record import Mode, Record

MARKS: dict[Verdict, str] = {"better": "▲", "same": "≈", "worse": "▼"}
VERDICTS: dict[Verdict, Words] = {
    "better": Words("better than", "优于"),
    "same": Words("as good as", "持平于"),
    "worse": Words("worse than", "差于"),
}

SHORT: dict[Verdict, Words] = {
    "better": Words("better", "更好"),
    "same": Words("the same", "持平"),
    "worse": Words("worse", "更差"),
}


def name_of(comparison: Comparison) -> Words:
    """Gives what the compared value is called."""
    words = metric_words(comparison.name, comparison.phase)
    return words.by(str.strip)


def shown(comparison: Comparison, value: float) -> str:
    """Gives a value as people read it."""
    return metric_value(comparison.name, value) if math.isfinite(value) else "NaN"


def difference(comparison: Comparison) -> str:
    """Gives candidate minus reference: percentage points of an accuracy, else with its share of the reference."""
    change, reference = comparison.change, comparison.reference.value
    if not math.isfinite(change):
        return "–"
    if comparison.name == "accuracy":
        return f"{change * 100:+.2f} pp"
    share = f" ({change / abs(reference):+.1%})" if reference else ""
    return f"{change:+.4g}{share}"


def sentence(comparison: Comparison, reference: Words) -> Words:
    """Gives the whole comparison in one line: mark, verdict, both values, the difference.

    Args:
        reference: What the run is called that it is held against.
    """
    verdict, mark = VERDICTS[comparison.verdict], MARKS[comparison.verdict]
    name, values = name_of(comparison), (comparison.reference.value, comparison.candidate.value)
    before, now = (shown(comparison, value) for value in values)
    by = difference(comparison)
    return Words(
        f"{mark} {verdict.en} {reference.en}: {name.en} {before} → {now}, {by}",
        f"{mark} {verdict.zh}{reference.zh}：{name.zh} {before} → {now}，{by}",
    )


def previous_run(run_id: str) -> Words:
    """Gives what the previous run of the same name is called."""
    return Words(f"the previous run ({run_id[:8]})", f"上一次训练（{run_id[:8]}）")


def baseline(name: str) -> Words:
    """Gives what a baseline is called."""
    return Words(f"baseline {name}", f"基线 {name}")


def rule(comparison: Comparison) -> Words:
    """Gives what the verdict goes by."""
    by = {"best": Words("best", "最佳值"), "final": Words("last", "最终值")}[comparison.at]
    better = {"min": Words("less is better", "越小越好"), "max": Words("more is better", "越大越好")}[
        comparison.mode
    ]
    name = name_of(comparison)
    return Words(
        f"{by.en} {name.en}, {better.en}, differences up to {comparison.tolerance} count as none",
        f"按{name.zh}的{by.zh}，{better.zh}，相差不超过 {comparison.tolerance} 视为持平",
    )


def caveats(comparison: Comparison) -> list[Words]:
    """Gives what a reader should know before trusting the verdict, a line each."""
    lines = []
    if comparison.equal_epochs is not None:
        before, now = (shown(comparison, value.value) for value in comparison.equal_epochs)
        lines.append(
            Words(
                f"the runs differ in length; after as many epochs: {before} → {now}",
                f"两次训练轮数不同；相同轮数时：{before} → {now}",
            )
        )
    if comparison.diverged:
        lines.append(
            Words(
                "its last value is not finite: it diverged after its best",
                "最后一个值非有限数：最佳之后已发散",
            )
        )
    return lines


def mode_or_none(metric: str, record: Record) -> Mode | None:
    """Gives whether less or more of a value is better; None if nobody says so."""
    try:
        return known_mode(metric, record)
    except ComparisonError:
        return None
