"""The file of several jobs, and what is said about a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from epochwatch.errors import ScheduleError
from epochwatch.supervisor.jobsfile import load
from epochwatch.supervisor.jobspec import JobSpec

WHOLE = """\
state_dir: state
port: 9402
alertmanager_url: http://alertmanager:9093
labels: {team: vision}
defaults:
  timezone: Asia/Shanghai
  timeout: 8h
  env: {OMP_NUM_THREADS: 1}
jobs:
  nightly: &nightly
    schedule: "0 2 * * *"
    command: [python, train.py, --epochs, 30, --amp, on]
    grace: 5m
    restarts: 2
    log_file: logs/nightly.log
    log_size: 10M
  weekly:
    <<: *nightly
    schedule: "@weekly"
    command: python train.py --name "全量 训练"
    timeout:
    timezone: UTC
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "jobs.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_of_two_jobs(tmp_path: Path) -> None:
    """Defaults, merges, spans of time, sizes and paths come to the jobs; values are taken as they are written."""
    read = load(write(tmp_path, WHOLE))

    nightly = JobSpec(
        name="nightly",
        command=("python", "train.py", "--epochs", "30", "--amp", "on"),
        schedule="0 2 * * *",
        timezone="Asia/Shanghai",
        grace_seconds=300,
        timeout_seconds=28_800,
        restarts=2,
        log_file=tmp_path / "logs/nightly.log",
        log_size_bytes=10 * 2**20,
        env={"OMP_NUM_THREADS": "1"},
    )
    assert read.jobs[0] == nightly
    assert (read.jobs[1].schedule, read.jobs[1].timezone) == ("@weekly", "UTC")
    assert read.jobs[1].command == ("python", "train.py", "--name", "全量 训练")
    assert read.jobs[1].restarts == 2
    assert read.state_dir == tmp_path / "state"
    assert read.settings == {
        "port": 9402,
        "alertmanager_url": "http://alertmanager:9093",
        "labels": {"team": "vision"},
    }


JOB = 'jobs:\n  nightly:\n    schedule: "0 2 * * *"\n    command: [python, train.py]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (JOB + "    timeot: 8h\n", "jobs.yml:5: jobs.nightly.timeot: unknown key; did you mean 'timeout'?"),
        (
            JOB + "    quux: full\n",
            "jobs.yml:5: jobs.nightly.quux: unknown key; known here: command, cwd, env, grace",
        ),
        ("job:\n" + JOB[6:], "jobs.yml:1: job: unknown key; did you mean 'jobs'?"),
        (
            JOB + "    timeout: soon\n",
            'jobs.yml:5: jobs.nightly.timeout: must be a span of time, as in "30s"',
        ),
        (
            JOB + "    timeout: 0\n",
            "jobs.yml:5: jobs.nightly.timeout: job nightly: timeout must be at least 1 s",
        ),
        (JOB + "    timeout: [1h]\n", "jobs.yml:5: jobs.nightly.timeout: must be a text"),
        (JOB + "    restarts: many\n", "jobs.yml:5: jobs.nightly.restarts: must be a whole number"),
        (JOB + "    log_size: big\n", 'jobs.yml:5: jobs.nightly.log_size: must be a size, as in "64K"'),
        (
            JOB + "    log_size: 1" + "0" * 400 + "\n",
            "jobs.yml:5: jobs.nightly.log_size: must be a size that a disk",
        ),
        (
            JOB + "    timeout: 1" + "0" * 400 + "d\n",
            "jobs.yml:5: jobs.nightly.timeout: must be a span of time of at",
        ),
        (
            JOB + "    <<: common\n",
            "jobs.yml:5: jobs.nightly.<<: must bring in a mapping by its anchor, as in <<: *common",
        ),
        (JOB + "    env: [A]\n", "jobs.yml:5: jobs.nightly.env: must map names to texts"),
        (
            JOB + "    timezone: Asia/Shangai\n",
            "jobs.yml:5: jobs.nightly.timezone: time zone 'Asia/Shangai' is not",
        ),
        (
            JOB + '    schedule: "0 3 * * *"\n',
            "jobs.yml:5: jobs.nightly.schedule: stands here twice; keep one of them",
        ),
        (
            JOB.replace("0 2 * * *", "0 0 30 2 *"),
            "jobs.yml:3: jobs.nightly.schedule: schedule '0 0 30 2 *' never comes",
        ),
        (
            JOB.replace("[python, train.py]", '"python \\"train.py"'),
            "jobs.yml:4: jobs.nightly.command: must be a program",
        ),
        (
            JOB.replace("[python, train.py]", "[]"),
            "jobs.yml:4: jobs.nightly.command: job nightly: command must be the",
        ),
        (
            JOB.replace("    command: [python, train.py]\n", ""),
            "jobs.yml:2: jobs.nightly.command: is missing; write a",
        ),
        (JOB.replace("nightly", "a/b"), "jobs.yml:2: jobs.a/b: job a/b: job must not have a / in it"),
        ("jobs:\n  nightly: python train.py\n", "jobs.yml:2: jobs.nightly: must be a mapping of keys"),
        (JOB.replace("[", "#"), "jobs.yml:4: jobs.nightly.command: is missing; write a program"),
        ("jobs:\n  a:\n", "jobs.yml:2: jobs.a.schedule: is missing; write five fields"),
        ("jobs:\n", "jobs.yml:1: jobs: must name a job"),
        ("jobs: {}\n", "jobs.yml:1: jobs: must name a job, as in jobs: {nightly:"),
        ("", "jobs.yml:1: jobs: must name a job"),
        ("- nightly\n", "jobs.yml:1: must be a mapping of keys"),
        ("port: none\n" + JOB, "jobs.yml:1: port: must be a whole number"),
        ("jobs: [\n", "jobs.yml:2: not YAML: while parsing a flow node, expected the node content"),
        ("jobs: *none\n", "jobs.yml:1: not YAML: found undefined alias 'none'"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    """Each mistake is told with file, line, key and what to write instead."""
    path = write(tmp_path, text)

    with pytest.raises(ScheduleError) as refused:
        load(path)

    assert message in str(refused.value).replace(f"{tmp_path}/", "")
    assert str(refused.value).startswith(f"{path}:")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """One reading of a file gives every problem in it, a line each, in the file's order."""
    text = JOB + "    quux: full\n    grace: soon\n  b: {}\n"

    with pytest.raises(ScheduleError) as refused:
        load(write(tmp_path, text))

    lines = str(refused.value).replace(f"{tmp_path}/", "").splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "jobs.nightly.quux",
        "jobs.nightly.grace",
        "jobs.b.command",
        "jobs.b.schedule",
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is not there, or not UTF-8, is told as that."""
    (tmp_path / "latin.yml").write_bytes(b"jobs: \xff\n")

    with pytest.raises(ScheduleError, match=r"none\.yml: cannot be read: No such file"):
        load(tmp_path / "none.yml")
    with pytest.raises(ScheduleError, match=r"latin\.yml: not UTF-8 at byte 6; save the file as UTF-8"):
        load(tmp_path / "latin.yml")
