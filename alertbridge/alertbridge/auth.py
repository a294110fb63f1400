"""Who may post: nobody without the configured credential, if one is configured."""

from __future__ import annotations

from typing import Literal

from werkzeug.datastructures import Authorization

from alertbridge.secret import Secret
from alertbridge.settings import Auth

Judgement = Literal["allowed", "missing", "wrong"]


def judge(auth: Auth | None, shown: Authorization | None) -> Judgement:
    """Takes what is configured and what the client showed, gives whether it may post.

    Both parts of a basic credential are always compared, each in constant time: the answer's time tells nothing.
    """
    if auth is None:
        return "allowed"
    if auth.bearer_token is not None:
        if shown is None or shown.type != "bearer" or shown.token is None:
            return "missing"
        return "allowed" if auth.bearer_token.matches(shown.token) else "wrong"
    if auth.basic is None or shown is None or shown.type != "basic":
        return "missing"
    user = Secret(auth.basic.username).matches(shown.username or "")
    password = auth.basic.password.matches(shown.password or "")
    return "allowed" if user & password else "wrong"


def challenge(auth: Auth) -> str:
    """Gives the WWW-Authenticate header that names the configured way."""
    return 'Bearer realm="alertbridge"' if auth.bearer_token is not None else 'Basic realm="alertbridge"'
