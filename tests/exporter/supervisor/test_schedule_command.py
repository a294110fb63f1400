"""`epochwatch schedule` and `epochwatch jobs` as processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from .scheduling import EPOCHWATCH, Scheduling


def jobs(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([EPOCHWATCH, "jobs", *arguments], capture_output=True, text=True, check=False)


def test_a_scheduler_from_its_start_to_its_end(scheduling: Scheduling) -> None:
    """Jobs that are due run, /metrics shows all of them, SIGTERM ends it with 0, and `jobs` knows what was."""
    scheduling.write(good="echo fine", bad="exit 3", later="true")
    scheduling.make_due("good")
    scheduling.make_due("bad")
    process = scheduling.start()
    scheduling.until(lambda: 'runs_total{job_name="bad",outcome="failure"} 1.0' in scheduling.metrics())
    scheduling.until(lambda: 'runs_total{job_name="good",outcome="success"} 1.0' in scheduling.metrics())

    assert 'training_job_last_exit_code{job_name="bad"} 3.0' in scheduling.metrics()
    assert 'training_job_next_start_timestamp_seconds{job_name="later"}' in scheduling.metrics()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "fine\n" in output
    assert "job later: next start" in output
    listed = json.loads(jobs("--json", "--state-dir", str(scheduling.state)).stdout)
    assert {name: job["last_outcome"] for name, job in listed.items()} == {
        "bad": "failure",
        "good": "success",
        "later": "",
    }
    shown = jobs("--state-dir", str(scheduling.state)).stdout
    assert [line.split()[0] for line in shown.splitlines()] == ["JOB", "bad", "good", "later"]


def test_jobs_sees_a_run_that_goes_on(scheduling: Scheduling) -> None:
    """While a job runs, the table says so, and a scheduler killed with -9 does not change that."""
    scheduling.write(long="echo $$ > pid; exec sleep 60")
    scheduling.make_due("long")
    process = scheduling.start()
    scheduling.until(lambda: 'state{job_name="long",state="running"} 1.0' in scheduling.metrics())
    shown = jobs("--state-dir", str(scheduling.state)).stdout.splitlines()[1]
    process.kill()
    process.wait()
    orphaned = jobs("--state-dir", str(scheduling.state)).stdout.splitlines()[1]
    os.kill(int((scheduling.directory / "pid").read_text()), signal.SIGKILL)
    scheduling.until(lambda: "unseen" in jobs("--state-dir", str(scheduling.state)).stdout)

    assert "running" in shown
    assert "running" in orphaned


def test_output_that_nobody_reads_keeps_no_scheduler(scheduling: Scheduling) -> None:
    """A second SIGTERM ends the wait for a reader as it would end a job, and how the run ended is known."""
    scheduling.write(a="exec yes")
    scheduling.make_due("a")
    process = scheduling.start()
    scheduling.until(lambda: 'state{job_name="a",state="running"} 1.0' in scheduling.metrics())
    process.send_signal(signal.SIGTERM)
    scheduling.until(lambda: not psutil.Process(process.pid).children())
    process.send_signal(signal.SIGTERM)

    assert process.wait(20) == 0
    (listed,) = json.loads(jobs("--json", "--state-dir", str(scheduling.state)).stdout).values()
    assert (listed["last_outcome"], listed["last_exit_code"]) == ("signal", 143)


def test_the_file_is_read_again_at_sighup(scheduling: Scheduling) -> None:
    """A new job comes in; a file with a mistake changes nothing and is told."""
    scheduling.write(a="true")
    process = scheduling.start()
    scheduling.until(lambda: 'job_name="a"' in scheduling.metrics())
    scheduling.write(a="true", b="true")
    process.send_signal(signal.SIGHUP)
    scheduling.until(lambda: 'next_start_timestamp_seconds{job_name="b"}' in scheduling.metrics())
    scheduling.file.write_text("jobs: {a: {shedule: x}}")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)

    assert 'next_start_timestamp_seconds{job_name="b"}' in scheduling.metrics()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert "jobs.a.shedule: unknown key; did you mean 'schedule'?" in output
    assert process.returncode == 0


def test_what_stands_beside_the_jobs_at_sighup(scheduling: Scheduling) -> None:
    """A mistake there changes no job either; a change is said to take a restart, unless a flag decides."""
    scheduling.write(a="true")
    process = scheduling.start()
    scheduling.until(lambda: 'job_name="a"' in scheduling.metrics())
    for beside in (
        {"notify": "dingtlk"},
        {"port": 1, "alertmanager_url": "http://127.0.0.1:9", "labels": {"team": "vision"}},
    ):
        scheduling.write(b="true", **({} if "notify" in beside else {"c": "true"}))
        scheduling.file.write_text(json.dumps(json.loads(scheduling.file.read_text()) | beside))
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
    scheduling.until(lambda: 'job_name="c"' in scheduling.metrics())
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)

    assert "stay as they are where this is about them: notify must be 'dingtalk'" in output
    assert [line for line in output.splitlines() if "jobs read again" in line] == [
        "epochwatch: jobs read again: b, c"
    ]
    assert [line.rpartition("jobs.yml: ")[2] for line in output.splitlines() if "has changed" in line] == [
        "alertmanager_url has changed; it takes a restart",
        "labels has changed; it takes a restart",
    ]


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs a PID namespace of its own"
)
def test_process_one_of_a_container(scheduling: Scheduling) -> None:
    """As process 1 it reaps orphans of its jobs, passes SIGTERM on, and its end is the scheduler's."""
    scheduling.write(
        orphans="for i in 1 2 3; do (sleep 0.2 &) ; done; ps -e > before; sleep 1; ps -e > after"
    )
    scheduling.make_due("orphans")
    process = scheduling.start("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    scheduling.until(lambda: 'runs_total{job_name="orphans",outcome="success"} 1.0' in scheduling.metrics())
    after = (scheduling.directory / "after").read_text()
    (inside,) = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(inside), signal.SIGTERM)
    process.communicate(timeout=20)

    assert "sleep" in (scheduling.directory / "before").read_text()
    assert "defunct" not in after
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('jobs: {a: {schedule: "0 0 30 2 *", command: "true"}}', "schedule '0 0 30 2 *' never comes"),
        (
            'jobs: {a: {schedule: "0 0 * * *", timezone: Mars, command: "true"}}',
            "time zone 'Mars' is not known",
        ),
        (
            "port: 99999\njobs: {a: {schedule: '@daily', command: 'true'}}",
            "port must be a whole number from 0 to",
        ),
        (
            "alertmanager_url: alertmanager:9093\njobs: {a: {schedule: '@daily', command: 'true'}}",
            "alertmanager_url must be an http:// or https:// address",
        ),
        (
            "notify: dingtlk\njobs: {a: {schedule: '@daily', command: 'true'}}",
            "notify must be 'dingtalk' or 'feishu' or 'wecom'",
        ),
        (
            "notify: dingtalk\njobs: {a: {schedule: '@daily', command: 'true'}}",
            "notify='dingtalk' needs the robot's address in the environment: set DINGTALK_WEBHOOK",
        ),
        (
            "labels: {run: x}\njobs: {a: {schedule: '@daily', command: 'true'}}",
            "labels must not use a name that epochwatch or Prometheus uses itself",
        ),
        (
            "language: de\njobs: {a: {schedule: '@daily', command: 'true'}}",
            'language must be "zh" or "en"',
        ),
        (
            "addr: nohost.invalid\njobs: {a: {schedule: '@daily', command: 'true'}}",
            "cannot serve on addr='nohost.invalid'",
        ),
        (
            f"jobs: {{{'训' * 90}: {{schedule: '@daily', command: 'true'}}}}",
            "cannot name a file: give a name",
        ),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--check",)], ids=["start", "check"])
