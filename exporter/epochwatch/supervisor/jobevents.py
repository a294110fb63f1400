"""What is told of a job, in English and Chinese; pure.

The names are those of the alerts whose rules find the same out later, and each event carries `job_name`:
Alertmanager's inhibition keeps the rule quiet. `run_id` is each run's own, so that two nights are two events.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping

from ..events import Event
from ..failure import cut
from ..phrases import Words, duration
from .cron import Cron
from .ended import Ended, Outcome
from .jobspec import JobSpec

COMMAND_LIMIT = 200
LINE_LIMIT = 160
LINES_TOLD = 10

SHORTEST_SECONDS = 3600.0
# A start that is missed is told no oftener.
MISSED_SECONDS = 12 * 3600.0
# Alertmanager forgets after 120 hours what it has sent, and would send it again.
LONGEST_SECONDS = 119 * 3600.0


def ended_event(spec: JobSpec, ended: Ended, run_id: str) -> Event:
    """Takes a run that has ended and gives its event: finished, interrupted or failed."""
    if ended.stopped and ended.outcome in (Outcome.SIGNAL, Outcome.SUCCESS):
        name, severity, said = "TrainingJobInterrupted", "info", ended.cause
    elif ended.succeeded:
        name, severity, said = "TrainingJobFinished", "info", Words("job finished", "任务完成")
    else:
        name, severity, said = "TrainingJobFailed", "critical", ended.cause
    lines = [*_spent(ended), *_command(spec)]
    if severity == "critical":
        lines += [*_log(spec), *_last_lines(ended)]
    labels = {**job_labels(spec, run_id, ended.runs), "outcome": ended.outcome.value}
    lasting_seconds = _rule_may_fire_seconds(spec, ended.ended_at)
    return Event(
        name,
        severity,
        ended.ended_at,
        said,
        tuple(lines),
        labels,
        lasting_seconds,
        final=True,
        link=ended.link,
    )


def restarting(spec: JobSpec, ended: Ended, run_id: str, number: int, delay_seconds: float) -> Event:
    """Takes an attempt that has ended and gives the event that the command is started again, the `number`th time."""
    pause = duration(delay_seconds)
    said = Words(
        f"{ended.cause.en}; starting again in {pause.en} (restart {number} of {spec.restarts})",
        f"{ended.cause.zh}；{pause.zh}后重新启动（第 {number}/{spec.restarts} 次）",
    )
    lines = (*_spent(ended), *_command(spec), *_log(spec), *_last_lines(ended))
    labels = {**job_labels(spec, run_id, ended.runs), "restart": str(number)}
    return Event("TrainingJobRestarted", "warning", ended.ended_at, said, lines, labels, link=ended.link)


def missed_start(
    spec: JobSpec, at: float, due: str, next_start: str, said: Words, seconds_to_next: float
) -> Event:
    """Takes a start that made no run and gives its event.

    Args:
        due: When it was to start, as a wall clock shows it; as is `next_start`.
        said: Why it did not.
        seconds_to_next: Until when the rule that finds the same out may fire.
    """
    lines = (
        Words(f"was to start at {due}", f"应启动于 {due}"),
        Words(f"next start: {next_start}", f"下次启动：{next_start}"),
        *_command(spec),
    )
    lasting_seconds = _bounded(max(MISSED_SECONDS, seconds_to_next + spec.grace_seconds))
    labels = job_labels(spec, secrets.token_hex(6))
    return Event("TrainingJobMissedStart", "critical", at, said, lines, labels, lasting_seconds)


def cut_off(spec: JobSpec, at: float, started_at: str) -> Event:
    """Takes a run whose end nobody saw, found out at `at`, and gives its event.

    Args:
        started_at: As a wall clock shows it.
    """
    said = Words(
        "its end was not seen: the machine or its supervisor went down", "未见其结束：机器或其监督进程曾中断"
    )
    lines = (Words(f"started at {started_at}", f"启动于 {started_at}"), *_command(spec), *_log(spec))
    labels = {**job_labels(spec, secrets.token_hex(6)), "outcome": Outcome.FAILURE.value}
    lasting_seconds = _rule_may_fire_seconds(spec, at)
    return Event("TrainingJobFailed", "critical", at, said, lines, labels, lasting_seconds, final=True)


def nobody_there() -> Words:
    """Says why a start was missed that no scheduler has seen come."""
    return Words("did not start: nothing was there to start it", "没有启动：当时没有调度器在运行")


def no_thread() -> Words:
    """Says why a start is left out where the machine, or the container, has no thread left."""
    return Words(
        "did not start: no thread can be made, the limit of processes is reached",
        "没有启动：进程数已达上限，无法创建线程",
    )


def still_running(since: float | None, now: float) -> Words:
    """Says why a start is left out while the job's last run goes on."""
    en, zh = "did not start: its last run is still going on", "没有启动：上一次运行尚未结束"
    if since is None or since > now:
        return Words(en, zh)
    spent = duration(now - since)
    return Words(f"{en}, for {spent.en} now", f"{zh}，已运行 {spent.zh}")


def job_labels(spec: JobSpec, run_id: str, runs: tuple[str, ...] = ()) -> Mapping[str, str]:
    """Gives the labels of a job's event; `run` is the training's own name if it has told one."""
    return {"job_name": spec.name, "run": runs[-1] if runs else spec.name, "run_id": run_id}


def _rule_may_fire_seconds(spec: JobSpec, at: float) -> float:
    """Gives how long the rule that finds the same end out might fire: until the next run has had its time."""
    if spec.schedule is None:
        return SHORTEST_SECONDS
    cron = Cron(spec.schedule, spec.timezone or "")
    return _bounded(cron.next_after(cron.next_after(at)) - at)


def _bounded(seconds: float) -> float:
    return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, seconds))


def _spent(ended: Ended) -> Iterator[Words]:
    spent = duration(ended.seconds)
    again = ended.attempts - 1
    yield Words(
        f"exit code {ended.exit_code} after {spent.en}" + (f", restarted {again} times" if again > 0 else ""),
        f"退出码 {ended.exit_code}，用时 {spent.zh}" + (f"，重启 {again} 次" if again > 0 else ""),
    )


def _command(spec: JobSpec) -> Iterator[Words]:
    command = cut(spec.said_command, COMMAND_LIMIT)
    yield Words(f"command: {command}", f"命令：{command}")


def _log(spec: JobSpec) -> Iterator[Words]:
    if spec.log_file is not None:
        yield Words(f"log: {spec.log_file}", f"日志：{spec.log_file}")


def _last_lines(ended: Ended) -> Iterator[Words]:
    for line in ended.last_lines[-LINES_TOLD:]:
        shown = cut(line, LINE_LIMIT)
        if shown:
            yield Words.same(shown)
