"""The errors a user of the training side can meet: before a training starts and from commands, none in the loop.

EpochwatchError
├── SettingsError      an argument or an environment variable is wrong
├── ServeError         the address given cannot be served on
├── JobError           a job's description is wrong
├── ScheduleError      a cron expression, a time zone or a file of jobs is wrong
├── StateError         what is kept of a job cannot be read, written or locked
└── HistoryError       the history of runs cannot be used; in a training it is counted and logged
    ├── UnknownRunError    no run or baseline is called so; says which ones are
    └── ComparisonError    two runs cannot be held against each other; says by what they can

What NVML says (GpuError in nvml.py) is none of them: it never leaves the GPU's thread and the scrape, where it
is counted, logged and shown as a collector that is down.
"""

from __future__ import annotations


class EpochwatchError(Exception):
    """Whatever epochwatch refuses, with what happened, where, and what to do."""


class SettingsError(EpochwatchError, ValueError):
    """An argument of `start` or its environment variable is wrong."""


class ServeError(EpochwatchError, OSError):
    """The endpoint cannot be served as asked."""


class JobError(EpochwatchError, ValueError):
    """A job of `epochwatch run` or of a scheduler's file is described wrongly."""


class HistoryError(EpochwatchError):
    """The history of runs cannot be read or written."""


class UnknownRunError(HistoryError):
    """No run or baseline is called so."""


class ComparisonError(HistoryError):
    """Two runs have no value in common by which one could be better."""


class ScheduleError(EpochwatchError, ValueError):
    """A cron expression, a time zone or a file of jobs is wrong."""


class StateError(EpochwatchError, OSError):
    """What is kept of a job between its runs cannot be read, written or locked."""
