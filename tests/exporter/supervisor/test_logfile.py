"""The log of a job: whole, turned over, and no danger to the job."""

import errno
import os
from pathlib import Path

import pytest

from epochwatch.errors import JobError
from epochwatch.supervisor.logfile import LogFile, check
from epochwatch.troubles import Troubles


def test_output_is_kept_byte_for_byte_over_several_files(tmp_path: Path) -> None:
    """FILE.2, FILE.1 and FILE together are what was written, none is larger than it may be, the oldest go."""
    path = tmp_path / "logs" / "train.log"
    log = LogFile(path, 1000, 3, Troubles())
    data = bytes(range(256)) * 10
    for start in range(0, len(data), 300):
        log.write(data[start : start + 300])
    log.close()
    parts = [path.with_name("train.log.2"), path.with_name("train.log.1"), path]
    assert [part.stat().st_size for part in parts] == [1000, 1000, 560]
    assert b"".join(part.read_bytes() for part in parts) == data
    again = LogFile(path, 1000, 3, Troubles())
    again.write(b"x" * 3000)
    again.close()
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "train.log",
        "train.log.1",
        "train.log.2",
        "train.log.3",
    ]


def test_a_log_is_appended_to(tmp_path: Path) -> None:
    """A second run of the job goes on where the first ended."""
    for text in (b"first\n", b"second\n"):
        log = LogFile(tmp_path / "log", 1000, 3, Troubles())
        log.write(text)
        log.close()
    assert (tmp_path / "log").read_bytes() == b"first\nsecond\n"


def test_a_full_disk_is_said_once_and_tried_again_later(caplog: pytest.LogCaptureFixture) -> None:
    """Writing never raises; after ten seconds it is tried again."""
    now = [0.0]
    troubles = Troubles()
    log = LogFile(Path("/dev/full"), 10**6, 3, troubles, clock=lambda: now[0])
    for _ in range(5):
        log.write(b"lost")
    assert troubles.counts["log_file"] == 1
    assert caplog.messages == [
        "log_file: /dev/full cannot be written (No space left on device); the job goes on without it, and it is tried "
        "again every 10 s"
    ]
    now[0] = 11.0
    log.write(b"lost again")
    assert troubles.counts["log_file"] == 2


def test_a_log_that_is_there_again_says_what_is_missing(tmp_path: Path) -> None:
    """After an outage the log goes on with a line that says how much is not in it."""
    now = [0.0]
    directory = tmp_path / "logs"
    directory.write_text("in the way")
    log = LogFile(directory / "log", 10**6, 3, Troubles(), clock=lambda: now[0])
    log.write(b"12345")
    log.write(b"67890")
    directory.unlink()
    now[0] = 11.0
    log.write(b"here again\n")
    log.close()
    assert (directory / "log").read_bytes() == b"\n[epochwatch: 10 bytes are missing here]\nhere again\n"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/proc/no/log", errno.ENOENT),
        ("/dev/null/log", errno.EEXIST),
        ("/tmp", errno.EISDIR),
        ("/proc/version", errno.EACCES),
    ],
)
def test_a_log_that_cannot_be_written_is_refused_before_the_start(path: str, reason: int) -> None:
    """The error names file, reason and what to do."""
    with pytest.raises(JobError) as refused:
        check(Path(path))
    if os.getuid() == 0 and path == "/proc/version":
        assert str(refused.value).startswith("log_file /proc/version cannot be written: ")
    else:
        assert str(refused.value) == (
            f"log_file {path} cannot be written: {os.strerror(reason)}; name a file in a directory that this user may "
            "write to (key log_file:, flag --log-file)"
        )


def test_a_disk_that_refuses_at_the_close_costs_the_log_alone(tmp_path: Path) -> None:
    """A network file system may say only then that there was no room; neither a close nor a turn-over raises."""
    for end in (LogFile.close, lambda log: log.write(b"y" * 1000)):
        troubles = Troubles()
        log = LogFile(tmp_path / "log", 1000, 3, troubles)
        log.write(b"x" * 1000)
        (number,) = [
            int(each.name) for each in Path("/proc/self/fd").iterdir() if _leads_to(each, tmp_path / "log")
        ]
        os.close(number)  # so that closing it fails
        end(log)
        assert troubles.counts["log_file"] == 1
        log.close()
    assert (tmp_path / "log").read_bytes() == b"y" * 1000


def _leads_to(link: Path, path: Path) -> bool:
    try:
        return link.readlink() == path
    except OSError:
        return False
