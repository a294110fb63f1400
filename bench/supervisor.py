"""What `epochwatch run` costs a command, against the same command bare, in turns.

Throughput: 256 MB of training log through a pipe, read by another process; the same with --log-file, beside `tee`.
Start: from the start of the process to the command's first byte. Idle: CPU over some seconds in which the command
sleeps. Latency: a line from the command's write to the reader's read. The rate that is held against the target is one
of CPU, of all processes together: it bears a busy machine.

    python bench/supervisor.py [--quick]
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, sleep, time
from typing import TypeVar

Result = TypeVar("Result")
BARE: tuple[str, ...] = ()
SUPERVISED = (sys.executable, "-m", "epochwatch.cli", "run", "--port", "0", "--addr", "127.0.0.1", "--")
LINE = b"epoch 12 step 34567 loss 0.4321 lr 0.000123 samples/s 1234.5 grad_norm 1.234 eta 01:02:03\n"
TOTAL_BYTES = 256 * 2**20
# Written as fast as the pipe takes it: nothing that trains writes so much.
WRITER = f"""
import os
block = {LINE!r} * 700
for _ in range({TOTAL_BYTES} // len(block)):
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(1, rest):]
"""
STAMPER = """
import sys, time
for _ in range(200):
    time.sleep(0.005)
    sys.stdout.write(f"{time.time()}\\n"); sys.stdout.flush()
"""
TARGET_MB_PER_CPU_SECOND = 100.0
IDLE_TARGET_RATIO = 0.005
LATENCY_TARGET_SECONDS = 0.001


def cpu_seconds() -> float:
    """Gives the CPU of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def drained(command: Sequence[str]) -> tuple[float, float, int]:
    """Runs a command and reads its output to the end; gives seconds, CPU seconds of all of it, and bytes."""
    before, began, received = cpu_seconds(), perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        while chunk := os.read(process.stdout.fileno(), 1 << 20):
            received += len(chunk)
    return perf_counter() - began, cpu_seconds() - before, received


def rates(command: Sequence[str]) -> tuple[float, float]:
    """Gives MB of the writer's output through a command, for each second and for each second of CPU."""
    seconds, cpu, received = drained(command)
    assert received >= TOTAL_BYTES * 0.999, received
    return received / 1e6 / seconds, received / 1e6 / cpu


def first_byte_seconds(prefix: Sequence[str]) -> float:
    """Gives the time from the start to a shell's first byte."""
    began = perf_counter()
    with subprocess.Popen([*prefix, "sh", "-c", "echo x"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        return perf_counter() - began


def idle_cpu_ratio(prefix: Sequence[str], seconds: float) -> float:
    """Gives the CPU that a sleeping command's processes use in a second, the start and the end left out."""
    short, long = (drained([*prefix, "sleep", str(length)])[1] for length in (1.0, 1.0 + seconds))
    return max(0.0, long - short) / seconds


def latency_seconds(prefix: Sequence[str]) -> float:
    """Gives the median time a line takes."""
    took = []
    with subprocess.Popen(
        [*prefix, sys.executable, "-c", STAMPER], stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            took.append(time() - float(line))
    return median(took)


def in_turns(rounds: int, *measures: Callable[[], Result]) -> list[list[Result]]:
    """Measures each once a round, and gives the results of each."""
    results: list[list[Result]] = [[] for _ in measures]
    for _ in range(rounds):
        for measure, found in zip(measures, results, strict=True):
            found.append(measure())
            sleep(0.05)
    return results


def show_throughput(rounds: int) -> bool:
    """Measures what goes through, and tells whether it is enough."""
    writer = [sys.executable, "-c", WRITER]
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        logged = [*SUPERVISED[:-1], "--log-file", str(log), "--log-size", "1G", "--"]
        tee = ["sh", "-c", f'"$@" | tee {log}.tee', "sh"]
        bare, ours, ours_logged, teed = in_turns(
            rounds,
            lambda: rates(writer),
            lambda: rates([*SUPERVISED, *writer]),
            lambda: rates([*logged, *writer]),
            lambda: rates([*tee, *writer]),
        )
    per_cpu_second = median(cpu for _, cpu in ours)
    enough = per_cpu_second >= TARGET_MB_PER_CPU_SECOND
    print(
        f"supervisor  output through a pipe: {per_cpu_second:.0f} MB for a second of CPU, "
        f"{'above' if enough else 'BELOW'} {TARGET_MB_PER_CPU_SECOND:.0f} MB"
    )
    for name, mine, other_name, other in (
        ("supervised", ours, "bare", bare),
        ("with a log file", ours_logged, "tee", teed),
    ):
        ratio = median(a / b for (a, _), (b, _) in zip(mine, other, strict=True))
        print(
            f"supervisor  {name} {median(speed for speed, _ in mine):.0f} MB/s, {other_name} "
            f"{median(speed for speed, _ in other):.0f} MB/s, ratio {ratio:.2f}"
        )
    return enough


def main() -> int:
    rounds = 2 if "--quick" in sys.argv[1:] else 7
    quick = show_throughput(rounds)
    started = in_turns(rounds * 3, lambda: first_byte_seconds(BARE), lambda: first_byte_seconds(SUPERVISED))
    added = median(b - a for a, b in zip(*started, strict=True))
    print(f"supervisor  start to the first byte: {added * 1e3:.0f} ms more than bare")
    bare_delay, our_delay = in_turns(
        rounds, lambda: latency_seconds(BARE), lambda: latency_seconds(SUPERVISED)
    )
    delay = median(b - a for a, b in zip(bare_delay, our_delay, strict=True))
    prompt = delay <= LATENCY_TARGET_SECONDS
    print(
        f"supervisor  a line from the command to the reader: {delay * 1e3:.2f} ms more than bare "
        f"({median(bare_delay) * 1e3:.2f} ms), {'within' if prompt else 'ABOVE'} {LATENCY_TARGET_SECONDS * 1e3:.0f} ms"
    )
    (idle,) = in_turns(max(1, rounds // 2), lambda: idle_cpu_ratio(SUPERVISED, 10.0))
    calm = median(idle) <= IDLE_TARGET_RATIO
    print(
        f"supervisor  CPU while the command sleeps: {median(idle):.2%} of a core, "
        f"{'within' if calm else 'ABOVE'} {IDLE_TARGET_RATIO:.1%}"
    )
    return (not quick) + (not calm) + (not prompt)


if __name__ == "__main__":
    sys.exit(main())
