"""What a template sees of one alert: words, local times and harmless texts, nothing raw. Pure.

The attributes of `AlertView` are the contract with the templates of `templates_dir`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from alertbridge import moments, wording
from alertbridge.markdown import Markdown, clean
from alertbridge.settings import Language
from alertbridge.webhook import Alert

NAME_LIMIT = 60
LABEL_LIMIT = 120
SUMMARY_LIMIT = 300
DESCRIPTION_LIMIT = 1000
MOST_DETAILS = 12
MOST_LABELS = 60
MOST_LINES = 12

JOB_ALERTS = "TrainingJob"
SUBJECT_LABELS = ("run", "job_name", "gpu", "instance", "job")
# Said elsewhere in the message, or of no use on a phone.
UNLISTED_LABELS = frozenset(
    {"alertname", "severity", "event", "mention", "run", "job", "run_id", "prometheus"}
)


@dataclass(frozen=True)
class Lens:
    """How a notification is looked at: language, time zone, the present, and how far texts are cut."""

    language: Language
    zone: ZoneInfo
    now: datetime
    grafana_url: str = ""
    runbooks_url: str = ""
    scale: float = 1.0

    def cleaned(self, text: str, limit: int) -> Markdown:
        """Takes foreign text, gives it harmless and at most `limit` characters long at full scale."""
        return clean(text, max(int(limit * self.scale), 8))

    def time(self, moment: datetime) -> str:
        """Takes a moment, gives it in local time."""
        return moments.local_time(moment, self.zone, self.now)


@dataclass(frozen=True)
class AlertView:
    """One alert.

    Attributes:
        event: It tells something that happened once, rather than a state that lasts.
        level: critical, warning, info or other; `emoji` and `word` show it.
        name: What happened, in words if the alert is one of the shipped rules'.
        subject: To what it happened: the run, else the job, the GPU or the machine.
        brief: The summary, without the subject that stands before it in many rules, if it says more than `name`.
        lines: The description, one item a line, at most `MOST_LINES`.
        age: How long it has been firing; how long it fired if it is resolved.
        details: Names and values of the labels that are not said elsewhere in the message.
    """

    firing: bool
    event: bool
    level: wording.Level
    emoji: str
    word: str
    alertname: Markdown
    name: Markdown
    subject: Markdown
    summary: Markdown
    brief: Markdown
    description: Markdown
    lines: tuple[Markdown, ...]
    since: str
    until: str
    age: str
    labels: Mapping[str, Markdown]
    annotations: Mapping[str, Markdown]
    details: tuple[tuple[Markdown, Markdown], ...]


def alert_view(alert: Alert, lens: Lens, shared: Mapping[str, str]) -> AlertView:
    """Takes an alert and the labels that it shares with all others, gives what a template sees of it."""
    level, sign, word = look_of(alert, lens.language)
    summary = annotation(alert, "summary", lens.language)
    description = annotation(alert, "description", lens.language)
    return AlertView(
        firing=not alert.ended,
        event=is_event(alert),
        level=level,
        emoji=sign.emoji,
        word=word,
        alertname=lens.cleaned(alert.labels.get("alertname", ""), NAME_LIMIT),
        name=name_of(alert, lens),
        subject=subject_of(alert.labels, lens),
        summary=lens.cleaned(summary, SUMMARY_LIMIT),
        brief=brief_of(alert, lens),
        description=lens.cleaned(description, DESCRIPTION_LIMIT),
        lines=_lines(description, lens),
        since=lens.time(alert.starts_at),
        until=moments.clock_time(alert.ends_at, alert.starts_at, lens.zone, lens.now),
        age=moments.length_between(
            alert.starts_at, alert.ends_at if alert.ended else lens.now, lens.language
        ),
        labels=cleaned_labels(alert.labels, lens),
        annotations=cleaned_labels(alert.annotations, lens),
        details=_details(alert.labels, shared, lens),
    )


def level_of(alert: Alert) -> wording.Level:
    """Takes an alert, gives how bad it is."""
    return wording.level_of(alert.labels.get("severity", ""))


def is_event(alert: Alert) -> bool:
    """Takes an alert, gives whether it tells something that happened once, rather than a state that lasts."""
    return alert.labels.get("event") == "true" or alert.labels.get("alertname") in wording.EVENT_EMOJI


def look_of(alert: Alert, language: Language) -> tuple[wording.Level, wording.Sign, str]:
    """Takes an alert, gives its level, the sign and the word that show it."""
    level = level_of(alert)
    if alert.ended:
        return level, wording.RESOLVED_SIGN, wording.RESOLVED_WORDS[language]
    sign = wording.SIGNS[level]
    emoji = wording.EVENT_EMOJI.get(alert.labels.get("alertname", ""), sign.emoji)
    return level, wording.Sign(emoji, sign.colour), wording.SEVERITY_WORDS[language][level]


def name_of(alert: Alert, lens: Lens) -> Markdown:
    """Takes an alert, gives what happened."""
    name = wording.alert_name(alert.labels.get("alertname", ""), lens.language)
    return lens.cleaned(name or annotation(alert, "summary", lens.language), NAME_LIMIT)


def subject_of(labels: Mapping[str, str], lens: Lens) -> Markdown:
    """Takes labels, gives to what it happened."""
    return lens.cleaned(_subject(labels), NAME_LIMIT)


def brief_of(alert: Alert, lens: Lens) -> Markdown:
    """Takes an alert, gives what its summary says beyond its subject and its name; "" if that is nothing."""
    summary = annotation(alert, "summary", lens.language).strip()
    subject = _subject(alert.labels)
    if subject and summary.startswith(subject):
        rest = summary[len(subject) :].lstrip()
        summary = rest[1:].lstrip() if rest[:1] in (":", "：") else summary
    brief = lens.cleaned(summary, SUMMARY_LIMIT)
    return Markdown("") if brief.casefold() == name_of(alert, lens).casefold() else brief


def annotation(alert: Alert, name: str, language: Language) -> str:
    """Takes an annotation's name, gives it in this language if the rule has it, else as the rule says it."""
    return alert.annotations.get(f"{name}_{language}") or alert.annotations.get(name, "")


