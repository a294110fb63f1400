"""Keeps the memory of many threads small."""

from __future__ import annotations

import ctypes

# Source: malloc.h of the GNU C library.
_M_ARENA_MAX = -8


def share_one_arena() -> bool:
    """Makes threads that start from here on share one heap; gives whether the C library could be told so.

    By default glibc gives each thread a heap of its own, which keeps what the thread once needed. Python's lock
    lets one thread run at a time anyhow, so that nobody waits for the shared one.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1))
    except (OSError, AttributeError, TypeError):
        # musl and macOS have no such thing to tell.
        return False
