"""Secrets do not show themselves."""

from __future__ import annotations

import copy
import io
import logging
import pickle

import pytest

from alertbridge.logs import MaskingFormatter
from alertbridge.secret import Secret, mask, mask_url


def test_it_is_shown_as_stars() -> None:
    """Printing, formatting and repr show nothing of it."""
    secret = Secret("hunter2")
    assert [str(secret), f"{secret}", f"{secret!r}", f"{[secret]}"] == [
        "***",
        "***",
        "Secret('***')",
        "[Secret('***')]",
    ]
    assert secret.reveal() == "hunter2"


def test_it_compares_by_value() -> None:
    """Two of the same value are equal, and true only if there is something in it."""
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert not Secret("")
    assert Secret("é").matches("é")
    assert not Secret("é").matches("\udcff")


@pytest.mark.parametrize("leave", [pickle.dumps, copy.deepcopy])
def test_it_does_not_leave_the_process(leave: object) -> None:
    """Pickling and copying are refused."""
    with pytest.raises(TypeError, match="a Secret is not pickled"):
        leave(Secret("x"))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (
            "https://oapi.dingtalk.com/robot/send?access_token=abc&timestamp=1&sign=x%3D",
            "https://oapi.dingtalk.com/robot/send?access_token=***&timestamp=1&sign=***",
        ),
        (
            "/robot/send?access_token=abc (Caused by Timeout)",
            "/robot/send?access_token=*** (Caused by Timeout)",
        ),
        (
            "https://open.feishu.cn/open-apis/bot/v2/hook/ab-cd",
            "https://open.feishu.cn/open-apis/bot/v2/hook/***",
        ),
        (
            "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=ab-cd",
            "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=***",
        ),
        ("postgresql+psycopg://bridge:pa$$@db/x", "postgresql+psycopg://bridge:***@db/x"),
        ("postgresql://u:q3/Zk+9 a#b?c'd@db:5432/x is down", "postgresql://u:***@db:5432/x is down"),
        ("postgresql://u:p@ss@db/x", "postgresql://u:***@db/x"),
        ("postgresql://db:5432/x?sslpassword=abc", "postgresql://db:5432/x?sslpassword=***"),
        ("Authorization: Bearer abcdefgh", "Authorization: Bearer ***"),
        ("secret SEC0123456789abcdef0123 here", "secret *** here"),
        ("access_token%3Dabc", "access_token%3D***"),
        ("nothing to hide: run=r0, key: value", "nothing to hide: run=r0, key: value"),
    ],
)
def test_texts_are_masked(text: str, masked: str) -> None:
    """Tokens, signatures, hook paths, passwords and headers are replaced wherever they stand, once."""
    assert mask(text) == masked
    assert mask(masked) == masked


def test_an_address_is_shown_without_its_token() -> None:
    """`mask_url` takes a secret address too."""
    assert mask_url(Secret("http://h/robot/send?access_token=abc")) == "http://h/robot/send?access_token=***"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("bridge:pa/ss@db/x", "bridge:***@db/x"),
        ("mongodb://bridge:pa ss@h@db/x", "mongodb://bridge:***@db/x"),
        ("postgresql://bridge@db/x", "postgresql://bridge@db/x"),
        ("https://example.com/@here", "https://example.com/@here"),
    ],
)
def test_a_whole_address_is_shown_without_its_password(address: str, shown: str) -> None:
    """In what is known to be an address, whatever stands before the last @ may be the password."""
    assert mask_url(address) == shown


def test_tracebacks_in_logs_are_masked() -> None:
    """What a foreign exception says is masked on its way into the log."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(MaskingFormatter("%(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise OSError("no way to /robot/send?access_token=abcdef")
    except OSError:
        logger.exception("failed with %s", "sign=abcdef")
    assert "abcdef" not in stream.getvalue()
    assert "access_token=***" in stream.getvalue()
