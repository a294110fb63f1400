"""How one run is asked for: by the choices `run` and `rank` at the top."""

from __future__ import annotations

ONE = 'run="$run"'
RUN = 'run="$run", rank=~"$rank"'
NO_VALIDATION = "the run tells no validation loss"

SINCE_BEST = (
    f"scalar(max(training_epochs{{{RUN}}})) - max by (phase) (training_loss_best_epoch{{{RUN}{{phase}}}})"
)


def rate(metric: str, more: str = "") -> str:
    """Gives a counter's rate over the run."""
    return f"rate({metric}{{{RUN}{more}}}[$__rate_interval])"
