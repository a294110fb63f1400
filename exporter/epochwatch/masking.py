"""Takes secrets out of a text before it leaves the process: those of the environment, and whatever looks like one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

MASK = "***"

# Shorter values are words ("true", "none") that stand in every other line.
SHORTEST_SECRET = 6

_SECRET_NAME = re.compile(
    r"secret|token(?!iz)|passw|passphrase|credential|webhook|cookie|dsn|api_?key|access_?key"
    r"|private_?key|(?:^|_)(?:key|auth|pass|pat|sign)(?:_|$)",
    re.IGNORECASE,
)
# A flag of a command whose value is nobody's business: --token, --hf-token, --wandb_api_key; but not --max-tokens.
_SECRET_FLAG = re.compile(
    r"--?(?:[\w-]*[-_])?(?:secret|token|passw(?:or)?d|passphrase|credential|webhook|key)(?:[-_][\w-]*)?",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"(?i)true|false|none|null|default|disabled?|enabled?")

_WORD = r"[\w.-]*(?:access_?token|token(?!iz)|secret|passw(?:or)?d|passphrase|api_?key|access_?key|credential)[\w.-]*"
# A literal next to a telling name, as it stands in a source line: password="hunter2", {"api_key": "x"}.
_LITERAL = re.compile(rf"""(?i)(\b{_WORD}["']?\]?\s*[:=]\s*[rbf]?)(["'])(?!\*\*\*)(?:(?!\2).)+\2""")
# A value with a digit in it next to a telling name: token=abc123; but not token=next(tokens).
_VALUE = re.compile(rf"(?i)(\b{_WORD}\s*[=:]\s*)(?!\*\*\*)(?=[^\s&'\"(),;]*\d)[^\s&'\"(),;\[\]]{{6,}}")
_QUERY = re.compile(
    r"(?i)([?&](?:access_token|token|sign|signature|sig|key|secret|password|x-amz-signature|x-amz-credential)"
    r"(?:=|%3D))[^\s&'\"<>]+"
)
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@?#'\"]+@")
_HEADER = re.compile(r"(?i)\b(bearer|basic)\s+(?!\*\*\*)[a-z0-9._~+/=-]{6,}")
_HOOK = re.compile(r"(?i)(/hook/)[^\s/?&#'\"]+")
# DingTalk's secrets and tokens, Hugging Face, OpenAI, GitHub, GitLab, AWS, Slack, Weights & Biases, JWT.
_KNOWN = re.compile(
    r"\bSEC[0-9a-fA-F]{16,}|\bhf_[A-Za-z0-9]{16,}|\bsk-[A-Za-z0-9_-]{16,}|\bgh[pousr]_[A-Za-z0-9]{16,}"
    r"|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bxox[abprs]-[\w-]{10,}"
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*|\b[0-9a-f]{64}\b"
)


def masked(text: str, environ: Mapping[str, str], secrets: Iterable[str] = ()) -> str:
    """Takes a text and gives it with every secret as `***`.

    Args:
        environ: The environment; the values of variables that are named like a secret are masked.
        secrets: Further texts to be masked.
    """
    # The longest first: one may be a part of another.
    for secret in sorted({*environment_secrets(environ), *filter(None, secrets)}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _USERINFO.sub(rf"\1{MASK}@", text)
    text = _QUERY.sub(rf"\1{MASK}", text)
    text = _HOOK.sub(rf"\1{MASK}", text)
    text = _HEADER.sub(rf"\1 {MASK}", text)
    text = _LITERAL.sub(rf"\1\2{MASK}\2", text)
    text = _VALUE.sub(rf"\1{MASK}", text)
    return _KNOWN.sub(MASK, text)


def masked_command(command: Iterable[str]) -> Iterator[str]:
    """Takes a command's words and gives them with the values of telling flags as `***`."""
    hidden = False
    for word in command:
        flag, equals, _ = word.partition("=")
        if hidden and not word.startswith("-"):
            yield MASK
        else:
            yield f"{flag}={MASK}" if equals and _SECRET_FLAG.fullmatch(flag) else word
        hidden = not equals and _SECRET_FLAG.fullmatch(word) is not None


def environment_secrets(environ: Mapping[str, str]) -> Iterator[str]:
    """Gives the values of variables named like a secret, line by line, and the secrets within addresses."""
    for name, value in list(environ.items()):
        if "://" in value:
            yield from filter(_is_secret, _address_secrets(value))
        if _SECRET_NAME.search(name):
            yield from filter(_is_secret, (line.strip() for line in [value, *value.splitlines()]))


def _address_secrets(address: str) -> Iterator[str]:
    try:
        parts = urlsplit(address.strip())
        password = parts.password
    except ValueError:
        return
    if password:
        yield password
        yield unquote(password)
    yield from (value for name, value in parse_qsl(parts.query) if _SECRET_NAME.search(name))


def _is_secret(value: str) -> bool:
    return len(value) >= SHORTEST_SECRET and not _HARMLESS.fullmatch(value)
