"""The notebook image's first process: no JupyterLab without a token that keeps others out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

START = Path(__file__).parents[2] / "exporter/notebook.py"
TOKEN = "f0a1c2d3e4b596877869"


def start(directory: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Starts it with a `jupyter` that shows its arguments and its token instead of serving."""
    jupyter = directory / "jupyter"
    jupyter.write_text('#!/bin/sh\necho "$@"\necho "token=$JUPYTER_TOKEN file=$JUPYTER_TOKEN_FILE"\n')
    jupyter.chmod(0o755)
    return subprocess.run(
        [sys.executable, START],
        env={"PATH": f"{directory}:{os.environ['PATH']}", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "JUPYTER_TOKEN is empty"),
        ({"JUPYTER_TOKEN": ""}, "JUPYTER_TOKEN is empty"),
        ({"JUPYTER_TOKEN": " \t"}, "JUPYTER_TOKEN is empty"),
        ({"JUPYTER_TOKEN": "secret"}, "JUPYTER_TOKEN has 6 characters; 16 at least keep others out"),
        (
            {"JUPYTER_TOKEN": TOKEN, "JUPYTER_TOKEN_FILE": "/dev/null"},
            "JUPYTER_TOKEN_FILE, /dev/null, is empty",
        ),
        ({"JUPYTER_TOKEN_FILE": "/no/such"}, "JUPYTER_TOKEN_FILE, /no/such, cannot be read"),
    ],
)
def test_it_does_not_start_without_a_token(tmp_path: Path, environ: dict[str, str], said: str) -> None:
    """It ends with 2 before anything listens, and says why and what to do; no token is shown."""
    done = start(tmp_path, **environ)

    assert done.returncode == 2
    assert done.stdout == ""
    assert f"not started: {said}" in done.stderr
    assert "openssl rand -hex 24" in done.stderr
    assert TOKEN not in done.stderr


def test_a_token_goes_to_jupyter_by_its_environment(tmp_path: Path) -> None:
    """From the file, without the white space around it, and not on the command line."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    done = start(tmp_path, JUPYTER_TOKEN_FILE=str(tmp_path / "token"), JUPYTER_TOKEN="other")
    arguments, environment = done.stdout.splitlines()

    assert environment == f"token={TOKEN} file="
    assert arguments.startswith("lab ")
    assert TOKEN not in arguments
