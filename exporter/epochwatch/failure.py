"""What an exception says to somebody who only has a phone: its kind, its message, where it was raised."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

MESSAGE_LIMIT = 200
LINE_LIMIT = 160
STACK_LINES = 5
_CUT = "…"

_PACKAGES = ("site-packages", "dist-packages")
_OWN = str(Path(__file__).parent)
# Where `sysconfig` would look it up, at some milliseconds of a training's start.
_STDLIB = str(Path(os.__file__).parent)

# torch's loader hands a worker's exception on as text (torch/_utils.py, ExceptionWrapper).
_FROM_WORKER = re.compile(r"Caught [\w.]+ in (.+?)\.\nOriginal Traceback")
_FRAME = re.compile(r'^\s*File "([^"]+)", line (\d+), in (.+?)\n(?:\s*(?!File ")(\S.*))?', re.MULTILINE)


@dataclass(frozen=True)
class Frame:
    """A line of a stack: `path` as it is on disk, `source` stripped and perhaps empty."""

    path: str
    number: int
    function: str
    source: str


@dataclass(frozen=True)
class Failure:
    """An exception, ready to be told.

    Attributes:
        kind: "cuda_oom" or "other".
        type: The exception's class; empty if nobody knows one.
        message: One line of at most 200 characters.
        stack: The last lines of the user's code, outermost first, then where else it went.
        memory: What torch's allocator held on each device, if memory was short.
    """

    kind: str
    type: str
    message: str
    stack: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """Gives type and message in one line."""
        return ": ".join(part for part in (self.type, self.message) if part)


def describe(
    error: BaseException | None, root: Path, modules: Mapping[str, ModuleType] = sys.modules
) -> Failure:
    """Takes the exception that ended a run and gives what is to be told of it.

    Args:
        error: None if the run was only said to have failed.
        root: Directory from which the paths of the user's code are shown.
        modules: Where torch is found, if it was imported.
    """
    if error is None:
        return Failure("other", "", "")
    kind, text = exception_kind(error), message_of(error)
    frames = own_frames(error)
    worker = _FROM_WORKER.search(text)
    if worker is not None:
        frames = [
            Frame(path, int(number), name, source) for path, number, name, source in _FRAME.findall(text)
        ]
        text = f"{text.strip().splitlines()[-1].partition(': ')[2]} ({worker[1]})"
    stack = list(stack_lines(frames, root))
    if error.__cause__ is not None:
        stack.append(cut(f"from {type(error.__cause__).__name__}: {message_of(error.__cause__)}", LINE_LIMIT))
    return Failure(
        kind,
        type(error).__name__,
        cut(text, MESSAGE_LIMIT),
        tuple(stack),
        tuple(allocator_lines(modules.get("torch"))) if kind == "cuda_oom" else (),
    )


def exception_kind(error: BaseException) -> str:
    """Takes an exception and gives its `kind` label, without importing torch."""
    # torch.OutOfMemoryError; older versions raise a RuntimeError with this text.
    if type(error).__name__ == "OutOfMemoryError" or "CUDA out of memory" in message_of(error):
        return "cuda_oom"
    return "other"


def message_of(error: BaseException) -> str:
    """Gives an exception's text, whatever its __str__ does."""
    try:
        return str(error)
    except Exception as second:
        return f"(its message cannot be shown: {type(second).__name__})"


def cut(text: str, limit: int) -> str:
    """Takes any text and gives one printable line of it, at most `limit` characters long."""
    # Only so much is looked at: a message may hold a whole tensor.
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text[: 8 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + _CUT


def own_frames(error: BaseException) -> list[Frame]:
    """Gives the frames an exception came through, without those of epochwatch."""
    walk = traceback.walk_tb(error.__traceback__)
    # Source lines are read from disk only for those that are shown.
    summary = traceback.StackSummary.extract(walk, lookup_lines=False)
    places = [place for place in summary if not place.filename.startswith(_OWN)]
    users = [place for place in places if is_users(place.filename)]
    shown = {id(place) for place in [*users[-STACK_LINES:], *places[-STACK_LINES:]]}
    return [
        Frame(place.filename, place.lineno or 0, place.name, (place.line or "").strip())
        for place in places
        if id(place) in shown
    ]


def stack_lines(frames: Sequence[Frame], root: Path) -> Iterator[str]:
    """Takes frames, outermost first, and gives the last lines of the user's code and where they led to."""
    users = [frame for frame in frames if is_users(frame.path)]
    for frame in (users or frames)[-STACK_LINES:]:
        place = f"{short_path(frame.path, root)}:{frame.number} {frame.function}"
        yield cut(f"{place}: {frame.source}" if frame.source else place, LINE_LIMIT)
    if users and frames[-1] is not users[-1]:
        last = frames[-1]
        yield cut(f"→ {short_path(last.path, root)}:{last.number} {last.function}", LINE_LIMIT)


def is_users(path: str) -> bool:
    """Tells whether a source file is the user's own rather than Python's or an installed package's."""
    if path.startswith("<"):
        return path == "<stdin>" or path.startswith(("<ipython", "<string"))
    if any(part in _PACKAGES for part in Path(path).parts):
        return False
    return not path.startswith(_STDLIB)


def short_path(path: str, root: Path) -> str:
    """Gives a path as seen from `root`, or its last three parts: enough to find it, and no more of the machine."""
    try:
        return str(Path(path).relative_to(root))
    except ValueError:
        parts = Path(path).parts
        inside = next((at + 1 for at, part in enumerate(parts) if part in _PACKAGES), len(parts) - 3)
        return str(Path(*parts[max(inside, 0) :]))


def allocator_lines(torch: Any) -> Iterator[str]:
    """Gives what torch's CUDA allocator holds, a line a device; nothing where CUDA was not used."""
    try:
        cuda = getattr(torch, "cuda", None)
        if cuda is None or not cuda.is_initialized():
            return
        for ordinal in range(cuda.device_count()):
            stats = cuda.memory_stats_as_nested_dict(ordinal)
            allocated, reserved = stats["allocated_bytes"]["all"], stats["reserved_bytes"]["all"]
            if reserved["peak"]:
                total = cuda.get_device_properties(ordinal).total_memory
                yield (
                    f"GPU {ordinal}: tensors {_gib(allocated['current'])} (peak {_gib(allocated['peak'])}), "
                    f"reserved {_gib(reserved['current'])}, in all {_gib(total)}"
                )
    except Exception as error:  # a device that has failed may refuse even that
        yield f"the allocator cannot be asked: {type(error).__name__}"


def _gib(size_bytes: float) -> str:
    return f"{size_bytes / 2**30:.2f} GiB"
