"""The sandbox shows a message as a phone would, and nothing that a message holds can act on the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from alertbridge import Button, DingTalk, Mention, Message
from alertbridge.sandbox.app import create_app
from alertbridge.sandbox.call import Content, Rules, Style, stands_in
from alertbridge.sandbox.log import Shown
from alertbridge.sandbox.markup import html_of, target
from alertbridge.sandbox.serving import SandboxServer
from alertbridge.sandbox.terminal import message as in_terminal

A = 'target="_blank" rel="noreferrer"'


def html(text: str, mentioned: tuple[str, ...] = ()) -> str:
    """What the page makes of Markdown."""
    return html_of(Content("markdown", "t", text, mentioned=mentioned)).strip()


class Tags(HTMLParser):
    """Collects the elements and the words that a browser would find."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# a", "<h1>a</h1>"),
        ("###### a", "<h6>a</h6>"),
        ("> a", "<blockquote>\n<p>a</p>\n</blockquote>"),
        ("**a** *b*", "<p><strong>a</strong> <em>b</em></p>"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
        ("1. a\n2. b", "<ol>\n<li>a</li>\n<li>b</li>\n</ol>"),
        ("[a](https://x.example/?a=1&b=2)", f'<p><a href="https://x.example/?a=1&amp;b=2" {A}>a</a></p>'),
        ("![a](https://x/p.png)", '<p><img src="https://x/p.png" alt="a" referrerpolicy="no-referrer"></p>'),
        ("a  \nb", "<p>a<br>\nb</p>"),
        ("a\nb", "<p>a\nb</p>"),
        ("a\n\nb", "<p>a</p>\n<p>b</p>"),
        ('<font color="#E02020">a</font>', '<p><span style="color:#E02020">a</span></p>'),
        ("<font color=red>**a**</font>", '<p><span style="color:red"><strong>a</strong></span></p>'),
        ("**<font color='#fff'>a</font>**", '<p><strong><span style="color:#fff">a</span></strong></p>'),
    ],
)  # fmt: skip
def test_dingtalks_markdown_is_rendered(text: str, expected: str) -> None:
    """Headings, quotes, bold, italic, lists, links, images, colours and line breaks look as on the phone."""
    assert html(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`a`", "<p>`a`</p>"),
        ("```\na\n```", "<p>```\na\n```</p>"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "<p>| a | b |\n|---|---|\n| 1 | 2 |</p>"),
        ("~~a~~", "<p>~~a~~</p>"),
        ("a\n\n---\n\nb", "<p>a</p>\n<p>---</p>\n<p>b</p>"),
        ("a\n===", "<p>a\n===</p>"),
        ("    a", "<p>a</p>"),
        ("<b>a</b>", "<p>&lt;b&gt;a&lt;/b&gt;</p>"),
        ("<https://x.example>", "<p>&lt;https://x.example&gt;</p>"),
        ("[a](javascript:alert(1))", "<p>[a](javascript:alert(1))</p>"),
        ("[a](data:text/html,x)", "<p>[a](data:text/html,x)</p>"),
        ("<font color=red>a", "<p>&lt;font color=red&gt;a</p>"),
        ("a</font>", "<p>a&lt;/font&gt;</p>"),
        ("**<font color=red>a**</font>", "<p><strong>&lt;font color=red&gt;a</strong>&lt;/font&gt;</p>"),
        ("<font color='red;top:0'>a</font>", "<p>&lt;font color=&#x27;red;top:0&#x27;&gt;a&lt;/font&gt;</p>"),
        ("<font color=red onclick=x>a</font>", "<p>&lt;font color=red onclick=x&gt;a&lt;/font&gt;</p>"),
    ],
)  # fmt: skip
def test_what_dingtalk_does_not_render_stays_text(text: str, expected: str) -> None:
    """Tables, code, rules, foreign HTML, other schemes and broken colours are shown as the characters they are."""
    assert html(text) == expected


def test_a_plain_text_keeps_its_lines_and_its_marks() -> None:
    """The text form knows no Markdown; its web addresses can be tapped."""
    content = Content("text", "t", "# a\n**b** https://x.example/?q=1&r=2，<i>", style="text")
    expected = f'<p># a<br>**b** <a href="https://x.example/?q=1&amp;r=2" {A}>https://x.example/?q=1&amp;r=2</a>，&lt;i&gt;</p>'
    assert html_of(content) == expected


@pytest.mark.parametrize(
    ("text", "mentioned", "marked"),
    [
        ("@138 and @139", ("138",), ["@138"]),
        ("**@138** x", (), []),
        ("- @138\n- @zhang", ("138", "zhang"), ["@138", "@zhang"]),
        ("@所有人", ("all",), ["@所有人"]),
        ("@1380 @138", ("138",), ["@138"]),
    ],
)
def test_only_real_mentions_are_marked(text: str, mentioned: tuple[str, ...], marked: list[str]) -> None:
    """A name is marked where it stands as a word and really calls somebody."""
    assert re.findall(r'<span class="mention">(.*?)</span>', html(text, mentioned)) == marked


# Text that is likely to break out of something.
markup_like = st.lists(
    st.sampled_from(
        [*"<>&\"'`*_#[]()!@\\|~-= \n", "<font color=red>", "</font>", "<script>", "</p>", "](https://x)", "javascript:",
         "@138", "@所有人", "**", "  \n", "> ", "- ", "训", "a", "&lt;", "dingtalk://x?url="]
    ),
    max_size=40,
).map("".join)  # fmt: skip

