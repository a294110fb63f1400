"""Reads what a loop hands over as a number: Python, NumPy, tensors of one element on any device.

No torch and no NumPy is imported; a tensor is known by what it can do. A value comes out as a float, or as a
Landing that becomes one; no tensor is kept, so no graph is.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from itertools import islice
from numbers import Real
from typing import Any

from .landing import Landing, PinnedCopies
from .troubles import Troubles, is_name

GROUPS_LIMIT = 100


class NotAScalarError(Exception):
    """What was handed over cannot be read as one number; the message says what it is."""


class Reader:
    """Turns values into floats for one training thread; what cannot be read is counted, said, and None."""

    def __init__(self, troubles: Troubles) -> None:
        self._troubles = troubles
        # torch.Tensor itself, once a tensor was met.
        self.plain_tensor: Any = None
        self._copies: dict[tuple[int, bool], PinnedCopies] = {}
        self._staged: list[PinnedCopies] = []

    @property
    def uses_devices(self) -> bool:
        """Tells whether any value ever came from a device, so that facts may hold landings."""
        return bool(self._copies)

    @property
    def flying(self) -> bool:
        """Tells whether a value is still on its way from a device."""
        return any(map(len, self._copies.values()))

    def read(self, value: Any, where: str) -> float | Landing | None:
        """Takes a value given as `where` and gives its number; one on a device wants `send` after it."""
        try:
            if type(value) is self.plain_tensor:
                if value.is_cpu:
                    number = value.item()
                    return number if type(number) is float else plain_number(number)
                if value.is_cuda and value.numel() == 1:
                    return self._stage(value)
            if type(value) is Landing:
                return value  # read already, in a step of which another value could not be
            if hasattr(value, "is_cuda"):
                return self._read_tensor(value)
            return plain_number(value)
        except Exception as error:
            self._refuse(where, value, error)
            return None

    def send(self, now: float) -> None:
        """Starts the copies of all values read since the last call; `now` is the clock's time in seconds."""
        staged, self._staged = self._staged, []
        for copies in staged:
            try:
                if not copies.send(now):
                    self._troubles.report(
                        "cuda",
                        "a value could not be copied: a CUDA graph is captured, or the device is far behind",
                    )
            except Exception as error:
                self._troubles.report_exception("cuda", error)

    def read_count(self, value: Any, where: str) -> int | None:
        """Takes a count given as `where` and gives it as an int of at least 0."""
        number = math.nan if on_device(value) else self.read(value, where)
        if isinstance(number, float) and math.isfinite(number) and number >= 0:
            return int(number)
        if number is not None:
            self._troubles.report(
                where, f"must be a count of at least 0 on the host, got {shown(value)}", kind="count"
            )
        return None

    def read_groups(self, value: Any) -> dict[str, float] | None:
        """Takes a learning rate, one per group as a list, or by name, and gives each group's."""
        if isinstance(value, Mapping):
            given = {str(name): rate for name, rate in value.items()}
        elif isinstance(value, list | tuple):
            given = {str(index): rate for index, rate in enumerate(value)}
        else:
            given = {"0": value}
        if len(given) > GROUPS_LIMIT or not all(map(is_name, given)):
            self._troubles.report(
                "lr", f"takes {GROUPS_LIMIT} groups with short printable names; the others are dropped"
            )
            given = dict(
                islice(((name, rate) for name, rate in given.items() if is_name(name)), GROUPS_LIMIT)
            )
        # A rate on a device (capturable optimizers) is not waited for.
        rates = {name: self.read(rate, "lr") for name, rate in given.items() if not on_device(rate)}
        return {name: rate for name, rate in rates.items() if isinstance(rate, float)} or None

    def poll(self) -> None:
        """Lands what has arrived from the devices. Call it on the training thread only."""
        for copies in self._copies.values():
            try:
                copies.poll()
            except Exception as error:
                self._troubles.report_exception("cuda", error)

    def _read_tensor(self, value: Any) -> float | Landing | None:
        torch = sys.modules.get("torch")
        if torch is None:
            raise NotAScalarError(f"{shown(value)} looks like a tensor, but there is no torch")
        self.plain_tensor = torch.Tensor
        local = local_part(value)
        if local.numel() != 1:
            raise no_single_number(value)
        return self._stage(local) if local.is_cuda else plain_number(local.item())

    def _stage(self, tensor: Any) -> Landing:
        narrow = tensor.is_floating_point() and tensor.element_size() <= 4
        if not narrow and (tensor.is_complex() or str(tensor.dtype) == "torch.bool"):
            raise NotAScalarError(f"must be a number, got {shown(tensor)} of {tensor.dtype}")
        key = (tensor.get_device(), narrow)
        copies = self._copies.get(key)
        if copies is None:
            torch = sys.modules["torch"]
            dtype = torch.float32 if narrow else torch.float64
            copies = self._copies[key] = PinnedCopies(torch, key[0], dtype)
        if copies not in self._staged:
            self._staged.append(copies)
        return copies.stage(tensor)

    def _refuse(self, where: str, value: Any, error: Exception) -> None:
        if type(value) is self.plain_tensor and value.numel() != 1:
            error = no_single_number(value)
        text = str(error) if isinstance(error, NotAScalarError) else f"{type(error).__name__}: {error}"
        # Its shape may be another one at every step.
        self._troubles.report(where, text, kind=type(value).__name__)


def no_single_number(tensor: Any) -> NotAScalarError:
    """Gives the error for a tensor of none or several elements."""
    return NotAScalarError(f"is {shown(tensor)}; give one number, as in loss.mean()")


def plain_number(value: Any) -> float:
    """Takes a Python or NumPy number, or an array of one element, and gives it as a float.

    Raises:
        NotAScalarError: For everything else; truth values and complex numbers are no quantities.
    """
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf  # type: ignore[operator]  # every Real compares
    if getattr(value, "size", None) == 1 and hasattr(value, "item"):
        return plain_number(value.item())
    raise NotAScalarError(f"must be a number or a tensor of one element, got {shown(value)}")


def on_device(value: Any) -> bool:
    """Tells whether a value lies on a CUDA device, where it may still be in the making."""
    try:
        return bool(value.is_cuda)
    except Exception:  # whatever it is, it is no tensor; reading it will say so
        return False


def local_part(tensor: Any) -> Any:
    """Takes a tensor and gives what this process holds of it, without asking any other process.

    Raises:
        NotAScalarError: If the tensor is distributed (DTensor) and its parts are not all the whole value.
    """
    placements = getattr(tensor, "placements", None)
    if placements is None or not hasattr(tensor, "to_local"):
        return tensor
    if not all(placement.is_replicate() for placement in placements):
        raise NotAScalarError("is a DTensor of which this rank holds a part; give loss.full_tensor()")
    return tensor.detach().to_local()


def shown(value: Any) -> str:
    """Takes any object and gives its kind and shape, never its content."""
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" + (f" of shape {tuple(shape)}" if shape is not None else "")
