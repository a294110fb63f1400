"""Foreign text in Markdown: readable, and only text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from alertbridge.markdown import Markdown, clean, coloured, link, shorten, web_link, without_colour

PARSER = MarkdownIt("commonmark").enable(["strikethrough", "table"])
ONLY_TEXT = {"paragraph_open", "paragraph_close", "inline", "text", "softbreak", "hardbreak"}

# Texts made of what Markdown, HTML and mentions are made of are far more likely to hit than any text.
HOSTILE = st.text(alphabet="ab1 _*[]()<>!#`~\\&;:/@-=+.|\"'\n\t{}lt%六http", max_size=40)
TEXT = st.one_of(HOSTILE, st.text(max_size=40))


def kinds(markdown: str) -> set[str]:
    """Takes Markdown, gives the kinds of everything in it."""
    tokens = PARSER.parse(markdown)
    return {token.type for token in tokens} | {
        inner.type for token in tokens for inner in token.children or []
    }


@given(TEXT, TEXT)
def test_any_text_is_only_text_wherever_a_template_puts_it(one: str, other: str) -> None:
    """No text, alone or beside another one, at the start of a line or within, becomes anything but text."""
    first, second = clean(one), clean(other)

    for markdown in (
        first,
        f"x {first} y",
        f"{first} {second}",
        f"{first}\n{second}",
        f"{first}\n\n{second}",
    ):
        assert kinds(markdown) <= ONLY_TEXT, markdown


@given(TEXT)
def test_no_text_mentions_anybody(text: str) -> None:
    """There is no @ in it, nor a character reference that would become one."""
    cleaned = clean(text)

    assert "@" not in cleaned
    assert "@" not in "".join(token.content for token in PARSER.parseInline(cleaned)[0].children or [])


@given(TEXT)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    """What is harmless stays as it is, so no text is spoiled by passing twice."""
    assert clean(clean(text)) == clean(text)


@given(TEXT, st.integers(1, 60))
def test_a_cut_text_is_short_one_line_and_still_only_text(text: str, limit: int) -> None:
    """At most `limit` characters, no line break, nothing that acts, and it can be encoded."""
    cut = clean(text, limit)

    assert len(cut) <= limit
    assert len(cut.splitlines()) <= 1
    assert kinds(cut) <= ONLY_TEXT
    cut.encode()


@given(TEXT, TEXT)
def test_a_link_is_one_link_to_that_address_or_none(words: str, path: str) -> None:
    """Whatever stands in the words and in the address, there is one link and it does not end early."""
    made = link(f"x{words}", f"https://grafana.example/{path}")

    found = [token for token in PARSER.parseInline(made)[0].children or [] if token.type == "link_open"]
    targets = [str(token.attrs["href"]) for token in found]
    assert targets == ([] if web_link(f"https://grafana.example/{path}") == "" else targets[:1])
    assert all(target.startswith("https://grafana.example/") for target in targets)


@pytest.mark.parametrize(
    "text",
    [
        "val_loss 0.1234",
        "epoch 12/30: 3 < 4, 5 > 4, a <= b",
        "-0.5",
        "shape [2, -1] is invalid (rank 0)",
        "127.0.0.1:9400",
        "https://wiki.example/a_b?c=d&e=f#g",
        "R&D, AT&T 50 %",
        r"C:\Users\me",
        "~/checkpoints",
        "训练：第 12 轮，最佳 0.1234！",
        "👩‍💻 café",
        "Run r0: loss is not finite.",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """What people write in labels and annotations is not disfigured."""
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("@all @所有人 a@b", "＠all ＠所有人 a＠b"),
        ("[x](https://evil.example)", "[x］(https://evil.example)"),
        ("![x](https://evil.example)", "![x］(https://evil.example)"),
        ("[x][1] [1]: http://e", "[x］[1] [1］: http://e"),
        ("x](https://evil.example", "x］(https://evil.example"),
        ("<font color=red>", "＜font color=red>"),
        ("<https://evil.example>", "＜https://evil.example>"),
        ("<!-- x", "＜!-- x"),
        ("&#64;all &lt;a&gt;", "＆#64;all ＆lt;a＆gt;"),
        ("dingtalk://dingtalkclient/x", "dingtalk：//dingtalkclient/x"),
        ("**bold** __init__ `code` ~~s~~", "∗∗bold∗∗ ＿＿init＿＿ 'code' ～～s～～"),
        ("# heading", "＃ heading"),
        ("> quote", "＞ quote"),
        ("- item", "– item"),
        ("12. item", "12． item"),
        ("---", "–--"),
        ("===", "＝=="),
        ("one\r\n\n  two\u2028three\tfour", "one two three four"),
        ("a\u202egnp.exe\u200b\x00b", "a gnp.exe b"),
        ("\ud800", ""),
        ("ends with \\", "ends with ＼"),
        ("", ""),
    ],
)
def test_what_acts_is_replaced_by_what_looks_the_same(text: str, cleaned: str) -> None:
    """Each mark of Markdown, HTML and mentions is replaced, where it would act."""
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("训练失败了", 4, "训练失…"),
        ("ab cd", 4, "ab…"),
        ("cafe\u0301s!", 5, "caf…"),
        ("ab👩\u200d💻cd", 5, "ab…"),
        ("ab👍🏽cd", 4, "ab…"),
        ("ab✔\ufe0fcd", 4, "ab…"),
        ("abc", 1, "…"),
    ],
)
def test_a_long_text_ends_between_characters(text: str, limit: int, cut: str) -> None:
    """What people see as one character is kept whole or left out whole."""
    assert shorten(text, limit) == cut


def test_a_text_of_100_kilobytes_is_cut() -> None:
    """A huge value costs its limit and says that it goes on."""
    assert clean("é" * 100_000, 10) == "ééééééééé…"
    assert clean(" " * 100_000 + "é", 10) == "…"


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://grafana.example/d/x?var-run=a&b=c#d", "https://grafana.example/d/x?var-run=a&b=c#d"),
        ("  http://h/a b(c)[d]<e>*'\"`\\ ", "http://h/a%20b%28c%29%5Bd%5D%3Ce%3E%2A%27%22%60%5C"),
        ("http://h/@all", "http://h/%40all"),
        ("http://h/训练", "http://h/%E8%AE%AD%E7%BB%83"),
        ("http://h/%7Ba%7D", "http://h/%7Ba%7D"),
        ("javascript:alert(1)", ""),
        ("dingtalk://dingtalkclient/page/link?url=x", ""),
        ("data:text/html,x", ""),
        ("/d/x", ""),
        ("//h/x", ""),
        ("https://", ""),
        ("https://grafana.example@evil.example/", ""),
        ("https://user:password@h/", ""),
        ("http://h/a\nb", ""),
        ("http://h/a\u202eb", ""),
        ("http://[::1", ""),
        ("", ""),
        ("http://h/" + "a" * 2000, ""),
    ],
)
def test_only_web_addresses_are_followed(address: str, kept: str) -> None:
    """http and https with a host, encoded so that no Markdown is left in it; nothing else."""
    assert web_link(address) == kept


def test_a_link_without_a_usable_address_is_its_words() -> None:
    """The reader still sees what would have been linked."""
    assert link("Runbook", "javascript:alert(1)") == "Runbook"
    assert link("a]b", "http://h/") == "[a］b](http://h/)"


def test_own_markdown_is_not_cleaned_again() -> None:
    """Our own Markdown passes, foreign text that is joined to it does not."""
    assert Markdown("**%s**") % "*x*" == "**∗x∗**"
    assert Markdown("**a** ") + "@all" == "**a** ＠all"


def test_colour_can_be_taken_away() -> None:
    """A channel that does not know <font> gets the words alone."""
    text = coloured("严重 <b>", "#D93026")

    assert text == '<font color="#D93026">严重 ＜b></font>'
    assert without_colour(text) == "严重 ＜b>"
