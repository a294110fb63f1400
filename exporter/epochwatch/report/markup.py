"""HTML put together so that every text in it is escaped, and what is not to be is a type of its own; pure."""

from __future__ import annotations

from html import escape


class Html(str):
    """HTML that may stand in a page as it is."""

    __slots__ = ()


Content = str | Html | None


def element(tag: str, *content: Content, **attributes: str | None) -> Html:
    """Takes what stands in an element and its attributes (`class_` is class), gives it; None is left out."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag}{given}>{joined(*content)}</{tag}>")


def joined(*content: Content) -> Html:
    """Gives content in a row; texts are escaped."""
    return Html(
        "".join(part if isinstance(part, Html) else escape(part) for part in content if part is not None)
    )
