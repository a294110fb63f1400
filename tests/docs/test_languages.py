"""What a Chinese page says is what its English one says, as far as a machine can tell."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.pages import ROOT, pages, tokens

PAIRS = [
    (page.with_name(page.name.replace(".zh-CN", "")), page) for page in pages() if ".zh-CN." in page.name
]
GENERATED = ("alerts", "configuration", "metrics", "settings")


def headings(page: Path) -> list[str]:
    return [token.tag for token in tokens(page) if token.type == "heading_open"]


def rows(page: Path) -> int:
    return sum(token.type == "tr_open" for token in tokens(page))


def blocks(page: Path) -> list[tuple[str, list[str]]]:
    """Gives a page's code blocks: language, and lines without comments, which are in the page's language."""
    return [
        (
            token.info,
            [line.partition(" #")[0].partition("print(")[0].rstrip() for line in token.content.splitlines()],
        )
        for token in tokens(page)
        if token.type == "fence"
    ]


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda page: str(page.relative_to(ROOT)))
def test_both_languages_have_the_same_parts(english: Path, chinese: Path) -> None:
    """The same sections on the same levels, tables of as many lines, and the same code and commands."""
    assert headings(chinese) == headings(english)
    assert rows(chinese) == rows(english)
    if english.name != "README.md":
        assert blocks(chinese) == blocks(english)


def test_both_readmes_show_the_same_commands() -> None:
    """What is typed is the same; names of places and messages are translated."""
    english, chinese = (
        [lines for language, lines in blocks(ROOT / name) if language == "sh"]
        for name in ("README.md", "README.zh-CN.md")
    )
    translated = [[line.replace("<本仓库>", "<this repository>") for line in lines] for lines in chinese]

    assert translated == english


def test_every_page_written_by_hand_is_in_chinese() -> None:
    """The front page, and each of the documentation that is not made from the code, whose texts are English."""
    names = {english for english, _ in PAIRS}
    by_hand = {
        page
        for page in (ROOT / "docs").glob("*.md")
        if ".zh-CN." not in page.name and page.stem not in ("README", *GENERATED)
    }

    assert ROOT / "README.md" in names
    assert sorted(page.name for page in by_hand - names) == []
