"""Tells events straight to a group's robot, for teams without a monitoring stack."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime

from alertbridge.message import Level, Message
from alertbridge.robots import outcome as robots
from alertbridge.robots.dingtalk import DingTalk
from alertbridge.robots.feishu import Feishu
from alertbridge.robots.grouprobot import GroupRobot
from alertbridge.robots.wecom import WeCom

from .events import Event
from .outcome import Later, Outcome, Refused, Told
from .phrases import Words
from .settings import Language

ROBOTS: Mapping[str, type[GroupRobot]] = {"dingtalk": DingTalk, "feishu": Feishu, "wecom": WeCom}

# Robots take 20 messages a minute; a quarter of them is left for what is urgent.
SPACING_SECONDS = 4.0
LOCK_SECONDS = 600.0

LOOKS = {
    "TrainingStarted": ("🚀", Words("Training started", "训练开始")),
    "TrainingNewBest": ("🏆", Words("New best", "新的最佳成绩")),
    "TrainingFinished": ("🏁", Words("Training finished", "训练完成")),
    "TrainingInterrupted": ("✋", Words("Training interrupted", "训练被中断")),
    "TrainingFailed": ("🔴", Words("Training failed", "训练失败")),
    "TrainingEvent": ("", Words("Message", "消息")),
    "TrainingJobFinished": ("🏁", Words("Job finished", "任务完成")),
    "TrainingJobInterrupted": ("✋", Words("Job interrupted", "任务被中断")),
    "TrainingJobFailed": ("🔴", Words("Job failed", "任务失败")),
    "TrainingJobRestarted": ("🔁", Words("Job is started again", "任务重新启动")),
    "TrainingJobMissedStart": ("🔴", Words("Job did not start on time", "任务没有按时启动")),
}
LEVELS: dict[str, tuple[Level, str, str, Words]] = {
    "info": ("info", "🔵", "#1A66CC", Words("INFO", "提示")),
    "warning": ("warning", "🟠", "#C25E00", Words("WARNING", "警告")),
    "critical": ("critical", "🔴", "#D93026", Words("CRITICAL", "严重")),
}

# What acts as Markdown, as HTML or as a mention, by something that looks the same.
_HARMLESS = str.maketrans(
    {
        "*": "∗",
        "`": "'",
        "@": "＠",
        "<": "＜",
        "[": "［",
        "]": "］",
        "~": "～",
        "&": "＆",
        "\\": "＼",
        "|": "｜",
    }
)
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_AT_START = {"#": "＃", ">": "＞", "-": "–", "+": "＋", "=": "＝"}


class Direct:
    """A robot that is told without a bridge.

    Args:
        robot: The robot's client.
        run: The run's name.
        run_id: What the run's events are known by, but for those that say so themselves: what several ranks tell
            alike, DingTalk shows once.
        language: Of the message.
        link: Address of the run's page; empty if it cannot be reached from elsewhere.
    """

    spacing_seconds = SPACING_SECONDS
    merges = False

    def __init__(self, robot: GroupRobot, run: str, run_id: str, language: Language, link: str) -> None:
        self.name = f"robot {robot.name}"
        self._robot = robot
        self._run = run
        self._run_id = run_id
        self._language = language
        self._link = link

    def tell(self, event: Event) -> Outcome:
        """Sends an event as a message."""
        outcome = self._robot.send(self.message(event))
        if isinstance(outcome, robots.Delivered):
            return Told()
        if isinstance(outcome, robots.Never):
            return Refused(outcome.reason)
        pause = outcome.pause_seconds or 0.0
        if isinstance(outcome, robots.Limited):
            pause = outcome.pause_seconds or LOCK_SECONDS
        return Later(outcome.reason, pause)

    def message(self, event: Event) -> Message:
        """Takes an event and gives its message."""
        level, emoji, colour, word = LEVELS[event.severity]
        own_emoji, name = LOOKS[event.name]
        emoji = own_emoji or emoji
        said = harmless(self._in(event.said))
        heading = self._in(name)
        paragraphs = [f'### {emoji} <font color="{colour}">{self._in(word)}</font> · {heading}']
        subject = event.subject(self._run)
        paragraphs.append(f"**{harmless(subject)}**")
        if said.casefold() != heading.casefold():
            paragraphs.append(said)
        lines = [harmless(self._in(line)) for line in event.lines]
        if lines:
            paragraphs.append("  \n".join(f"> {line}" for line in lines))
        paragraphs.append(f"🕒 {datetime.fromtimestamp(event.at).astimezone():%m-%d %H:%M:%S %Z}")
        links = {Words("Report", "训练报告"): event.link, Words("Run", "训练页面"): self._link}
        shown = [f"[{self._in(name)}]({address})" for name, address in links.items() if address]
        if shown:
            paragraphs.append(" ｜ ".join(shown))
        colon = ": " if self._language == "en" else "："
        title = f"{emoji} {self._in(word)} {subject}{colon}{self._in(event.said)}"
        return Message(
            title=title if len(title) <= 80 else f"{title[:79]}…",
            text="\n\n".join(paragraphs),
            uuid=self._identity(event),
            level=level,
        )

    def retire(self, before: float) -> None:
        """Does nothing: what a group has seen it has seen."""

    def close(self) -> None:
        """Closes its connections."""
        self._robot.close()

    def _in(self, words: Words) -> str:
        return words.en if self._language == "en" else words.zh

    def _identity(self, event: Event) -> str:
        labels = {"run_id": self._run_id, **event.labels}
        said = [self._run, event.name, *map(str, sorted(labels.items()))]
        return hashlib.sha256("\0".join(said).encode("utf-8", "replace")).hexdigest()[:32]


def harmless(text: str) -> str:
    """Takes a line of foreign text and gives it so that no robot's Markdown acts on it."""
    text = _UNDERSCORE.sub("＿", text.translate(_HARMLESS))
    return _AT_START.get(text[:1], text[:1]) + text[1:]
