"""Starts JupyterLab with a token, never without one: the first process of the notebook image.

Jupyter by itself would make up a token where none is given, and serve without any where an empty one is. Whoever
reaches a notebook can run anything in its container, so the token has to be given, and to be hard to guess.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

SHORTEST_TOKEN = 16
ADVICE = """\
Make a token:
  openssl rand -hex 24 > secrets/jupyter_token     and JUPYTER_TOKEN_FILE=secrets/jupyter_token in .env
  or, for once:  JUPYTER_TOKEN=$(openssl rand -hex 24) docker compose --profile notebook up"""
COMMAND = (
    "jupyter",
    "lab",
    "--ip=0.0.0.0",
    "--port=8888",
    "--no-browser",
    # The token on the command line would be seen by every user of the machine; Jupyter takes it from the environment.
    "--ServerApp.root_dir=/workspace/notebooks",
)


class TokenError(Exception):
    """There is no token that a notebook could be served with; the message says why."""


def token(environ: Mapping[str, str]) -> str:
    """Takes the environment, gives the token of JUPYTER_TOKEN_FILE, else of JUPYTER_TOKEN.

    Raises:
        TokenError: none is given, the file cannot be read, or it is too short to keep anybody out.
    """
    file = environ.get("JUPYTER_TOKEN_FILE", "").strip()
    try:
        found = (Path(file).read_text() if file else environ.get("JUPYTER_TOKEN", "")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenError(f"JUPYTER_TOKEN_FILE, {file}, cannot be read: {error}") from None
    name = f"JUPYTER_TOKEN_FILE, {file}," if file else "JUPYTER_TOKEN"
    if not found:
        raise TokenError(f"{name} is empty")
    if len(found) < SHORTEST_TOKEN:
        raise TokenError(f"{name} has {len(found)} characters; {SHORTEST_TOKEN} at least keep others out")
    return found


def main() -> None:
    """Becomes JupyterLab; without a token it says what to do, and ends with exit code 2."""
    try:
        given = token(os.environ)
    except TokenError as error:
        sys.stderr.write(
            f"notebook: not started: {error}. Whoever reaches a notebook can run programs.\n{ADVICE}\n"
        )
        raise SystemExit(2) from None
    environ = {name: value for name, value in os.environ.items() if name != "JUPYTER_TOKEN_FILE"}
    os.execvpe(COMMAND[0], COMMAND, {**environ, "JUPYTER_TOKEN": given})  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main()
