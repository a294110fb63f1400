"""Secrets that do not show themselves, and masking of text that might hold one.

Comes first in the flow: configuration makes every token a `Secret`; only the robot client and the credential
check reveal it. Whatever is logged or shown passes `mask`.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

MASK = "***"

_IN_QUERY = re.compile(
    r"(?i)\b(access_token|token|sign|key|secret|(?:ssl)?password)(=|%3D)(?!\*\*\*)[^\s&#'\"\\<>(),;]+",
)
_IN_PATH = re.compile(r"(?i)(/open-apis/bot/(?:v\d+/)?hook/|/hook/)(?!\*\*\*)[^\s/?&#'\"\\<>(),;]+")
_IN_AUTHORITY = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s:/@?#'\"]*):(?!\*\*\*@)[^\s/@?#'\"]+@")
# Databases take a password as it stands, with / ? # and blanks; it ends at the last @ before the host.
_OF_DATABASE = re.compile(
    r"(?i)\b((?:postgres(?:ql)?|mysql|mariadb)(?:\+\w+)?://[^\s:/@]*):(?!\*\*\*@)[^\n]+?@(?![^\s/]*@)"
)
_SCHEME = "[a-z][a-z0-9+.-]*://"
_OF_WHOLE_ADDRESS = re.compile(rf"(?is)^((?:{_SCHEME}|(?!{_SCHEME}))[^:/@]*):.+@")
_IN_HEADER = re.compile(r"(?i)\b(bearer|basic)[ \t]+[a-z0-9._~+/=-]{4,}")
# DingTalk signing secrets: SEC and 64 hexadecimal digits.
_DINGTALK_SECRET = re.compile(r"\bSEC[0-9a-fA-F]{16,}")


class Secret:
    """Takes a token, gives it back only through `reveal()`; shown, printed or formatted it is `***`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Gives the token itself, for the one place that must send or compare it."""
        return self._value

    def matches(self, candidate: str) -> bool:
        """Takes what a client sent, gives whether it is this secret, in constant time."""
        return hmac.compare_digest(self._value.encode(), candidate.encode(errors="surrogateescape"))

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return self.matches(other._value) if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not pickled: the token would leave the process in the clear")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Imported here: a training image that only sends messages has no pydantic.
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            _validated,
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )


def _validated(value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a text; write it in quotes")
    return Secret(value)


def mask(text: str) -> str:
    """Takes any text, gives it with all that looks like a robot's token, signature or password as `***`.

    Works on logs and foreign exceptions, whose text holds addresses in unknown places.
    """
    text = _OF_DATABASE.sub(rf"\1:{MASK}@", text)
    text = _IN_AUTHORITY.sub(rf"\1:{MASK}@", text)
    text = _IN_PATH.sub(rf"\1{MASK}", text)
    text = _IN_QUERY.sub(rf"\1\2{MASK}", text)
    text = _IN_HEADER.sub(rf"\1 {MASK}", text)
    return _DINGTALK_SECRET.sub(MASK, text)


def mask_url(url: str | Secret) -> str:
    """Takes an address, gives it fit to be shown: no token, no signature, no password."""
    address = url.reveal() if isinstance(url, Secret) else url
    return mask(_OF_WHOLE_ADDRESS.sub(rf"\1:{MASK}@", address))
