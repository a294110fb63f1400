"""Makes a message fit when nothing else did. The renderer keeps within the limit; this is the last guard.

Also turns Markdown into plain text, for a robot that refuses the rich form.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace

from alertbridge.message import Message

CUT_MARK = "…（过长，已截断 / shortened）"
LONGEST_TITLE = 100

_IMAGE = re.compile(r"!\[([^\]\n]*)\]\([^)\n]*\)")
_LINK = re.compile(r"\[([^\]\n]*)\]\(([^)\n]*)\)")
_FONT = re.compile(r"</?font\b[^>\n]*>")
_LINE_START = re.compile(r"(?m)^[ \t]*(?:(?:#{1,6}|>)[ \t]*)+")
_EMPHASIS = re.compile(r"(\*\*|__|(?<!\*)\*(?!\*)|(?<![\w_])_|_(?![\w_]))")


def fit(message: Message, size_bytes: Callable[[Message], int], limit_bytes: int) -> Message:
    """Takes a message, gives it with as much of its text as fits; the same one if all of it does.

    The text ends at a line where it can, so that no link and no colour is left open, and never within a
    character. First the text goes, then the title's end, then the buttons.

    Args:
        size_bytes: what the vendor would count of a message.
        limit_bytes: how much that may be.
    """
    if size_bytes(message) <= limit_bytes:
        return message
    for rest in (message, replace(message, title=cut(message.title, LONGEST_TITLE))):
        if size_bytes(_cut_to(rest, 0)) <= limit_bytes:
            return _longest(rest, size_bytes, limit_bytes)
    bare = replace(message, title=cut(message.title, LONGEST_TITLE), buttons=())
    return _longest(bare, size_bytes, limit_bytes)


def cut(text: str, length: int) -> str:
    """Takes a text, gives at most its first `length` characters, none parted from its accents or emoji."""
    if len(text) <= length:
        return text
    while length > 0 and _continues(text, length):
        length -= 1
    return text[:length]


def plain(text: str, links: bool = True) -> str:
    """Takes Markdown, gives its words without the marks.

    Args:
        links: whether addresses are kept behind their words.
    """
    text = _IMAGE.sub(r"\1", text)
    text = _LINK.sub(r"\1 \2" if links else r"\1", text)
    text = _FONT.sub("", text)
    text = _LINE_START.sub("", text)
    if not links:
        return "\n".join(_EMPHASIS.sub("", line).rstrip() for line in text.split("\n"))
    # An address may hold the marks of emphasis.
    return "\n".join(
        " ".join(word if "://" in word else _EMPHASIS.sub("", word) for word in line.split(" ")).rstrip()
        for line in text.split("\n")
    )


def _longest(message: Message, size_bytes: Callable[[Message], int], limit_bytes: int) -> Message:
    low, high = 0, min(len(message.text), limit_bytes)
    while low < high:
        middle = (low + high + 1) // 2
        if size_bytes(_cut_to(message, middle)) <= limit_bytes:
            low = middle
        else:
            high = middle - 1
    return _cut_to(message, low)


def _cut_to(message: Message, length: int) -> Message:
    text = cut(message.text, length)
    line_end = text.rfind("\n")
    if line_end > len(text) // 2:
        text = text[:line_end]
    return replace(message, text=f"{text.rstrip()}\n\n{CUT_MARK}".lstrip())


def _continues(text: str, at: int) -> bool:
    follower, before = text[at], text[at - 1]
    return (
        bool(unicodedata.combining(follower))
        or unicodedata.category(follower) in ("Mn", "Me")
        or "\u200d" in (follower, before)
        or "\U0001f3fb" <= follower <= "\U0001f3ff"
    )