def cleaned_labels(labels: Mapping[str, str], lens: Lens) -> dict[str, Markdown]:
    """Takes labels or annotations, gives them harmless, names included."""
    first = list(labels.items())[:MOST_LABELS]
    return {str(clean(name, LABEL_LIMIT)): lens.cleaned(value, SUMMARY_LIMIT) for name, value in first}


def _subject(labels: Mapping[str, str]) -> str:
    names: tuple[str, ...] = SUBJECT_LABELS
    if labels.get("alertname", "").startswith(JOB_ALERTS):
        # The run that it started may have given itself another name.
        names = ("job_name", *names)
    return next((labels[name] for name in names if labels.get(name)), "")


def _lines(text: str, lens: Lens) -> tuple[Markdown, ...]:
    # Of a long stack the last lines say what happened.
    half = 2 * DESCRIPTION_LIMIT
    kept = text if len(text) <= 2 * half else f"{text[:half]}\n…\n{text[-half:]}"
    lines = [line for line in kept.splitlines() if line.strip()]
    if len(lines) > MOST_LINES:
        lines = [*lines[:2], "…", *lines[3 - MOST_LINES :]]
    longest = DESCRIPTION_LIMIT if len(lines) == 1 else SUMMARY_LIMIT
    return tuple(lens.cleaned(line, longest) for line in lines)


def _details(
    labels: Mapping[str, str], shared: Mapping[str, str], lens: Lens
) -> tuple[tuple[Markdown, Markdown], ...]:
    alone = labels == shared
    shown = [
        (clean(name, LABEL_LIMIT), lens.cleaned(value, LABEL_LIMIT))
        for name, value in sorted(labels.items())
        if name not in UNLISTED_LABELS and value and (alone or shared.get(name) != value)
    ]
    return tuple(shown[:MOST_DETAILS])
