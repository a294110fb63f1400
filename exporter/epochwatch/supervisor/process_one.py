"""What process 1 of a container has to do beside its work: reap orphans and pass signals on.

The kernel gives it no default for signals and every orphan of the container, so it does nothing else, and the work is
done by a child. Reaping in the working process would take the ends of its own children away from who waits for them.
"""

from __future__ import annotations

import os
import signal

from .signals import FORWARDED

SI_KERNEL = 0x80


def become_init() -> None:
    """Does nothing unless this is process 1; there, returns in a child, whose end ends the container.

    Call it before any thread is started.
    """
    if os.getpid() == 1:
        fork_worker()


def fork_worker() -> None:
    """Returns in a child, and lets this process pass signals on to it, reap orphans and end as it ends."""
    watched = {*map(signal.Signals, FORWARDED), signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    worker = os.fork()
    if worker == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while True:
        caught = signal.sigwaitinfo(watched)
        if caught.si_signo == signal.SIGCHLD:
            status = _reap(worker)
            if status is not None:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)
        elif caught.si_code != SI_KERNEL:  # a terminal's Ctrl-C reaches the child by itself
            os.kill(worker, caught.si_signo)


def _reap(worker: int) -> int | None:
    """Reaps every child that has ended, and gives the worker's wait status if it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == worker:
            found = status
