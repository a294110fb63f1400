"""Counts telling texts in a stream of bytes, whatever its speed, its chunks' borders and its encoding.

A count is of occurrences, not of lines: that is what can be had at the speed of a memory search.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# torch and its allocator, the driver, cuBLAS; the ROCm build says HIP.
# The watchdog's line is ProcessGroupNCCL's: https://github.com/pytorch/pytorch, ProcessGroupNCCL.cpp.
# The longer a needle, the faster the search.
NEEDLES: tuple[tuple[str, bytes], ...] = (
    ("cuda_oom", b"CUDA out of memory"),
    ("cuda_oom", b"CUDA error: out of memory"),
    ("cuda_oom", b"HIP out of memory"),
    ("cuda_oom", b"CUBLAS_STATUS_ALLOC_FAILED"),
    ("nccl", b"NCCL error in: "),
    ("nccl", b"NCCL WARN "),
    ("nccl", b"Watchdog caught collective operation timeout"),
    ("traceback", b"Traceback (most recent call last)"),
    ("disk_full", b"No space left on device"),
    ("disk_full", b"Disk quota exceeded"),
)
# As a word, so that neither "nanoseconds" nor "banana" is one.
NOT_A_NUMBER = tuple(
    (word, re.compile(rb"(?<![A-Za-z0-9_])" + word + rb"(?![A-Za-z0-9_])")) for word in (b"nan", b"NaN")
)
LONGEST = max(len(needle) for _, needle in NEEDLES)


class Scanner:
    """Reads one stream; `seen` is called with a pattern's name and how often it was in what came last."""

    def __init__(self, seen: Callable[[str, int], None]) -> None:
        self._seen = seen
        self._carry = b""

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the stream."""
        carry = self._carry
        text = carry + data
        for pattern, needle in NEEDLES:
            count = text.count(needle)
            if count:
                # Those that lie in the carry were counted when they came.
                count -= carry.count(needle)
                if count:
                    self._seen(pattern, count)
        self._count_nan(text, len(carry), len(text) - 1)
        self._carry = text[-LONGEST:]

    def close(self) -> None:
        """Takes that the stream has ended."""
        self._count_nan(self._carry, len(self._carry), len(self._carry))

    def _count_nan(self, text: bytes, first_end: int, last_end: int) -> None:
        # Whether a word ends is known with the byte after it; what ends before `first_end` was counted when it came.
        count = sum(
            first_end <= match.end() <= last_end
            for word, pattern in NOT_A_NUMBER
            if word in text
            for match in pattern.finditer(text)
        )
        if count:
            self._seen("nan", count)