def test_wrong_files_end_it_at_once(
    scheduling: Scheduling, flags: tuple[str, ...], text: str, said: str
) -> None:
    """A mistake ends the command with 1 and one clear message, no traceback; --check refuses it as a start does."""
    scheduling.file.write_text(text)
    done = subprocess.run(
        [EPOCHWATCH, "schedule", *flags, str(scheduling.file)], capture_output=True, text=True, check=False
    )

    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert done.returncode == 1


def test_a_state_directory_that_cannot_be_made(scheduling: Scheduling) -> None:
    """A start is refused with 1 and says which it is."""
    scheduling.file.write_text("state_dir: /proc/none\njobs: {a: {schedule: '@daily', command: 'true'}}")
    done = subprocess.run(scheduling.command(), capture_output=True, text=True, check=False)

    assert "/proc/none cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


def test_a_second_scheduler_is_refused(scheduling: Scheduling) -> None:
    """Over the same state, the second one ends with a message that names the first."""
    scheduling.write(a="true")
    first = scheduling.start()
    scheduling.until(lambda: 'job_name="a"' in scheduling.metrics())
    second = subprocess.run(
        [
            EPOCHWATCH,
            "schedule",
            str(scheduling.file),
            "--port",
            "0",
            "--alertmanager-url",
            "http://127.0.0.1:9",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert "Traceback" not in second.stderr
    assert f"job a is scheduled by process {first.pid} already" in second.stderr
    assert second.returncode == 1


def test_a_look_at_the_next_starts(scheduling: Scheduling) -> None:
    """--check reads the file, shows when each job would start, and starts nothing."""
    scheduling.write(a="true")
    done = subprocess.run(
        [EPOCHWATCH, "schedule", str(scheduling.file), "--check"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0
    assert done.stdout.startswith("a: 20")
    assert done.stdout.count(" UTC") == 3
    assert not scheduling.state.exists()


def test_no_jobs_yet(tmp_path: Path) -> None:
    """A directory without states is said to be that."""
    done = jobs("--state-dir", str(tmp_path / "none"))

    assert done.stdout == f"no job has its state in {tmp_path / 'none'}\n"
    assert done.returncode == 0
