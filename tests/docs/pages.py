"""The project's Markdown: its pages, their links and anchors, and the commands they tell people to type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "examples", "bench", "prometheus", "grafana")
SHELL = ("", "sh", "bash", "shell", "console")


def pages() -> list[Path]:
    """Gives every Markdown file that is for readers."""
    return sorted(
        [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
    )


@dataclass(frozen=True)
class Command:
    """A line of shell that a page shows, and where."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    return tuple(MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")))


def links(page: Path) -> Iterator[str]:
    """Gives the targets of a page's links and pictures."""
    for token in tokens(page):
        for child in (token, *(token.children or ())):
            target = child.attrGet("href") or child.attrGet("src")
            if isinstance(target, str):
                yield target
            if child.type.startswith("html_"):
                yield from re.findall(r'(?:src|href)="([^"]+)"', child.content)


@cache
def anchors(page: Path) -> frozenset[str]:
    """Gives the anchors of a page's headings, by GitHub's rule: lower case, no punctuation, hyphens for spaces."""
    seen: dict[str, int] = {}
    found = set()
    listed = tokens(page)
    for token, following in pairwise(listed):
        if token.type != "heading_open":
            continue
        words = "".join(child.content for child in following.children or ())
        slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        found.add(f"{slug}-{count}" if count else slug)
    return frozenset(found)


def commands(page: Path) -> Iterator[Command]:
    """Gives the lines of a page's shell blocks, and whatever stands between backticks."""
    name = str(page.relative_to(ROOT))
    for token in tokens(page):
        start = token.map[0] + 1 if token.map else 0
        if token.type == "fence" and token.info.strip() in SHELL:
            whole = token.content.replace("\\\n", " ")
            for offset, line in enumerate(whole.splitlines(), 1):
                yield Command(name, start + offset, line.strip())
        for child in token.children or ():
            if child.type == "code_inline":
                yield Command(name, start, child.content)
