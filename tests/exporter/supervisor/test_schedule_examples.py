"""The shipped crontab, Slurm files and CronJob are what they say: they start by one schedule and promise the same."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cloudcoil.models.kubernetes.batch.v1 import CronJob
from cloudcoil.models.kubernetes.core.v1 import PersistentVolumeClaim
from tests.exporter.push_receiver import Gateway

from epochwatch.supervisor.command import run
from epochwatch.supervisor.cron import Cron
from epochwatch.supervisor.jobsfile import load

EXAMPLES = Path(__file__).parents[3] / "examples"
LINE = re.compile(r"(?P<when>\S+ \S+ \S+ \S+ \S+) {3}(?P<command>.+)")


def lines(path: Path) -> list[tuple[str, str]]:
    """Gives the schedules of a crontab and the commands they start."""
    found = [LINE.fullmatch(line) for line in path.read_text().splitlines() if line[:1] in "0123456789*"]
    return [(each["when"], each["command"]) for each in found if each is not None]


def flags(words: list[str]) -> dict[str, Any]:
    """Takes the words after `epochwatch run`, gives what the command would be called with."""
    return run.make_context("run", words).params


@pytest.mark.parametrize(("when", "command"), lines(EXAMPLES / "crontab"))
def test_a_line_of_the_crontab(when: str, command: str) -> None:
    """It starts the job by the schedule that it promises, and leaves the output in a log."""
    words = shlex.split(command)
    given = flags(words[words.index("run") + 1 :])

    assert given["expected_schedule"] == when
    assert Cron(when).next_after(0) > 0
    assert given["job"]
    assert given["log_file"]
    assert "%" not in command  # cron takes it for a newline


def test_the_variables_of_the_crontab_are_options() -> None:
    """Each EPOCHWATCH_ variable it sets is one that the command reads."""
    known = {option.envvar for option in run.params if getattr(option, "envvar", None)}
    used = re.findall(r"^(EPOCHWATCH_\w+)=", (EXAMPLES / "crontab").read_text(), re.MULTILINE)

    assert used
    assert set(used) <= known


def test_the_batch_script(tmp_path: Path) -> None:
    """Under a stand-in of srun it pushes the job's end and its next promise, and its exit code is the training's."""
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\ntest "$1" = python3 && exit 5\n')
    srun.chmod(0o755)
    gateway = Gateway()
    try:
        done = subprocess.run(
            ["bash", EXAMPLES / "slurm/nightly.sbatch"],
            env={
                **os.environ,
                "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "SLURM_JOB_NAME": "nightly",
                "EPOCHWATCH_JOB_PUSHGATEWAY": gateway.address,
                "EPOCHWATCH_STATE_DIR": str(tmp_path / "state"),
                "EPOCHWATCH_ALERTMANAGER_URL": "",
                "EPOCHWATCH_JOB_PORT": "0",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        gateway.close()

    assert done.returncode == 5, done.stderr
    (pushed,) = gateway.groups.values()
    assert 'training_job_last_exit_code{job_name="nightly"} 5.0' in pushed
    assert 'training_job_start_grace_seconds{job_name="nightly"} 7200.0' in pushed
    assert 'training_job_info{job_name="nightly",schedule="0 2 * * *",timezone="Asia/Shanghai"}' in pushed


def test_scrontab_and_its_script_agree() -> None:
    """Slurm starts the script by the schedule that the script promises."""
    ((when, command),) = lines(EXAMPLES / "slurm/scrontab")
    script = (EXAMPLES / "slurm/nightly.sbatch").read_text()

    assert f'--expected-schedule "{when}"' in script
    assert command.endswith("/examples/slurm/nightly.sbatch")
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("page", "keys"), [("scheduling.md", "A job has"), ("scheduling.zh-CN.md", "任务可有")]
)
def test_the_documents_file_of_jobs(tmp_path: Path, page: str, keys: str) -> None:
    """The file that each language's page shows is read, and the keys it names are all that a job may have."""
    text = (EXAMPLES.parent / "docs" / page).read_text()
    (tmp_path / "jobs.yml").write_text(text.split("```yaml\n", 1)[1].split("```", 1)[0])
    read = load(tmp_path / "jobs.yml")
    (named,) = re.findall(rf"^{keys} (.*?)[;；]", text, re.DOTALL | re.MULTILINE)

    assert [job.name for job in read.jobs] == ["nightly", "weekly"]
    assert read.jobs[0].command == ("python", "train.py", "--epochs", "30")
    assert re.findall(r"`(\w+)`", named) == [
        "schedule", "command", "timezone", "grace", "timeout", "stop_grace", "restarts", "restart_delay", "log_file",
        "log_size", "log_files", "env", "cwd",
    ]  # fmt: skip


def test_the_cron_job() -> None:
    """It follows Kubernetes' schema to the last key, and promises what Kubernetes starts by."""
    resource, claim = yaml.safe_load_all((EXAMPLES / "kubernetes/cronjob.yaml").read_text())
    understood = CronJob.model_validate(resource).model_dump(by_alias=True, exclude_unset=True, mode="json")
    spec = resource["spec"]
    (container,) = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    given = flags([*container["command"][2:], *container["args"]])

    assert understood == resource
    assert PersistentVolumeClaim.model_validate(claim).metadata.name == "epochwatch-state"
    assert (given["expected_schedule"], given["timezone"]) == (spec["schedule"], spec["timeZone"])
    assert given["grace"] == spec["startingDeadlineSeconds"]
    assert given["job"] == resource["metadata"]["name"]
    assert given["command"][0] == "python3"
    assert spec["concurrencyPolicy"] == "Forbid"
