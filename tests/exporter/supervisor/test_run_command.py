"""`epochwatch run` with real commands: what goes through it, and what comes out."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


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
    ],
)
def test_a_command_that_cannot_be_started_is_said(run: Run, command: str, code: int, said: str) -> None:
    """Exit code and words are those a shell's user knows."""
    done = run([], [command])
    assert (done.returncode, done.stdout, done.stderr.decode()) == (code, b"", said)


def test_output_passes_byte_for_byte(run: Run, tmp_path: Path) -> None:
    """Neither carriage returns, nor bytes that are no text, nor a last line without end are changed."""
    raw = bytes(range(256)) * 40 + b"\r 10%|#   \r 20%|##  \r\xff\xfe\x00 no end"
    (tmp_path / "raw").write_bytes(raw)
    script = "import sys; raw = open(sys.argv[1], 'rb').read(); " + (
        "sys.stdout.buffer.write(raw); sys.stderr.buffer.write(raw[::-1])"
    )
    done = run([], [sys.executable, "-c", script, str(tmp_path / "raw")])
    assert (done.stdout, done.stderr) == (raw, raw[::-1])


def test_what_the_command_left_running_is_ended(run: Run, tmp_path: Path) -> None:
    """Neither a background process nor one that has left the session outlives the command."""
    marker = "3217.125"
    script = f"sleep {marker} & setsid sleep {marker} & sleep 0.2; exit 4"
    assert run([], ["sh", "-c", script]).returncode == 4
    assert subprocess.run(["pgrep", "-f", f"sleep {marker}"], capture_output=True, check=False).stdout == b""
