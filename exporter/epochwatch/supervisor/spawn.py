"""Starts the command with its output in our hands: through pipes, or a pseudo-terminal where ours is a terminal.

For somebody in front of it, each of the three standard streams that is a terminal here is one for the command too, so
that progress bars, colours and window sizes are what they would be; each other output is a pipe. What the clock starts
has pipes alone and nothing to read: several cannot share a terminal, and nobody types for them.

Only the command's own process can make the terminal its controlling one, by opening it as the leader of a new session;
a shell does that before it becomes the command, since Python code between fork and exec is not safe beside the threads
of the endpoint. (posix_spawn could do it without a shell, but not in a Python that was built for an old glibc, as
conda's are.)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STDIN, STDOUT, STDERR = 0, 1, 2
# The most that a user who is not root may ask for (pipe(7)); a pipe of 64 KiB makes eight times as many switches.
PIPE_BYTES = 1 << 20

# Opens the terminal and lets it go again; it stays the session's.
_TAKE_TERMINAL = ("/bin/sh", "-c", ': <>"$0" && exec "$@"')


class CannotStartError(Exception):
    """The command cannot be started.

    Attributes:
        exit_code: 126 or 127, as shells have it.
    """

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Stream:
    """One stream of the command's output: the descriptor to read it from, and ours that it goes to."""

    source: int
    target: int


@dataclass(frozen=True)
class Child:
    """A command that was started, the leader of its session and process group.

    Attributes:
        streams: Its output.
        terminal: Our side of its pseudo-terminal, which is also the source of a stream; None if it has none.
    """

    pid: int
    streams: tuple[Stream, ...]
    terminal: int | None


def located(command: Sequence[str], env: Mapping[str, str], cwd: Path | None) -> list[str]:
    """Takes a command as it was given, and gives it with the program's path; apart from `spawn`, as a disk may hang.

    Raises:
        CannotStartError: If there is no such command, or it cannot be executed.
    """
    try:
        return _located(command, env, cwd)
    except OSError as error:  # a directory that may not be entered
        place = error.filename or command[0]
        raise CannotStartError(f"{place}: {error.strerror or error}", 126) from error


def spawn(
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: Path | None,
    inherited: Sequence[int] = (),
    *,
    interactive: bool = False,
) -> Child:
    """Starts a command that `located` has found.

    Args:
        inherited: Descriptors that it gets besides the standard ones.
        interactive: Whether it gets our input, and a terminal where we have one.

    Raises:
        CannotStartError: If it cannot be executed.
    """
    try:
        return _spawn(list(command), env, cwd, inherited, interactive)
    except OSError as error:  # no descriptors or no pseudo-terminals are left
        raise CannotStartError(f"{command[0]}: {error.strerror or error}", 126) from error


def _spawn(
    argv: list[str],
    env: Mapping[str, str],
    cwd: Path | None,
    inherited: Sequence[int],
    interactive: bool,
) -> Child:
    terminals = [number for number in (STDIN, STDOUT, STDERR) if interactive and os.isatty(number)]
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        outputs: dict[int, int | None] = dict.fromkeys((STDIN, STDOUT, STDERR))
        if not interactive:
            outputs[STDIN] = subprocess.DEVNULL
        streams: list[Stream] = []
        master = None
        if terminals:
            master, slave = _open_terminal(ours, theirs)
            streams.append(Stream(master, next((n for n in (STDOUT, STDERR) if n in terminals), STDIN)))
            outputs |= dict.fromkeys(terminals, slave)
            argv = [*_TAKE_TERMINAL, os.ttyname(slave), *argv]
        for numbers in _shared([number for number in (STDOUT, STDERR) if number not in terminals]):
            read_end, write_end = _open_pipe(ours, theirs)
            streams.append(Stream(read_end, numbers[0]))
            outputs |= dict.fromkeys(numbers, write_end)
        pid = _start(argv, env, cwd, outputs, inherited)
        ours.pop_all()
    return Child(pid, tuple(streams), master)


def hold_standard_streams() -> None:
    """Opens the standard streams that are closed, before the first sockets and pipes take their numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(number, True)
    os.close(number)


def _shared(numbers: list[int]) -> Iterator[list[int]]:
    """Takes the outputs that need pipes; those that go to one place share one, which keeps their order."""
    if len(numbers) == 2 and os.path.samestat(os.fstat(numbers[0]), os.fstat(numbers[1])):
        yield numbers
    else:
        yield from ([number] for number in numbers)


def _open_pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    ours.callback(os.close, read_end)
    theirs.callback(os.close, write_end)
    with contextlib.suppress(OSError):  # the user's pipes are many already
        fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return read_end, write_end


def _open_terminal(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    master, slave = os.openpty()
    ours.callback(os.close, master)
    theirs.callback(os.close, slave)
    os.set_blocking(master, False)
    # Bytes go through as they are: what becomes of a newline is the real terminal's affair.
    attributes = termios.tcgetattr(slave)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    return master, slave


def _located(command: Sequence[str], env: Mapping[str, str], cwd: Path | None) -> list[str]:
    program = command[0]
    if cwd is not None and not cwd.is_dir():
        raise CannotStartError(f"{cwd}: no such directory to start in", 126)
    if "/" in program:
        _executable(Path(program) if cwd is None else cwd / program)
        return list(command)
    found = shutil.which(program, path=env.get("PATH", os.defpath))
    if found is None:
        raise CannotStartError(f"{program}: no such command on the PATH", 127)
    return [found, *command[1:]]


def _executable(path: Path) -> None:
    if not path.exists():
        raise CannotStartError(f"{path}: no such file", 127)
    if path.is_dir() or not os.access(path, os.X_OK):
        raise CannotStartError(f"{path}: not an executable file", 126)


def _start(
    argv: list[str],
    env: Mapping[str, str],
    cwd: Path | None,
    outputs: Mapping[int, int | None],
    inherited: Sequence[int],
) -> int:
    try:
        process = subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            stdin=outputs[STDIN],
            stdout=outputs[STDOUT],
            stderr=outputs[STDERR],
            start_new_session=True,
            pass_fds=inherited,
        )
    except OSError as error:
        text = error.strerror or str(error)
        if isinstance(error, FileNotFoundError):
            text = "its interpreter, the #! line's, is not there"
        raise CannotStartError(f"{argv[0]}: {text}", 126) from error
    # The nursery waits for it. Left to itself, Popen would do so too, or warn that nobody has.
    process.returncode = 0
    return process.pid
