"""The training side of epochwatch: a PyTorch loop says what it is doing, Prometheus scrapes it."""

from .errors import EpochwatchError, ServeError, SettingsError
from .run import Run, start

__version__ = "0.1.0"

__all__ = ["EpochwatchError", "Run", "ServeError", "SettingsError", "__version__", "start"]
