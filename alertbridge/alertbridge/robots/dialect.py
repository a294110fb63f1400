"""Translates a message's Markdown, which is DingTalk's, into what other vendors' robots understand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Tone = Literal["red", "green", "grey"]

_COLOUR = re.compile(r"""<font\s+color=["']?#([0-9A-Fa-f]{6})["']?\s*>""")
_LINE_END = re.compile(r"[ \t]+$", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_QUOTE = re.compile(r"^>[ \t]?", re.MULTILINE)
_IMAGE = re.compile(r"!\[([^\]\n]*)\]\(([^)\n]*)\)")

# Less than this between the strongest and the weakest part of a colour looks grey.
GREYISH = 40


def lines(text: str) -> str:
    """Takes Markdown whose lines end with two spaces, gives it for a robot that breaks at every newline."""
    return _LINE_END.sub("", text)


def bold_headings(text: str) -> str:
    """Gives headings as bold lines, for a robot that knows no headings."""
    return _HEADING.sub(lambda match: f"**{match[1].replace('**', '')}**", text)


def without_quotes(text: str) -> str:
    """Gives quotes as ordinary lines."""
    return _QUOTE.sub("", text)


def linked_images(text: str) -> str:
    """Gives pictures as links to them."""
    return _IMAGE.sub(r"[\1](\2)", text)


def recoloured(text: str, names: Mapping[Tone, str]) -> str:
    """Takes Markdown with colours as #RRGGBB, gives it with the nearest of the few names a vendor knows."""
    return _COLOUR.sub(lambda match: f'<font color="{names[_tone(match[1])]}">', text)


def _tone(rgb: str) -> Tone:
    red, green, blue = (int(rgb[at : at + 2], 16) for at in (0, 2, 4))
    if max(red, green, blue) - min(red, green, blue) < GREYISH or blue > max(red, green):
        return "grey"
    return "red" if red >= green else "green"
