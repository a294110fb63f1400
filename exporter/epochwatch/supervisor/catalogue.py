"""The metrics of jobs as data, as `epochwatch.catalogue` has those of runs.

They carry `job_name` and neither `run` nor `rank`: one supervisor serves many jobs, and a job may make no run at all.
"""

from __future__ import annotations

from ..catalogue import Metric
from .ended import Outcome

STATES = ("idle", "running", "restarting")
PATTERNS = ("cuda_oom", "nccl", "traceback", "disk_full", "nan")
OUTCOMES = tuple(outcome.value for outcome in Outcome)
ENDINGS = tuple(outcome for outcome in OUTCOMES if outcome != Outcome.SKIPPED.value)

INFO = Metric(
    "training_job_info",
    "gauge",
    "Always 1; says when the job starts. Both are empty for one that was started by hand or by cron.",
    labels=("job_name", "schedule", "timezone"),
)
STATE = Metric(
    "training_job_state",
    "gauge",
    "What the job does now: 1 for the state it is in, 0 for every other; restarting is the pause before a restart.",
    labels=("job_name", "state"),
    values=(("state", STATES),),
)
LAST_START_TIMESTAMP_SECONDS = Metric(
    "training_job_last_start_timestamp_seconds",
    "gauge",
    "When the last run of the job started; absent before the first.",
    "seconds",
    labels=("job_name",),
)
LAST_END_TIMESTAMP_SECONDS = Metric(
    "training_job_last_end_timestamp_seconds",
    "gauge",
    "When the last run of the job that has ended ended; absent before the first.",
    "seconds",
    labels=("job_name",),
)
LAST_SUCCESS_TIMESTAMP_SECONDS = Metric(
    "training_job_last_success_timestamp_seconds",
    "gauge",
    "When a run of the job last ended with exit code 0; absent before the first.",
    "seconds",
    labels=("job_name",),
)
NEXT_START_TIMESTAMP_SECONDS = Metric(
    "training_job_next_start_timestamp_seconds",
    "gauge",
    "When the job is to start next; moves on only when a run really starts. Absent without a schedule.",
    "seconds",
    labels=("job_name",),
)
START_GRACE_SECONDS = Metric(
    "training_job_start_grace_seconds",
    "gauge",
    "How late a start may be before it counts as missed. Absent without a schedule.",
    "seconds",
    labels=("job_name",),
)
LAST_EXIT_CODE = Metric(
    "training_job_last_exit_code",
    "gauge",
    "Exit code of the last run that has ended: 128 + n for signal n, 124 for a run that ended with 0 after its time "
    "was up, 127 for a command that is not there, -1 if nobody saw the end.",
    labels=("job_name",),
)
LAST_OUTCOME = Metric(
    "training_job_last_outcome",
    "gauge",
    "How the last run of the job that has ended ended: 1 for that, 0 for every other; absent before the first.",
    labels=("job_name", "outcome"),
    values=(("outcome", ENDINGS),),
)
LAST_DURATION_SECONDS = Metric(
    "training_job_last_duration_seconds",
    "gauge",
    "How long the last run that has ended took, restarts included.",
    "seconds",
    labels=("job_name",),
)
RUNS_TOTAL = Metric(
    "training_job_runs_total",
    "counter",
    "Runs of the job that have ended, by how; skipped are starts left out because the one before still ran.",
    labels=("job_name", "outcome"),
    values=(("outcome", OUTCOMES),),
)
LOG_MATCHES_TOTAL = Metric(
    "training_job_log_matches_total",
    "counter",
    "How often a pattern was seen in the job's output.",
    labels=("job_name", "pattern"),
    values=(("pattern", PATTERNS),),
)
CPU_SECONDS_TOTAL = Metric(
    "training_job_cpu_seconds_total",
    "counter",
    "CPU time of the job's whole process tree, all runs of this supervisor together.",
    "seconds",
    labels=("job_name",),
)
RESIDENT_MEMORY_BYTES = Metric(
    "training_job_resident_memory_bytes",
    "gauge",
    "Memory of the job's whole process tree now; absent while it does not run. Pages that processes share are counted "
    "for each of them, unless the job has a control group of its own.",
    "bytes",
    labels=("job_name",),
)

JOB_CATALOGUE: tuple[Metric, ...] = tuple(
    value for value in dict(globals()).values() if isinstance(value, Metric)
)
