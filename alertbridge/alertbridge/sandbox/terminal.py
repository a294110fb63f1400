"""Shows in the terminal what the group sees, as it comes, and each call that was not taken."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable
from datetime import datetime

import click

from alertbridge.robots.shorten import plain
from alertbridge.sandbox.log import Attempt, Shown
from alertbridge.sandbox.markup import target

_BAR = "  │ "


class Terminal:
    """Takes news of the sandbox, prints it.

    Args:
        say: prints one text; several threads call it in turn, never at once.
    """

    def __init__(self, say: Callable[[str], None] = click.echo) -> None:
        self._say = say
        self._lock = threading.Lock()

    def tell(self, news: Shown | Attempt) -> None:
        """Takes a message or an attempt, prints it if people care."""
        if isinstance(news, Shown):
            text = message(news)
        elif news.accepted and not news.reason and news.mode == "ok":
            return
        else:
            text = attempt(news)
        with self._lock:
            self._say(text)


def message(shown: Shown) -> str:
    """Takes a message, gives it readable: its title, its text without marks, whom it calls, its buttons."""
    content = shown.content
    head = f"{_clock(shown.received_at)}  {click.style(content.title, bold=True)}  ({shown.channel})"
    lines = [content.text if content.style == "text" else plain(content.text)]
    if content.mentioned:
        people = ", ".join("everybody" if name == "all" else f"@{name}" for name in content.mentioned)
        lines.append(f"mentions: {people}")
    lines += [f"[{title}] {target(url) or url}" for title, url in content.buttons]
    body = "\n".join(_without_controls(line) for line in "\n".join(lines).splitlines())
    return f"\n{head}\n{textwrap.indent(body, _BAR, lambda line: True)}\n"


def attempt(noted: Attempt) -> str:
    """Takes an attempt, gives one line about it."""
    verdict = "taken" if noted.accepted else click.style("not taken", fg="red")
    code = "no errcode" if noted.errcode is None else f"errcode {noted.errcode}"
    return f"{_clock(noted.at)}  a call to {noted.channel}: {verdict}, {code}: {noted.reason}"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%H:%M:%S")


def _without_controls(line: str) -> str:
    """Keeps a message's text from moving the cursor or changing colours."""
    return "".join(letter if letter.isprintable() else " " for letter in line)
