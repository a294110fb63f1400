"""The compose profile `notebook` in a real engine: nothing without a token, JupyterLab with one.

Run by tests/compose/run.sh; not collected by a plain pytest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from tests.compose.project import Project, assert_confined, assert_healthy, brought_up, wait_for

TOKEN = "b7d1c0e89f3a42d6958e"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """JupyterLab, its token in a file that only the container's user may read."""
    secret: Path = tmp_path_factory.mktemp("secrets") / "jupyter_token"
    secret.write_text(TOKEN + "\n")
    secret.chmod(0o444)
    project = Project(
        f"epochwatch-notebook-{os.getpid()}", "notebook", environ={"JUPYTER_TOKEN_FILE": str(secret)}
    )
    with brought_up(project, "--no-deps", "notebook") as project:
        wait_for(lambda: status(project, "/api") == 200, 120, "JupyterLab")
        yield project


def status(project: Project, path: str, token: str = "") -> int:
    headers = {"Authorization": f"token {token}"} if token else {}
    answer = requests.get(project.url("notebook", path), headers=headers, timeout=10, allow_redirects=False)
    return answer.status_code


@pytest.mark.timeout(120)
@pytest.mark.parametrize("token", ["", "   ", "short"])
def test_no_notebook_without_a_token(token: str) -> None:
    """It does not start, and says what to do."""
    project = Project(f"epochwatch-open-{os.getpid()}", "notebook", environ={"JUPYTER_TOKEN": token})
    with brought_up(project, "--no-deps", "notebook"):
        wait_for(lambda: "not started" in project("logs", "notebook"), 60, "its refusal")
        state = project.inspect("notebook")["State"]

        assert "openssl rand -hex 24" in project("logs", "notebook")
        assert state["ExitCode"] == 2 or state["Restarting"] or state["Running"]
        with pytest.raises(requests.ConnectionError):
            requests.get(project.url("notebook", "/api"), timeout=5)


def test_only_who_has_the_token_gets_in(project: Project) -> None:
    """Without it, or with another, the contents are refused; with it they are there."""
    assert status(project, "/api/contents") == 403
    assert status(project, "/api/contents", "0" * len(TOKEN)) == 403
    assert status(project, "/api/contents", TOKEN) == 200
    assert status(project, "/lab") == 302


def test_a_notebook_is_kept_and_runs_torch(project: Project) -> None:
    """What is saved lies in the volume, and the kernel's Python has torch and epochwatch."""
    cell = {"cell_type": "code", "source": "1 + 1", "metadata": {}, "outputs": [], "execution_count": None}
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    saved = requests.put(
        project.url("notebook", "/api/contents/first.ipynb"),
        json={"type": "notebook", "content": notebook},
        headers={"Authorization": f"token {TOKEN}"},
        timeout=10,
    )
    kernel = requests.post(
        project.url("notebook", "/api/kernels"), headers={"Authorization": f"token {TOKEN}"}, timeout=30
    )

    assert saved.status_code == 201
    assert kernel.status_code == 201
    assert project.run_in("notebook", "test", "-s", "/workspace/notebooks/first.ipynb").returncode == 0
    assert project.run_in("notebook", "python3", "-c", "import epochwatch, torch").returncode == 0


def test_it_is_healthy_and_confined(project: Project) -> None:
    """It passes its check, is not root, cannot write to its system, and tells its token to nobody on the machine."""
    assert_healthy(project, "notebook")
    assert_confined(project, "notebook")
    assert TOKEN not in str(project.inspect("notebook"))
    assert TOKEN not in project("logs", "notebook")
