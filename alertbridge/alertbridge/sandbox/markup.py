"""Shows a message's text as a phone does: DingTalk's subset of Markdown as HTML that cannot carry anything else.

Headings, quotes, bold, italic, links, images, lists and `<font color>`; a line ends with two spaces and a newline.
Tables, code blocks, rules and every other HTML stay the characters that they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from urllib.parse import parse_qs, urlsplit

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from alertbridge.sandbox.call import EVERYBODY, Content

_FONT = re.compile(r"""<font\s+color=(["']?)(#[0-9A-Fa-f]{3,8}|[A-Za-z]{3,20})\1\s*>""")
_FONT_END = re.compile(r"</font\s*>")
_WECOM_COLOURS = {"info": "#1aad5a", "comment": "#8c8c8c", "warning": "#e8731a"}
_ADDRESS = re.compile(r"https?://[^\s<>\"'，。；、（）]+")


def html_of(content: Content) -> str:
    """Takes what the group sees, gives its text as HTML, with the mentions that really mention marked."""
    names = [EVERYBODY if name == "all" else f"@{name}" for name in content.mentioned]
    if content.style == "text":
        return f"<p>{_words(content.text, names, '<br>', _linked)}</p>"
    text = content.text.replace("\n", "  \n") if content.style == "lines" else content.text
    return str(_markdown(names).render(text))


def target(url: str) -> str:
    """Takes a button's address, gives where it leads in a browser; "" if nowhere.

    DingTalk's own `dingtalk://…/page/link?url=` opens the address that it holds.
    """
    if url.startswith("dingtalk://"):
        url = next(iter(parse_qs(urlsplit(url).query).get("url", [])), "")
    return url if url.startswith(("http://", "https://")) else ""


def _markdown(names: list[str]) -> MarkdownIt:
    renderer = MarkdownIt("zero", {"html": False}).enable(
        ["heading", "blockquote", "list", "emphasis", "link", "image", "newline", "escape", "entity"]
    )
    renderer.validateLink = _may_link  # type: ignore[method-assign]
    renderer.inline.ruler.push("font", _font)
    renderer.core.ruler.push("font_pairs", _pair_fonts)
    renderer.add_render_rule("text", lambda self, tokens, at, *rest: _words(tokens[at].content, names))
    renderer.add_render_rule("font_open", _font_open)
    renderer.add_render_rule("font_close", lambda self, tokens, at, *rest: "</span>")
    renderer.add_render_rule("link_open", _link_open)
    renderer.add_render_rule("image", _image)
    return renderer


def _may_link(url: str) -> bool:
    return bool(target(url))


def _words(text: str, names: Iterable[str], newline: str = "\n", around: object = None) -> str:
    """Gives text as HTML, each of the names in it marked."""
    names = [name for name in names if name in text]
    if not names:
        return _escaped(text, newline, around)
    pattern = re.compile(rf"(?<!\S)({'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})(?!\S)")
    pieces = pattern.split(text)
    return "".join(
        f'<span class="mention">{escape(piece)}</span>' if number % 2 else _escaped(piece, newline, around)
        for number, piece in enumerate(pieces)
    )


def _escaped(text: str, newline: str, around: object) -> str:
    html = around(text) if callable(around) else escape(text)
    return str(html).replace("\n", newline)


def _linked(text: str) -> str:
    """Gives plain text as HTML with its web addresses to be tapped, as the phone does it."""
    html, end = "", 0
    for match in _ADDRESS.finditer(text):
        url = escape(match[0])
        html += (
            f'{escape(text[end : match.start()])}<a href="{url}" target="_blank" rel="noreferrer">{url}</a>'
        )
        end = match.end()
    return html + escape(text[end:])


def _font(state: StateInline, silent: bool) -> bool:
    rest = state.src[state.pos : state.posMax]
    opening, closing = _FONT.match(rest), _FONT_END.match(rest)
    match = opening or closing
    if match is None:
        return False
    if not silent:
        # Nesting stays 0 until both ends are known: markdown-it trusts every end to have a beginning.
        token = state.push("font_open" if opening else "font_close", "span", 0)
        token.content = match[0]
        token.meta = {"colour": opening[2]} if opening else {}
    state.pos += match.end()
    return True


def _pair_fonts(state: StateCore) -> None:
    """Turns a colour that is never closed, or an end without a beginning, back into the characters it is."""
    for block in state.tokens:
        unclosed: list[Token] = []
        for token in block.children or []:
            if token.type.endswith("_open"):
                unclosed.append(token)
            elif token.type.endswith("_close"):
                _close(token, unclosed)
        for token in unclosed:
            _back_to_text(token)


def _close(token: Token, unclosed: list[Token]) -> None:
    kind = token.type.removesuffix("_close") + "_open"
    if token.type == "font_close" and (not unclosed or unclosed[-1].type != kind):
        _back_to_text(token)
        return
    # Emphasis and links are always well nested among themselves; a colour between their ends is not.
    while unclosed[-1].type != kind:
        _back_to_text(unclosed.pop())
    unclosed.pop()


def _back_to_text(token: Token) -> None:
    token.type, token.tag = "text", ""


def _font_open(renderer: object, tokens: list[Token], at: int, *rest: object) -> str:
    colour = tokens[at].meta["colour"]
    return f'<span style="color:{escape(_WECOM_COLOURS.get(colour, colour))}">'


def _link_open(renderer: object, tokens: list[Token], at: int, *rest: object) -> str:
    url = target(str(tokens[at].attrGet("href") or ""))
    return f'<a href="{escape(url)}" target="_blank" rel="noreferrer">'


def _image(renderer: object, tokens: list[Token], at: int, *rest: object) -> str:
    url, words = target(str(tokens[at].attrGet("src") or "")), tokens[at].content
    return f'<img src="{escape(url)}" alt="{escape(words)}" referrerpolicy="no-referrer">'
