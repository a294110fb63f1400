"""Writes docs/alerts.md from the rule files and the runbooks: `python docs/alerts.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).parent
PAGE = DOCS / "alerts.md"
RULES = DOCS.parent / "prometheus" / "rules"
# By rule file: what its alerts are about, in both languages.
TITLES = {
    "training.yml": "Trainings · 训练",
    "gpu.yml": "GPUs · 显卡",
    "jobs.yml": "Jobs · 任务",
    "alertbridge.yml": "The bridge, and the monitoring itself · 告警桥与监控自身",
}
HEAD = """\
# Alerts · 告警一览

Made from `prometheus/rules/` and the runbooks by `python docs/alerts.py`; a test compares them. A name leads to its
[runbook](runbooks.md) ([中文](runbooks.zh-CN.md)).

Every alert carries `severity`, `run` (or `job_name`, `receiver`) and, as annotations, `summary`, `description` (and
`summary_zh`, `description_zh`), `runbook_url` and `dashboard`. *for*: how long the condition holds before it is told;
*then*: how long it goes on being told afterwards (`keep_firing_for`). Thresholds that differ by run, such as patience
and stall timeout, are metrics of the run and are set where it starts ([metrics.md](metrics.md)).

每条告警都带有 `severity`、`run`（或 `job_name`、`receiver`）以及中英文说明、处理手册和看板的链接。
*for*：条件持续多久后才告警；*then*：条件消失后继续保持多久。
因训练而异的阈值（耐心轮数、停滞时限等）由训练自己导出，在启动处设置。
"""
COLUMNS = """
| alert | severity | for | then | meaning | 含义 |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Meanings:
    """The first sentence of each alert's runbook, by its name."""

    english: dict[str, str]
    chinese: dict[str, str]

    @classmethod
    def read(cls) -> Meanings:
        return cls(
            _first_sentences("runbooks.md", r"\.(?=\s|$)"), _first_sentences("runbooks.zh-CN.md", "。")
        )


def page() -> str:
    """Gives the whole page."""
    meanings = Meanings.read()
    parts = [HEAD]
    for name, title in TITLES.items():
        rows = "".join(row(rule, meanings) for rule in alerts(RULES / name))
        parts.append(f"\n## {title}\n{COLUMNS}{rows}")
    return "".join(parts)


def alerts(path: Path) -> Iterator[dict[str, Any]]:
    """Takes a rule file, gives its alerting rules."""
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
        yield from (rule for rule in group["rules"] if "alert" in rule)


def row(rule: dict[str, Any], meanings: Meanings) -> str:
    """Takes an alerting rule, gives its line of the table."""
    name = rule["alert"]
    cells = [
        f"[{name}](runbooks.md#{name.lower()})",
        rule["labels"]["severity"],
        rule.get("for", "at once"),
        rule.get("keep_firing_for", ""),
        meanings.english[name],
        meanings.chinese[name],
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _first_sentences(file: str, end: str) -> dict[str, str]:
    parts = re.split(r"^### (\w+)$", (DOCS / file).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: _first_sentence(text, end) for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def _first_sentence(section: str, end: str) -> str:
    """Takes a runbook's section, which begins with its severity, gives what comes next up to the sentence's end."""
    paragraph = " ".join(section.strip().split("\n\n")[0].split())
    text = re.sub(r"^\*[^*]+\*[.。：: ]*", "", paragraph)
    sentence = re.split(end, text, maxsplit=1)[0].strip()
    return sentence + ("。" if end == "。" else ".")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
