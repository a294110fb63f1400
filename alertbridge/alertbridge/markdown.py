"""Makes foreign text harmless inside a robot's Markdown.

Everything that Alertmanager sends passes here before a template sees it. A character that could act as
Markdown, as HTML or as a mention is replaced by one that looks the same, and only where it could act:
`val_loss`, `3 < 4` and `[1, 2]` stay as they are. Replacing, unlike escaping with backslashes, does not depend
on the renderer (DingTalk's, Feishu's and WeCom's differ), survives cutting, and changes nothing the second time.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any
from urllib.parse import quote, urlsplit

from markupsafe import Markup

ELLIPSIS = "…"
LONGEST_URL = 2000

# Controls, lone surrogates, and invisible characters that reorder or hide text. The joiner of emoji stays.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)

# What acts anywhere in a line. The order matters: a backslash is judged by what stands behind it at the end.
_ANYWHERE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        ("@", "＠"),
        ("`", "'"),
        (r"\*", "∗"),
        (r"(?<![^\W_])_|_(?![^\W_])", "＿"),
        (r"~(?=~)|(?<=[~～])~", "～"),
        # A link closes its bracket in front of another one, which the template may put behind a value.
        (r"\](?=[(\[:：]|$)", "］"),
        (r"<(?![\s\d=])", "＜"),
        (r"&(?=#|[A-Za-z][A-Za-z0-9]*;)", "＆"),
        # Only web addresses may look like one: dingtalk:// and its like act when tapped.
        (r"(?i)(?<!http)(?<!https):(?=//)", "："),
        (r"\\(?=[!-/:-@\[-`{-~]|$)", "＼"),
    )
)

# What acts only at the beginning of a line, where a template may well put a value.
_AT_START: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        ("^#", "＃"),
        ("^>", "＞"),
        (r"^-(?=[\s-]|$)", "–"),
        (r"^\+(?=\s|$)", "＋"),
        (r"^=(?=[\s=]|$)", "＝"),
        (r"^(\d{1,9})\.(?=\s|$)", r"\1．"),
        (r"^(\d{1,9})\)(?=\s|$)", r"\1）"),
        (r"^\|", "｜"),
    )
)

_COLOUR = re.compile(r'<font color="#[0-9A-Fa-f]{6}">|</font>')


class Markdown(Markup):
    """Text that may stand in a message as it is: foreign text made harmless, or our own Markdown."""

    __slots__ = ()

    @classmethod
    def escape(cls, s: Any) -> Markdown:
        """Takes anything, gives it harmless; what is `Markdown` already stays as it is.

        Joins what a template writes, so a space at either end is kept.
        """
        if hasattr(s, "__html__"):
            return cls(s.__html__())
        text = str(s)
        before, after = " " if text[:1].isspace() else "", " " if text[-1:].isspace() and text.strip() else ""
        return cls(f"{before}{clean(text)}{after}")


def clean(value: str, limit: int | None = None) -> Markdown:
    """Takes foreign text, gives one line of it that is only text, at most `limit` characters long."""
    text = value if limit is None else value[: 4 * limit + 64]
    cut = len(text) < len(value)
    text = " ".join(_INVISIBLE.sub(" ", text).split())
    if limit is not None and (cut or len(text) > limit):
        text = shorten(text if len(text) > limit else text + ELLIPSIS, limit)
    for pattern, replacement in (*_ANYWHERE, *_AT_START):
        text = pattern.sub(replacement, text)
    return Markdown(text)


def shorten(text: str, limit: int) -> str:
    """Takes a text, gives at most `limit` characters of it, an ellipsis for what is left out included.

    A character is not parted from its accents, nor an emoji from its other half.
    """
    if len(text) <= limit:
        return text
    end = max(limit - 1, 0)
    while end > 0 and _continues(text, end):
        end -= 1
    return text[:end].rstrip() + ELLIPSIS


def web_link(address: str) -> str:
    """Takes a foreign address, gives it fit for a link or a button, or "" if it is not to be followed.

    Only http and https, with a host and without a user name, which can make one host look like another.
    """
    address = address.strip()
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return ""
    if not usable or _INVISIBLE.search(address):
        return ""
    link = quote(address, safe="%/:?#=&;+,~$!-._")
    return link if len(link) <= LONGEST_URL else ""


def link(text: str, address: str) -> Markdown:
    """Takes words and an address, gives the Markdown of a link; only the words if the address is unusable."""
    words = Markdown.escape(text).translate({ord("["): "［", ord("]"): "］"})
    target = web_link(address)
    return Markdown(f"[{words}]({target})") if target else Markdown(words)


def coloured(text: str, colour: str) -> Markdown:
    """Takes words and a colour like #E02020, gives them in that colour."""
    return Markdown(f'<font color="{colour}">{Markdown.escape(text)}</font>')


def without_colour(text: str) -> str:
    """Takes a message's text, gives it for a channel that does not know `<font>`."""
    return _COLOUR.sub("", text)


def _continues(text: str, at: int) -> bool:
    follower, before = text[at], text[at - 1]
    return (
        bool(unicodedata.combining(follower))
        or unicodedata.category(follower) == "Mn"
        or "\u200d" in (follower, before)
        or "\U0001f3fb" <= follower <= "\U0001f3ff"
    )
