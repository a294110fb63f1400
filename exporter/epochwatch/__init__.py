"""The training side of epochwatch: a PyTorch loop says what it is doing, Prometheus scrapes it."""

import gc

# After `import torch` there are half a million objects, and what these imports allocate would set off a full
# collection over them: 0.2 s of the 0.25 s of CPU that the import took. It comes when the training's own turn is.
_was_collecting = gc.isenabled()
gc.disable()
try:
    from .errors import EpochwatchError, ServeError, SettingsError
    from .run import Run, start
finally:
    if _was_collecting:
        gc.enable()

__version__ = "0.1.0"

__all__ = ["EpochwatchError", "Run", "ServeError", "SettingsError", "__version__", "start"]
