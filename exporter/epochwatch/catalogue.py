"""Every metric of the training side as data: literal name, type, unit, labels, help.

The collector builds its families from here, docs/metrics.md is generated from here, and rules and
dashboards are checked against it. `run`, `rank` and the run's own constant labels are on every series
and not repeated below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "histogram"]

STATES = ("starting", "training", "evaluating", "checkpointing", "finished", "failed", "interrupted")
END_STATES = ("finished", "failed", "interrupted")
PARTS = ("data_wait", "forward", "backward", "optimizer", "sync_wait", "other")
TIMED_PHASES = ("startup", "train", "evaluate", "checkpoint", "idle")
NONFINITE_KINDS = ("loss", "metric", "gradient")
SKIP_REASONS = ("amp_overflow", "nonfinite", "user")
EXCEPTION_KINDS = ("cuda_oom", "other")

# 1 ms to 1000 s: a toy step and a pipeline-parallel step with gradient accumulation both fall inside.
STEP_BUCKETS_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0, 1000.0)

EWMA_ALPHA = 0.02


@dataclass(frozen=True)
class Metric:
    """One metric family.

    Attributes:
        name: The full name as Prometheus sees it; a counter's ends in `_total`.
        unit: The unit in words, empty for a plain count, flag or timestamp-less number.
        labels: Label names beside `run` and `rank`, in the order in which readings give their values.
        values: Labels whose values are known beforehand, with those values.
    """

    name: str
    kind: Kind
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()


RUN_INFO = Metric(
    "training_run_info",
    "gauge",
    "Always 1; says what this run is. `run` is the stable name, `run_id` unique to this start.",
    labels=("run_id", "framework", "version", "host", "pid", "git_commit"),
)
RANK_INFO = Metric(
    "training_rank_info",
    "gauge",
    "Always 1; says where this rank stands in the distributed job.",
    labels=("local_rank", "node_rank", "world_size"),
)
RUN_STATE = Metric(
    "training_run_state",
    "gauge",
    "What the loop does now: 1 for the state it is in, 0 for every other.",
    labels=("state",),
    values=(("state", STATES),),
)
START_TIMESTAMP_SECONDS = Metric(
    "training_start_timestamp_seconds", "gauge", "When this process started the run.", "seconds"
)
END_TIMESTAMP_SECONDS = Metric(
    "training_end_timestamp_seconds", "gauge", "When the run ended; absent while it goes on.", "seconds"
)
RESTART_COUNT = Metric(
    "training_restart_count", "gauge", "How often the launcher or the supervisor has restarted this job."
)
LAST_PROGRESS_TIMESTAMP_SECONDS = Metric(
    "training_last_progress_timestamp_seconds",
    "gauge",
    "Last sign of life of the loop: a step, an evaluation batch, a checkpoint part.",
    "seconds",
)
STALL_TIMEOUT_SECONDS = Metric(
    "training_stall_timeout_seconds",
    "gauge",
    "Silence after which the loop counts as stalled: the larger of 300 s and 20 times the median step "
    "of the phase it is in.",
    "seconds",
)
STEPS_TOTAL = Metric("training_steps_total", "counter", "Optimizer steps of this process.")
SAMPLES_TOTAL = Metric("training_samples_total", "counter", "Samples trained on by this process.")
TOKENS_TOTAL = Metric("training_tokens_total", "counter", "Tokens trained on by this process.")
GLOBAL_STEP = Metric("training_global_step", "gauge", "Optimizer steps of the run, resumed ones included.")
EPOCHS = Metric("training_epochs", "gauge", "Completed epochs of the run, resumed ones included.")
PLANNED_EPOCHS = Metric("training_planned_epochs", "gauge", "Epochs the run is to make; absent if not told.")
PLANNED_STEPS = Metric("training_planned_steps", "gauge", "Steps the run is to make; absent if not told.")
LOSS = Metric(
    "training_loss",
    "gauge",
    "Mean loss since the last report of the phase; NaN and infinities are shown as they are.",
    labels=("phase",),
)
LOSS_EWMA = Metric(
    "training_loss_ewma",
    "gauge",
    "Bias-corrected exponential moving average of the finite losses, alpha 0.02 a step (phase train), "
    "0.3 a report (any other phase).",
    labels=("phase",),
)
LOSS_BEST = Metric(
    "training_loss_best",
    "gauge",
    "Best finite loss so far, of phase train the mean of an epoch (in the first one of 500 steps); better means "
    "lower by more than min_delta (default 1e-4) of the best, absolute where the best is 0 or below.",
    labels=("phase",),
)
LOSS_BEST_EPOCH = Metric(
    "training_loss_best_epoch", "gauge", "Epoch, counted from 1, of the best loss.", labels=("phase",)
)
PLATEAU_PATIENCE_EPOCHS = Metric(
    "training_plateau_patience_epochs",
    "gauge",
    "Epochs without a better loss after which the run counts as on a plateau.",
    "epochs",
)
ACCURACY_RATIO = Metric(
    "training_accuracy_ratio", "gauge", "Last reported accuracy, 0 to 1.", "ratio", labels=("phase",)
)
ACCURACY_BEST_RATIO = Metric(
    "training_accuracy_best_ratio", "gauge", "Highest reported accuracy, 0 to 1.", "ratio", labels=("phase",)
)
METRIC = Metric(
    "training_metric",
    "gauge",
    "The user's own metrics, last value; at most 50 names.",
    labels=("name", "phase"),
)
LEARNING_RATE = Metric(
    "training_learning_rate", "gauge", "Learning rate of each parameter group.", labels=("group",)
)
GRADIENT_NORM = Metric("training_gradient_norm", "gauge", "Global L2 norm of the gradient before clipping.")
NONFINITE_TOTAL = Metric(
    "training_nonfinite_total",
    "counter",
    "NaN and infinite values seen.",
    labels=("kind",),
    values=(("kind", NONFINITE_KINDS),),
)
LOSS_SPIKES_TOTAL = Metric(
    "training_loss_spikes_total",
    "counter",
    "Steps whose loss stood out: 6 standard deviations and 20 % above its moving average.",
)
SKIPPED_STEPS_TOTAL = Metric(
    "training_skipped_steps_total",
    "counter",
    "Optimizer steps left out.",
    labels=("reason",),
    values=(("reason", SKIP_REASONS),),
)
LOSS_SCALE = Metric("training_loss_scale", "gauge", "Scale of the mixed-precision GradScaler.")
STEP_DURATION_SECONDS = Metric(
    "training_step_duration_seconds", "histogram", "Time from one optimizer step to the next.", "seconds"
)
STEP_PART_SECONDS_TOTAL = Metric(
    "training_step_part_seconds_total",
    "counter",
    "Where the time of the steps went.",
    "seconds",
    labels=("part",),
    values=(("part", PARTS),),
)
PHASE_SECONDS_TOTAL = Metric(
    "training_phase_seconds_total",
    "counter",
    "Where the time of the run went; goodput is train over the sum.",
    "seconds",
    labels=("phase",),
    values=(("phase", TIMED_PHASES),),
)
LAST_CHECKPOINT_TIMESTAMP_SECONDS = Metric(
    "training_last_checkpoint_timestamp_seconds",
    "gauge",
    "When the last checkpoint was complete; absent before the first.",
    "seconds",
)
CHECKPOINT_INTERVAL_SECONDS = Metric(
    "training_checkpoint_interval_seconds",
    "gauge",
    "Time between the last two checkpoints; absent before the second.",
    "seconds",
)
EXCEPTIONS_TOTAL = Metric(
    "training_exceptions_total",
    "counter",
    "Exceptions that ended the run.",
    labels=("kind",),
    values=(("kind", EXCEPTION_KINDS),),
)
CUDA_MEMORY_ALLOCATED_BYTES = Metric(
    "training_cuda_memory_allocated_bytes",
    "gauge",
    "Memory held by tensors, by torch's allocator.",
    "bytes",
    labels=("gpu",),
)
CUDA_MEMORY_RESERVED_BYTES = Metric(
    "training_cuda_memory_reserved_bytes",
    "gauge",
    "Memory torch's allocator holds from the device.",
    "bytes",
    labels=("gpu",),
)
CUDA_MEMORY_PEAK_ALLOCATED_BYTES = Metric(
    "training_cuda_memory_peak_allocated_bytes",
    "gauge",
    "Most memory ever held by tensors, by torch's allocator.",
    "bytes",
    labels=("gpu",),
)
CUDA_ALLOC_RETRIES_TOTAL = Metric(
    "training_cuda_alloc_retries_total",
    "counter",
    "Allocations that worked only after torch freed its cache.",
    labels=("gpu",),
)
GPU_INFO = Metric(
    "training_gpu_info",
    "gauge",
    "Always 1; says which device `gpu` is.",
    labels=("gpu", "uuid", "name", "pci_bus_id", "driver", "mig_profile"),
)
GPU_UTILIZATION_RATIO = Metric(
    "training_gpu_utilization_ratio",
    "gauge",
    "Part of the time in which a kernel ran, 0 to 1; absent under MIG.",
    "ratio",
    labels=("gpu",),
)
GPU_MEMORY_USED_BYTES = Metric(
    "training_gpu_memory_used_bytes",
    "gauge",
    "Device memory in use by all processes.",
    "bytes",
    labels=("gpu",),
)
GPU_MEMORY_TOTAL_BYTES = Metric(
    "training_gpu_memory_total_bytes", "gauge", "Device memory there is.", "bytes", labels=("gpu",)
)
GPU_PROCESS_MEMORY_USED_BYTES = Metric(
    "training_gpu_process_memory_used_bytes",
    "gauge",
    "Device memory in use by this process.",
    "bytes",
    labels=("gpu",),
)
GPU_TEMPERATURE_CELSIUS = Metric(
    "training_gpu_temperature_celsius", "gauge", "Temperature of the chip.", "celsius", labels=("gpu",)
)
GPU_SLOWDOWN_TEMPERATURE_CELSIUS = Metric(
    "training_gpu_slowdown_temperature_celsius",
    "gauge",
    "Temperature at which the device slows itself down.",
    "celsius",
    labels=("gpu",),
)
GPU_POWER_WATTS = Metric("training_gpu_power_watts", "gauge", "Power drawn now.", "watts", labels=("gpu",))
GPU_POWER_LIMIT_WATTS = Metric(
    "training_gpu_power_limit_watts", "gauge", "Power limit in force.", "watts", labels=("gpu",)
)
GPU_SM_CLOCK_HERTZ = Metric(
    "training_gpu_sm_clock_hertz", "gauge", "Clock of the multiprocessors.", "hertz", labels=("gpu",)
)
GPU_ENERGY_JOULES_TOTAL = Metric(
    "training_gpu_energy_joules_total",
    "counter",
    "Energy drawn since the driver was loaded.",
    "joules",
    labels=("gpu",),
)
GPU_THROTTLE_SECONDS_TOTAL = Metric(
    "training_gpu_throttle_seconds_total",
    "counter",
    "Time spent below the wanted clock, by what held it down.",
    "seconds",
    labels=("gpu", "reason"),
)
GPU_XID_ERRORS_TOTAL = Metric(
    "training_gpu_xid_errors_total",
    "counter",
    "Xid errors of the driver seen since this process started.",
    labels=("gpu", "xid"),
)
GPU_ECC_ERRORS_TOTAL = Metric(
    "training_gpu_ecc_errors_total",
    "counter",
    "Memory errors since the driver was loaded.",
    labels=("gpu", "severity"),
    values=(("severity", ("corrected", "uncorrected")),),
)
GPU_XID_LAST_TIMESTAMP_SECONDS = Metric(
    "training_gpu_xid_last_timestamp_seconds",
    "gauge",
    "When this Xid error was last seen.",
    "seconds",
    labels=("gpu", "xid"),
)
EXPORTER_COLLECTOR_UP = Metric(
    "training_exporter_collector_up",
    "gauge",
    "1 if this source of readings works, 0 if it fails.",
    labels=("collector",),
)
EXPORTER_COLLECT_SECONDS = Metric(
    "training_exporter_collect_seconds",
    "gauge",
    "Time the last reading of this source took.",
    "seconds",
    labels=("collector",),
)
EXPORTER_LAST_COLLECT_TIMESTAMP_SECONDS = Metric(
    "training_exporter_last_collect_timestamp_seconds",
    "gauge",
    "When this source was last read with success.",
    "seconds",
    labels=("collector",),
)
EXPORTER_ERRORS_TOTAL = Metric(
    "training_exporter_errors_total",
    "counter",
    "Values refused and failures swallowed, by where.",
    labels=("where",),
)
EXPORTER_UPDATE_SECONDS_TOTAL = Metric(
    "training_exporter_update_seconds_total",
    "counter",
    "Time taken from the training thread, estimated from a sample of the calls.",
    "seconds",
)

CATALOGUE: tuple[Metric, ...] = tuple(
    value for value in dict(globals()).values() if isinstance(value, Metric)
)
