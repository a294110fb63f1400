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
        self._copies: dict[Any, PinnedCopies] = {}

    @property
    def uses_devices(self) -> bool:
        """Tells whether any value ever came from a device, so that facts may hold landings."""
        return bool(self._copies)

    @property
    def flying(self) -> bool:
        """Tells whether a value is still on its way from a device."""
        return any(map(len, self._copies.values()))

    def read(self, value: Any, where: str) -> float | Landing | None:
        """Takes a value given as `where` and gives its number."""
        try:
            if type(value) is self.plain_tensor and value.is_cpu:
                number = value.item()
                return number if type(number) is float else plain_number(number)
            if hasattr(value, "is_cuda"):
                return self._read_tensor(value)
            return plain_number(value)
        except Exception as error:
            self._refuse(where, error)
            return None

    def read_count(self, value: Any, where: str) -> int | None:
        """Takes a count given as `where` and gives it as an int of at least 0."""
        number = self.read(value, where)
        if isinstance(number, float) and math.isfinite(number) and number >= 0:
            return int(number)
        if number is not None:
            self._troubles.report(where, f"must be a count of at least 0 on the host, got {shown(value)}")
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
        rates = {name: self.read(rate, "lr") for name, rate in given.items()}
        # A rate on a device (capturable optimizers) is not waited for.
        return {name: rate for name, rate in rates.items() if isinstance(rate, float)} or None

    def poll(self) -> None:
        """Lands what has arrived from the devices. Call it on the training thread only."""
        for copies in self._copies.values():
            if len(copies):
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
            raise NotAScalarError(f"is {shown(value)}; give one number, as in loss.mean()")
        if not local.is_cuda:
            return plain_number(local.item())
        copies = self._copies.get(local.device)
        if copies is None:
            copies = self._copies[local.device] = PinnedCopies(torch, local.device)
        landing = copies.copy(local)
        if landing is None:
            raise NotAScalarError(
                "could not be copied: a CUDA graph is captured, or the device is far behind"
            )
        return landing

    def _refuse(self, where: str, error: Exception) -> None:
        if isinstance(error, NotAScalarError):
            self._troubles.report(where, str(error))
        else:
            self._troubles.report_exception(where, error)


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
