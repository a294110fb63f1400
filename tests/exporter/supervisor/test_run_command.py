"""`epochwatch run` with real commands: what goes through it, and what comes out."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.exporter.conftest import Scrape, scrape, wait_until

from epochwatch.supervisor.supervisor import inherited, read_settings

from .conftest import RUN, is_running

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
Supervise = Callable[..., "subprocess.Popen[bytes]"]

IGNORANT = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -SEGV $$", 139), ("kill -TERM $$", 143)],
)
def test_the_exit_code_is_passed_out(run: Run, script: str, code: int) -> None:
    """The command's own, or 128 + n for signal n."""
    assert run([], ["sh", "-c", script]).returncode == code


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("no-such-command", 127, "epochwatch: start: no-such-command: no such command on the PATH\n"),
        ("./no-such-file", 127, "epochwatch: start: no-such-file: no such file\n"),
        ("/etc/passwd", 126, "epochwatch: start: /etc/passwd: not an executable file\n"),
        ("/tmp", 126, "epochwatch: start: /tmp: not an executable file\n"),
        ("/" + "x" * 300 + "/t", 126, f"epochwatch: start: /{'x' * 300}/t: File name too long\n"),
    ],
)
def test_a_command_that_cannot_be_started_is_said(run: Run, command: str, code: int, said: str) -> None:
    """Exit code and words are those a shell's user knows."""
    done = run([], [command])
    assert (done.returncode, done.stdout, done.stderr.decode()) == (code, b"", said)


def test_a_script_with_a_missing_interpreter_is_said(run: Run, tmp_path: Path) -> None:
    """It is there and executable, and yet cannot be started."""
    script = tmp_path / "train"
    script.write_text("#!/no/such/python\n")
    script.chmod(0o755)
    done = run([], [str(script)])
    assert done.returncode == 126
    assert (
        done.stderr.decode() == f"epochwatch: start: {script}: its interpreter, the #! line's, is not there\n"
    )


REFUSED = [
    (["--timeout", "8 hours"], 'Invalid value for \'--timeout\': must be a span of time, as in "30s", "10m"'),
    (["--timeout", "0"], "job true: timeout must be at least 1 s; got 0.0 (key timeout:, flag --timeout)"),
    (["--restarts", "-1"], "job true: restarts must be a whole number from 0 to 1000; got -1"),
    (["--restarts", "two"], "Invalid value for '--restarts': 'two' is not a valid integer."),
    (["--log-size", "10"], "job true: log_size must be a size of at least 4096 bytes"),
    (
        ["--log-file", "/proc/no/log"],
        "log_file /proc/no/log cannot be written: No such file or directory; name a",
    ),
    (["--job", "a/b"], "job a/b: job must not have a / in it"),
    (["--addr", "192.0.2.1"], "cannot serve on addr='192.0.2.1': Cannot assign requested address"),
    (
        ["--notify", "dingtalk"],
        "notify='dingtalk' needs the robot's address in the environment: set DINGTALK_WEBHOOK",
    ),
    (["--notify", "pigeon"], "notify must be 'dingtalk' or 'feishu' or 'wecom'"),
    (["--alertmanager-url", "alertmanager:9093"], "alertmanager_url must be an http:// or https:// address"),
]


@pytest.mark.parametrize(("flags", "said"), REFUSED, ids=[" ".join(flags) for flags, _ in REFUSED])
def test_wrong_flags_are_refused_before_anything_runs(run: Run, flags: list[str], said: str) -> None:
    """Exit code 2, one clear error that names the flag and what is right, no traceback."""
    done = run(flags, ["true"])
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_output_passes_byte_for_byte(run: Run, tmp_path: Path) -> None:
    """Neither carriage returns, nor bytes that are no text, nor a last line without end are changed."""
    raw = bytes(range(256)) * 40 + b"\r 10%|#   \r 20%|##  \r\xff\xfe\x00 no end"
    (tmp_path / "raw").write_bytes(raw)
    script = "import sys; raw = open(sys.argv[1], 'rb').read(); " + (
        "sys.stdout.buffer.write(raw); sys.stderr.buffer.write(raw[::-1])"
    )
    log = tmp_path / "train.log"
    command = [sys.executable, "-c", script, str(tmp_path / "raw")]
    done = run(["--log-file", str(log)], command)
    assert (done.stdout, done.stderr) == (raw, raw[::-1])
    assert sorted(log.read_bytes()) == sorted(raw + raw)


