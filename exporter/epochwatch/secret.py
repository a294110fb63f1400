"""A text that must not be seen: it shows as stars wherever it is printed, logged or formatted."""

from __future__ import annotations

import hmac


class Secret:
    """Holds a secret; `reveal` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return Secret, ("",)  # a pickled secret is none

    def reveal(self) -> str:
        """Gives the text."""
        return self._text

    def matches(self, given: str) -> bool:
        """Compares in a time that does not tell how much of it was right."""
        return hmac.compare_digest(self._text.encode(), given.encode("utf-8", "surrogateescape"))
