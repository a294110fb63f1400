"""From the flags of `epochwatch run` to what is to be run, and whether its past is kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import JobError, StateError
from ..troubles import LOGGER
from .jobspec import JobSpec
from .keptrun import KeptRun, Places
from .statefile import default_directory
from .supervisor import Supervisor
from .timetable import timetable_of


@dataclass(frozen=True)
class Request:
    """What `epochwatch run` was asked for.

    Attributes:
        scheduled: Whether it stays and starts the job by its schedule.
        named: Whether the job has a name of its own, so that its past is worth keeping.
        strict: Whether it is an error if that cannot be kept.
    """

    spec: JobSpec
    places: Places
    scheduled: bool
    named: bool
    strict: bool


def requested(job: str | None, command: tuple[str, ...], options: dict[str, Any]) -> Request:
    """Takes the flags about the job and gives what they ask for.

    Raises:
        JobError: If one of them is wrong, or two do not go together.
        ScheduleError: If the schedule or zone is wrong.
    """
    scheduled, expected = options.pop("schedule"), options.pop("expected_schedule")
    state_dir, textfile, pushgateway = (
        options.pop(name) for name in ("state_dir", "textfile", "pushgateway")
    )
    if scheduled is not None and (expected is not None or textfile is not None or pushgateway is not None):
        raise JobError(
            "--schedule stays and serves /metrics; --expected-schedule, --textfile and --pushgateway are for a job "
            "that something else starts: give one or the other"
        )
    spans = ("timeout", "stop_grace", "restart_delay", "grace")
    seconds = {f"{name}_seconds": options.pop(name) for name in spans}
    spec = JobSpec(
        job or name_of(command),
        command,
        schedule=expected if scheduled is None else scheduled,
        log_size_bytes=options.pop("log_size"),
        **seconds,
        **options,
    )
    if spec.schedule is not None:
        timetable_of(spec)
    strict = any(given is not None for given in (state_dir, textfile, pushgateway, expected))
    places = Places(state_dir or default_directory(os.environ), textfile, pushgateway)
    return Request(spec, places, scheduled is not None, job is not None or strict, strict)


def keep(request: Request, supervisor: Supervisor) -> KeptRun | None:
    """Gives the run that is kept; None for a job without a name, or if a state that was not asked for cannot be.

    Raises:
        EpochwatchError: If what was asked for cannot be had.
    """
    if not request.named:
        return None
    try:
        return KeptRun(request.spec, request.places, supervisor)
    except StateError as error:
        if request.strict:
            raise
        LOGGER.warning(
            "%s is run all the same, but a second one is not kept away: %s", request.spec.name, error
        )
        return None


def name_of(command: tuple[str, ...]) -> str:
    """Takes a command and gives what a job is called if nobody says: its script, its module or its program."""
    for before, part in zip(("", *command), command, strict=False):
        if part.endswith(".py"):
            return Path(part).stem or "job"
        if before == "-m" and part:
            return part
    return Path(command[0]).name or "job"