def test_one_place_for_both_outputs_keeps_their_order() -> None:
    """With 2>&1 the lines of both streams come as they were written."""
    script = "for n in $(seq 200); do echo out $n; echo err $n >&2; done"
    done = subprocess.run(
        [*RUN, "--", "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
    )
    expected = [f"{stream} {number}" for number in range(1, 201) for stream in ("out", "err")]
    assert done.stdout.decode().splitlines() == expected


def test_input_is_the_commands() -> None:
    """What is piped in arrives."""
    done = subprocess.run([*RUN, "--", "wc", "-c"], input=b"x" * 100_000, stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"100000\n"


def test_a_flood_arrives_whole_and_takes_no_memory(supervise: Supervise) -> None:
    """300 MB as fast as the command can, with a needle in it, through less memory than 80 MB."""
    script = (
        "import sys; line = b'epoch 1 loss 0.5 ' * 4000 + b'\\n'\n"
        "for _ in range(4400): sys.stdout.buffer.write(line)\n"
        "sys.stdout.buffer.write(b'CUDA out of memory\\n'); sys.stdout.flush(); sys.exit(1)\n"
    )
    process = supervise([], [sys.executable, "-c", script])
    assert process.stdout is not None
    received, most = 0, 0
    while chunk := process.stdout.read(1 << 20):
        received += len(chunk)
        status = Path(f"/proc/{process.pid}/status").read_text()
        most = max(most, int(status.partition("VmHWM:")[2].split()[0])) if "VmHWM:" in status else most
    assert received == 4400 * (17 * 4000 + 1) + 19
    assert process.wait(20) == 1
    assert 0 < most < 80_000


def test_a_command_that_closes_its_output_is_waited_for(run: Run) -> None:
    """The end of the output is not the end of the command."""
    assert run([], ["sh", "-c", "exec >&- 2>&-; sleep 0.5; exit 5"]).returncode == 5


def test_closed_streams_are_no_matter() -> None:
    """Started with neither input nor output, as some daemons do, it says nothing and the command runs."""
    command = " ".join([*RUN, "--", "sh", "-c", "'echo lost; exit 3'"])
    done = subprocess.run(["sh", "-c", f"{command} <&- >&-"], stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (3, b"")


@pytest.mark.parametrize(("logs", "code"), [(False, 141), (True, 7)])
def test_a_reader_that_goes_away(tmp_path: Path, logs: bool, code: int) -> None:
    """The command learns it as it would without us; with a log there is somebody who still reads."""
    log = tmp_path / "train.log"
    flags = ["--log-file", str(log)] if logs else []
    # Without a log it would never end by itself.
    script = "for n in $(seq 2000); do echo line $n; done; exit 7" if logs else "while :; do echo line; done"
    process = subprocess.Popen([*RUN, *flags, "--", "sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(20) == code
    if logs:
        assert log.read_text().splitlines()[-1] == "line 2000"


def test_a_full_disk_costs_the_log_and_not_the_job(run: Run) -> None:
    """The command ends as it would, its output arrives, and the log's trouble is said."""
    done = run(["--log-file", "/dev/full"], ["echo", "hello"])
    assert (done.returncode, done.stdout) == (0, b"hello\n")
    assert b"log_file: /dev/full cannot be written (No space left on device)" in done.stderr


def test_what_the_command_left_running_is_ended(run: Run, nap: str) -> None:
    """Neither a background process nor one that has left the session outlives the command."""
    script = f"{nap} & setsid {nap} & sleep 0.2; exit 4"
    assert run([], ["sh", "-c", script]).returncode == 4
    assert not is_running(nap)


@pytest.mark.parametrize(("ignores", "code"), [(False, 143), (True, 137)])
def test_a_time_that_is_up_ends_everything(run: Run, nap: str, ignores: bool, code: int) -> None:
    """SIGTERM first, SIGKILL for what does not listen."""
    script = ("trap '' TERM; " if ignores else "") + f"{nap} & {nap}; {nap}"
    done = run(["--timeout", "1s", "--stop-grace", "0.3s"], ["sh", "-c", script])
    assert done.returncode == code
    assert not is_running(nap)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT])
def test_signals_reach_the_command(supervise: Supervise, number: int) -> None:
    """Whatever is sent to the supervisor is the command's to act on."""
    script = (
        "import signal, sys, time\n"
        "def act(number, frame): print('got', number, flush=True); sys.exit(9)\n"
        "for number in (1, 2, 10, 15): signal.signal(number, act)\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.1)\n"
    )
    process = supervise([], [sys.executable, "-c", script])
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert process.stdout.read() == f"got {number:d}\n".encode()
    assert process.wait(20) == 9


def test_an_ignored_sigchld_hides_no_end() -> None:
    """Whoever starts the supervisor may ignore its own children's ends; the command has the default again, too."""
    command = [*RUN, "--", "sh", "-c", "grep SigIgn /proc/$$/status; exit 3"]
    done = subprocess.run(
        [sys.executable, "-c", IGNORANT, *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=30,
    )
    ignored = int(done.stdout.split()[1], 16)
    assert (done.returncode, done.stderr) == (3, b"")
    assert not ignored & 1 << (signal.SIGCHLD - 1)


def test_a_second_interrupt_kills(supervise: Supervise) -> None:
    """Without a terminal too."""
    process = supervise([], ["sh", "-c", "trap 'echo no' INT; echo ready; while :; do sleep 0.05; done"])
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == b"no\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 137


def test_output_that_nobody_reads_outlasts_no_grace(supervise: Supervise) -> None:
    """A command that was ended by SIGTERM is not waited for longer than it would be itself."""
    process = supervise(["--stop-grace", "1s"], ["sh", "-c", "echo ready; exec yes"])
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143


def test_sigterm_while_output_is_passed_on_starts_nothing_again(supervise: Supervise, tmp_path: Path) -> None:
    """The command has failed by itself and nobody reads what it wrote; it is not restarted, and its code comes out."""
    tried = tmp_path / "tried"
    # More than the reader's pipe takes, and less than ours.
    script = f"echo tried >> {tried}; head -c 900000 /dev/zero; exit 3"
    process = supervise(["--restarts", "3", "--restart-delay", "0.1s"], ["sh", "-c", script])
    wait_until(tried.exists)
    wait_until(lambda: not psutil.Process(process.pid).children())
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 3
    assert tried.read_text() == "tried\n"


def test_a_pause_before_a_restart_can_be_ended(supervise: Supervise, free_port: int) -> None:
    """SIGTERM while nothing runs ends the run with the last attempt's code."""
    flags = ["--port", str(free_port), "--restarts", "3", "--restart-delay", "1h"]
    process = supervise(flags, ["sh", "-c", "exit 3"])
    url = f"http://127.0.0.1:{free_port}"
    wait_until(lambda: scrape(url).value("training_job_state", state="restarting"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 3


def test_restarts_are_counted_bounded_and_known_to_the_command(run: Run) -> None:
    """The first start and two more, each knowing which it is."""
    done = run(
        ["--restarts", "2", "--restart-delay", "0.05s"],
        ["sh", "-c", "echo $EPOCHWATCH_SUPERVISOR_RESTARTS; exit 3"],
    )
    assert (done.returncode, done.stdout) == (3, b"0\n1\n2\n")


def test_flags_of_the_environment_are_for_this_supervisor_only(run: Run) -> None:
    """A command that itself starts `epochwatch run` does not inherit them, and keeps what is its own."""
    done = run(
        [],
        ["sh", "-c", "env | grep EPOCHWATCH_ | sort"],
        EPOCHWATCH_JOB="nightly",
        EPOCHWATCH_JOB_TIMEOUT="1h",
        EPOCHWATCH_PORT="9500",
    )
    names = [line.partition("=")[0] for line in done.stdout.decode().splitlines()]
    supervisors = [f"EPOCHWATCH_SUPERVISOR_{name}" for name in ("DIR", "JOB", "PORT", "RESTARTS", "RUN_ID")]
    assert names == ["EPOCHWATCH_PORT", *supervisors]
    assert b"EPOCHWATCH_SUPERVISOR_JOB=nightly\n" in done.stdout


def test_whom_to_tell_is_told_to_the_command() -> None:
    """Where the flags say it, a run inside needs no setting of its own."""
    environ = {"EPOCHWATCH_LANGUAGE": "zh", "EPOCHWATCH_JOB_NOTE": "x", "HOME": "/root"}
    told = {"run": "a", "alertmanager_url": "http://am:9093", "notify": "dingtalk", "language": "en"}
    assert inherited(environ, read_settings(told, environ)) == {
        "HOME": "/root",
        "EPOCHWATCH_ALERTMANAGER_URL": "http://am:9093",
        "EPOCHWATCH_NOTIFY": "dingtalk",
        "EPOCHWATCH_LANGUAGE": "en",
    }
    assert inherited({"HOME": "/root"}, read_settings({"run": "a"}, {})) == {"HOME": "/root"}


def test_metrics_show_a_run_and_its_end(
    supervise: Supervise, free_port: int, last_scrape: Callable[[int], Callable[[], Scrape]]
) -> None:
    """State, times, outcome, patterns, CPU and memory of the whole tree; the end is held until it was scraped."""
    worker = "x = bytearray(50_000_000)\nfor n in range(3_000_000): n * n\nimport time; time.sleep(60)"
    script = (
        "import subprocess, sys\n"
        f"worker = subprocess.Popen([sys.executable, '-c', {worker!r}])\n"
        "print('loss nan', flush=True); sys.stdin.read()\n"
        "raise RuntimeError('CUDA out of memory. Tried to allocate 2 GiB')\n"
    )
    url = f"http://127.0.0.1:{free_port}"
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [*RUN, "--port", str(free_port), "--job", "nightly", "--", sys.executable, "-c", script],
        stdin=read_end,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    os.close(read_end)
    try:
        wait_until(lambda: (scrape(url).value("training_job_cpu_seconds_total") or 0) > 0.1)
        seen = scrape(url)
        assert seen.value("training_job_state", state="running", job_name="nightly") == 1
        assert seen.value("training_job_last_exit_code") is None
        assert seen.value("training_job_log_matches_total", pattern="nan") == 1
        assert (seen.value("training_job_resident_memory_bytes") or 0) > 50e6
        assert {name for name in seen.names() if "next_start" in name or "grace" in name} == set()
        last = last_scrape(free_port)
        os.close(write_end)
        ended = last()
        assert process.wait(20) == 1
    finally:
        process.kill()
        process.wait()
    assert ended.value("training_job_state", state="idle") == 1
    assert ended.value("training_job_last_exit_code") == 1
    assert ended.value("training_job_runs_total", outcome="cuda_oom") == 1
    assert ended.value("training_job_runs_total", outcome="failure") == 0
    assert ended.value("training_job_log_matches_total", pattern="traceback") == 1
    assert ended.value("training_job_resident_memory_bytes") is None
    began, over = (
        ended.value(f"training_job_last_{moment}_timestamp_seconds") or 0 for moment in ("start", "end")
    )
    assert ended.value("training_job_last_duration_seconds") == pytest.approx(over - began, abs=0.001)
    assert ended.value("training_job_last_success_timestamp_seconds") is None
    assert (ended.value("training_job_cpu_seconds_total") or 0) >= 0.1


def test_a_command_that_vanishes_is_not_restarted_for_ever(run: Run, tmp_path: Path) -> None:
    """It was there for the first attempt, and its end is the last one's."""
    script = tmp_path / "train"
    script.write_text('#!/bin/sh\necho tried; rm "$0"; exit 3\n')
    script.chmod(0o755)
    done = run(["--restarts", "5", "--restart-delay", "0.05s"], [str(script)])
    assert (done.returncode, done.stdout) == (127, b"tried\n")
    assert done.stderr.decode() == f"epochwatch: start: {script}: no such file\n"
