"""A run's report as data: what each section says, in one language, before it is HTML or Markdown; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from epochwatch.phrases import Words, detail, duration, metric_value, metric_words

from . import vocabulary as v
from . import wording
from .account import Account, Against
from .listing import epochs, moment
from .record import Curve, GpuUse, Head, Raised, Record

Language = Literal["zh", "en"]
Row = tuple[str, ...]
Say = Callable[[Words], str]


@dataclass(frozen=True)
class Share:
    """A part of a whole: what it is called, how long it took, and its ratio."""

    name: str
    took: str
    ratio: float


def speaker(language: Language) -> Say:
    """Gives what says words in a language."""
    return (lambda words: words.en) if language == "en" else (lambda words: words.zh)


def state_at(head: Head, now: float) -> Words:
    """Gives the run's state in words."""
    state = head.state_at(now)
    return v.STATES.get(state, Words.same(state))


def what_ran(record: Record, say: Say) -> Iterator[tuple[str, str]]:
    """Gives names and values of all that is known of a run."""
    head, facts = record.head, record.facts
    for name, value in {**facts.labels, **facts.details}.items():
        called = say(detail(name, ""))
        yield called.rstrip(":： "), value
    yield say(v.EPOCHS), epochs(head)
    yield say(v.STEPS), f"{head.steps:,}"
    if facts.samples:
        yield say(v.SAMPLES), f"{facts.samples:,}"
    yield say(v.STARTED), moment(head.started_at)
    yield say(v.SEEN if head.ended_at is None else v.ENDED), moment(head.ended_at or head.seen_at)
    yield say(v.TOOK), say(duration(head.seconds))
    known = {
        v.FAILURE: facts.failure,
        v.CHECKPOINT: facts.checkpoint,
        v.HOST: facts.host,
        v.FRAMEWORK: facts.framework,
        v.COMMIT: facts.git_commit[:12],
        v.RANKS: str(facts.world_size) if facts.world_size > 1 else "",
        v.RESTART: str(facts.restarts) if facts.restarts else "",
        v.RUN_ID: head.run_id,
    }
    yield from ((say(name), value) for name, value in known.items() if value)


def compared(against: Against, say: Say) -> Iterator[Row]:
    """Gives a row for each value that both runs have."""
    first = [one for one in against.others if one.metric == against.judged.metric] or [against.judged]
    for one in (*first, *(other for other in against.others if other.metric != against.judged.metric)):
        yield (
            say(wording.name_of(one)),
            wording.shown(one, one.reference.value),
            wording.shown(one, one.candidate.value),
            wording.difference(one),
            f"{wording.MARKS[one.verdict]} {say(wording.SHORT[one.verdict])}",
        )


def values(record: Record, say: Say) -> Iterator[Row]:
    """Gives best and last value of each curve; of one whose direction nobody knows, lowest and highest."""
    for curve in record.curves.values():
        if curve.metric == "loss_ewma" or curve.metric.startswith("learning_rate"):
            continue
        yield _value_row(curve, record, say)


def _value_row(curve: Curve, record: Record, say: Say) -> Row:
    name = say(metric_words(curve.metric, curve.phase)).strip()
    final = number(curve.metric, curve.final)
    mode = wording.mode_or_none(f"{curve.phase}/{curve.metric}", record)
    if mode is None:
        low, high = (
            "–" if extreme is None else metric_value(curve.metric, extreme.value)
            for extreme in (curve.lowest, curve.highest)
        )
        return name, f"{low} … {high}", "", final
    best = curve.best(mode)
    if best is None:
        return name, "NaN", "", final
    return name, metric_value(curve.metric, best.value), str(best.epoch), final


def shares(seconds: Mapping[str, float], names: Mapping[str, Words], say: Say) -> list[Share]:
    """Takes seconds by name and gives each that took any, with its part of the whole."""
    whole = sum(seconds.values())
    return [
        Share(say(names.get(name, Words.same(name))), say(short_duration(spent)), spent / whole)
        for name, spent in seconds.items()
        if spent > 0 and whole > 0
    ]


def goodput(seconds: Mapping[str, float]) -> float | None:
    """Gives the part of the time that was training; None without any."""
    whole = sum(seconds.values())
    return seconds.get("train", 0.0) / whole if whole > 0 else None


def gpu_row(use: GpuUse) -> Row:
    """Gives what one GPU did."""
    memory = use.memory_peak_bytes if use.memory_peak_bytes is not None else use.allocated_peak_bytes
    total = "" if use.memory_total_bytes is None else f" / {use.memory_total_bytes / 2**30:.0f}"
    return (
        f"{use.gpu} {use.name}".strip(),
        "–" if use.utilization_mean_ratio is None else f"{use.utilization_mean_ratio:.0%}",
        "–" if memory is None else f"{memory / 2**30:.1f}{total} GiB",
        "–" if use.power_mean_watts is None else f"{use.power_mean_watts:.0f} W",
        "–" if use.temperature_peak_celsius is None else f"{use.temperature_peak_celsius:.0f} °C",
        "–" if use.energy_joules is None else energy(use.energy_joules),
    )


def raised_row(raised: Raised, say: Say) -> Row:
    """Gives when, how bad, what, and what it said."""
    said = say(Words(raised.said_en, raised.said_zh))
    severity = say(v.SEVERITIES.get(raised.severity, Words.same(raised.severity)))
    return moment(raised.at), severity, say(v.ALERTS.get(raised.name, Words.same(raised.name))), said


def counts(record: Record, say: Say) -> list[str]:
    """Gives what was counted and is not as it should be."""
    return [f"{say(v.count_words(kind))}: {count:,}" for kind, count in record.facts.counts.items()]


def number(metric: str, value: float) -> str:
    """Gives a value as people read it, also one that is not finite."""
    return metric_value(metric, value) if math.isfinite(value) else str(value).replace("nan", "NaN")


def short_duration(seconds: float) -> Words:
    """Gives a duration, with a digit behind the point where it is below 10 seconds."""
    return duration(seconds) if seconds >= 10 else Words(f"{seconds:.1f} s", f"{seconds:.1f} 秒")


def energy(joules: float) -> str:
    """Gives an energy in kWh, or Wh if it is less than a tenth of one."""
    kilowatt_hours = joules / 3.6e6
    return f"{kilowatt_hours:.2f} kWh" if kilowatt_hours >= 0.1 else f"{kilowatt_hours * 1000:.1f} Wh"


def headline(account: Account, say: Say, now: float) -> str:
    """Gives the report in one line: state, and the verdict if there is one."""
    said = say(state_at(account.record.head, now))
    for against in account.against[:1]:
        verdict = wording.VERDICTS[against.judged.verdict]
        said += say(Words(f", {verdict.en} {against.called.en}", f"，{verdict.zh}{against.called.zh}"))
    return said
