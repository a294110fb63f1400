"""Decides what became of a run, from all that is known of its last attempt; pure."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from ..phrases import Words, duration
from .ended import Outcome

TIMED_OUT_CODE = 124  # as timeout(1) has it
_SIGNALS_MEAN: dict[int, Words] = {
    signal.SIGSEGV: Words("segmentation fault", "段错误"),
    signal.SIGBUS: Words("bus error", "总线错误"),
    signal.SIGABRT: Words("abort", "异常中止"),
    signal.SIGFPE: Words("arithmetic error", "算术错误"),
    signal.SIGILL: Words("illegal instruction", "非法指令"),
}


@dataclass(frozen=True)
class Evidence:
    """What is known of an attempt that has ended.

    Attributes:
        code: The exit code, or minus the signal.
        timeout_seconds: The time that was up, if that is why it was ended.
        stopped_by: The signal to end it that came through the supervisor, if one did.
        oom_kills: How many processes around it the kernel has killed for want of memory meanwhile.
        oom_kill_at_end: Whether one of them was killed just before the end.
        log_says_cuda_oom: Whether the end of the output has it.
        log_says_killed: Whether the end of the output says that a process it started was killed.
        run_says: The kind of failure that `epochwatch` saw inside; empty if it saw none.
    """

    code: int
    timeout_seconds: float | None = None
    stopped_by: int | None = None
    oom_kills: int = 0
    oom_kill_at_end: bool = False
    log_says_cuda_oom: bool = False
    log_says_killed: bool = False
    run_says: str = ""


@dataclass(frozen=True)
class Verdict:
    """What became of it: how it counts, the code that is passed out, the signal if one ended it, and why."""

    outcome: Outcome
    exit_code: int
    signal: int | None
    cause: Words


def judge(evidence: Evidence) -> Verdict:
    """Takes what is known and gives the verdict; the first that fits of timeout, success, memory, signal, failure."""
    code = evidence.code
    number = ending_signal(code)
    exit_code = code if code >= 0 else 128 - code
    if evidence.timeout_seconds is not None:
        limit = duration(evidence.timeout_seconds)
        cause = Words(f"time-out: not done within {limit.en}", f"超时：{limit.zh}内未完成")
        return Verdict(Outcome.TIMEOUT, exit_code or TIMED_OUT_CODE, number, cause)
    stopped = None if evidence.stopped_by is None else _stopped(evidence.stopped_by)
    if code == 0:
        return Verdict(Outcome.SUCCESS, 0, None, stopped or Words("finished", "完成"))
    # A killed worker may be missed only after minutes, when a collective times out.
    if (evidence.oom_kill_at_end and number == signal.SIGKILL) or (
        evidence.oom_kills and evidence.log_says_killed
    ):
        cause = Words("killed by the kernel for want of memory", "主机内存不足，被内核杀死")
        return Verdict(Outcome.HOST_OOM, exit_code, number, cause)
    if stopped is not None:
        return Verdict(Outcome.SIGNAL, exit_code, number, stopped)
    # C++ code that nobody catches the exception of aborts.
    if number in (None, signal.SIGABRT) and _is_cuda_oom(evidence):
        cause = Words("CUDA out of memory", "显存不足（CUDA out of memory）")
        return Verdict(Outcome.CUDA_OOM, exit_code, number, cause)
    if number is not None:
        return Verdict(Outcome.SIGNAL, exit_code, number, _killed(number))
    return Verdict(Outcome.FAILURE, exit_code, None, Words(f"exit code {code}", f"退出码 {code}"))


def ending_signal(code: int) -> int | None:
    """Takes an exit code, or minus a signal, and gives the signal that ended it; shells say 128 + n of their own."""
    number = -code if code < 0 else code - 128
    return number if number in signal.valid_signals() else None


def _is_cuda_oom(evidence: Evidence) -> bool:
    # What saw the exception knows better than the log, where one may stand that was caught.
    return evidence.run_says == "cuda_oom" if evidence.run_says else evidence.log_says_cuda_oom


def _stopped(number: int) -> Words:
    name = _name(number)
    if number == signal.SIGINT:
        return Words(f"interrupted by hand ({name})", f"被手动中断（{name}）")
    return Words(f"ended from outside ({name})", f"被外部终止（{name}）")


def _killed(number: int) -> Words:
    name, meaning = _name(number), _SIGNALS_MEAN.get(number)
    if meaning is not None:
        return Words(f"{meaning.en} ({name})", f"{meaning.zh}（{name}）")
    return Words(f"killed by {name}", f"被 {name} 杀死")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # the real-time ones have none
        return f"signal {number}"