ALLOWED = {
    *(
        [
            "p",
            "br",
            "strong",
            "em",
            "a",
            "img",
            "ul",
            "ol",
            "li",
            "blockquote",
            "span",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
        ]
    )
}


@given(markup_like, st.sampled_from(["markdown", "text"]))
def test_no_text_can_make_other_html(text: str, style: str) -> None:
    """Whatever a message holds, the page gets only the elements of the subset, well nested, leading only to the web."""
    content = Content("x", "t", text, style=style, mentioned=("138", "all"))  # type: ignore[arg-type]
    page = Tags(html_of(content))
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag in ALLOWED
        assert set(attributes) <= {
            "href",
            "target",
            "rel",
            "src",
            "alt",
            "referrerpolicy",
            "style",
            "class",
            "start",
        }
        assert re.fullmatch(r"(color:(#[0-9A-Fa-f]{3,8}|[A-Za-z]+))?", attributes.get("style") or "")
        for address in ("href", "src"):
            assert (attributes.get(address) or "https://").startswith(("http://", "https://"))


@given(st.text(alphabet="@1380 \na所,", max_size=30), st.sampled_from(["138", "1380", "0"]))
def test_a_name_counts_only_between_spaces(text: str, name: str) -> None:
    """A name stands in a text exactly if it is one of the words between its spaces."""
    assert stands_in(f"@{name}", text) == (f"@{name}" in text.split())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://x.example/", "https://x.example/"),
        ("dingtalk://dingtalkclient/page/link?url=https%3A%2F%2Fx.example%2F%3Fa%3D1&pc_slide=false", "https://x.example/?a=1"),
        ("dingtalk://dingtalkclient/page/link?url=javascript%3Aalert(1)", ""),
        ("dingtalk://dingtalkclient/page/profile", ""),
        ("javascript:alert(1)", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_a_button_leads_to_the_web_or_nowhere(url: str, expected: str) -> None:
    """DingTalk's own addresses lead to the web address they hold, everything else nowhere."""
    assert target(url) == expected


@pytest.fixture
def sandbox() -> Iterator[str]:
    """The address of a running sandbox."""
    with SandboxServer(create_app(Rules(name="<Robot>")), "127.0.0.1:0") as server:
        server.start()
        yield server.url


def test_the_page_needs_nothing_from_elsewhere(sandbox: str) -> None:
    """The page loads no script, style or font from any host, and forbids what it does not bring itself."""
    answer = requests.get(sandbox, timeout=5)
    assert re.findall(r"(?:src|href)=(?!\"data:)[^\s>]+", answer.text) == []
    assert "@import" not in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", policy)
    assert nonce is not None
    assert f'<script nonce="{nonce[1]}">' in answer.text
    assert "<Robot>" not in answer.text


@pytest.mark.parametrize(
    ("language", "words"),
    [("zh-CN,zh;q=0.9", "训练告警群"), ("de,en;q=0.5", "Training alerts"), ("", "Training alerts")],
)
def test_the_page_speaks_the_viewers_language(sandbox: str, language: str, words: str) -> None:
    """Chinese for those who read it, English for everybody else."""
    assert words in requests.get(sandbox, headers={"Accept-Language": language}, timeout=5).text


def test_the_page_is_told_only_what_is_new(sandbox: str) -> None:
    """Each round brings the bubbles and calls since the last, and a reset is noticed."""
    robot = DingTalk(f"{sandbox}/robot/send?access_token=sandbox")
    robot.send(
        Message(
            "<title>",
            "**x** @138",
            kind="action_card",
            buttons=(Button("<b>", "https://x.example/?a=1&b=2"),),
            mention=Mention(mobiles=("138",)),
        )
    )
    first = requests.get(f"{sandbox}/page/news?after=0", timeout=5).json()
    (bubble,) = first["bubbles"]
    assert bubble["title"] == "<title>"
    assert '<strong>x</strong> <span class="mention">@138</span>' in bubble["html"]
    assert f'<a href="https://x.example/?a=1&amp;b=2" {A}>&lt;b&gt;</a>' in bubble["html"]
    assert "&lt;Robot&gt;" in bubble["html"]
    assert [(call["verdict"], call["errcode"]) for call in first["calls"]] == [("accepted", "0")]

    second = requests.get(f"{sandbox}/page/news?after={first['last']}", timeout=5).json()
    assert ([], [], first["last"]) == (second["bubbles"], second["calls"], second["last"])

    requests.delete(f"{sandbox}/api/messages", timeout=5)
    third = requests.get(f"{sandbox}/page/news?after={first['last']}", timeout=5).json()
    assert third["generation"] == first["generation"] + 1


@pytest.mark.parametrize("style", ["markdown", "lines"])
def test_the_terminal_shows_a_message_readably(style: Style) -> None:
    """Title, words without marks, whom it calls and where its buttons lead; no control character gets through."""
    content = Content(
        "actionCard",
        "Title",
        "### Head\n> **x** [a](https://a.example)\x1b[31m",
        style,
        buttons=(("Open", "dingtalk://dingtalkclient/page/link?url=https%3A%2F%2Fb.example"),),
        mentioned=("all", "138"),
    )
    lines = in_terminal(Shown(1, 0.0, "dingtalk", 1, content, 1)).splitlines()
    assert lines[1].endswith("(dingtalk)")
    assert "Title" in lines[1]
    assert lines[2:] == [
        "  │ Head",
        "  │ x a https://a.example [31m",
        "  │ mentions: everybody, @138",
        "  │ [Open] https://b.example",
    ]
