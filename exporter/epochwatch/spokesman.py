"""Which process of a job tells an event, so that a job of many ranks speaks with one voice.

Rank 0 tells how it goes. Whoever fails says so, as it may be the only one that knows; but one process of a node is
enough, and a rank that its launcher then terminates was not interrupted by hand.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .events import Event
from .launch import Launch
from .ranks import Place
from .supervised import Supervised

FORGET_AFTER_SECONDS = 86_400.0
# Ranks of one launch start within so long of each other; a launcher that starts its ranks again takes longer.
APART_SECONDS = 10.0


class Spokesman:
    """Decides whether this process tells.

    The first process of a node that fails leaves a mark for the others: a symbolic link, as that comes to be at once
    with what it says, which is the rank and when its process was started.

    Args:
        place: Its rank.
        launch: What tells the launch from others.
        directory: Where ranks of one node leave their mark.
        supervised: The supervisor, which tells of an end that it has brought about itself.
    """

    def __init__(
        self,
        place: Place,
        launch: Launch,
        directory: Path | None = None,
        *,
        supervised: Supervised | None = None,
    ) -> None:
        self._place = place
        self._launch = launch
        self._supervised = supervised
        self._directory = directory or Path(tempfile.gettempdir())
        self._marker = self._directory / f"epochwatch-{os.getuid()}-{launch.node_id}.failed"

    @property
    def run_id(self) -> str:
        """What the events of this run are known by."""
        return self._launch.run_id

    @property
    def labels(self) -> Mapping[str, str]:
        """What all events of this run carry, so that they are known as one run's and one job's."""
        job = {} if self._supervised is None else {"job_name": self._supervised.job}
        return {"run_id": self.run_id, **job}

    def signed(self, event: Event) -> Event:
        """Gives what other ranks may tell as well with the id that they give it too."""
        if not event.shared:
            return event
        return replace(event, labels={**event.labels, "run_id": self._launch.job_id})

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self._place.rank == 0

    @property
    def may_know_best(self) -> bool:
        """Whether this rank may have the monitored value: rank 0, and the last stage of a pipeline."""
        return self._place.rank in (0, self._place.world_size - 1)

    def tells_failure(self) -> bool:
        """Tells whether this is the first process of its job on this node to fail."""
        if self._is_ended():
            return False
        if self._place.world_size == 1:
            return True
        with contextlib.suppress(OSError):  # twice is better than not at all
            self._forget_old()
            return self._marks()
        return True

    def tells_interruption(self) -> bool:
        """Tells whether this is rank 0, and no other rank's failure is why it has to go."""
        return self.leads and not self._is_ended() and not (self._place.world_size > 1 and self._marked())

    def _is_ended(self) -> bool:
        """Tells whether the supervisor ends the run, because its time is up, and says so."""
        return self._supervised is not None and self._supervised.ends_it

    def _marks(self) -> bool:
        """Leaves this rank's mark and tells whether it is the first one of this launch."""
        mark = f"{self._place.rank} {self._launch.began_seconds:.2f}"
        try:
            self._marker.symlink_to(mark)
        except FileExistsError:
            if self._marked():
                return False
            self._marker.unlink(missing_ok=True)
            self._marker.symlink_to(mark)
        return True

    def _marked(self) -> bool:
        """Tells whether another rank of this launch has failed; a launcher may start the ranks again."""
        try:
            # Another user's file in a shared directory says nothing.
            own = self._marker.lstat().st_uid == os.getuid()
            rank, began = str(self._marker.readlink()).split()
            apart = abs(float(began) - self._launch.began_seconds)
        except (OSError, ValueError):
            return False
        # A launch has each rank once.
        return own and rank != str(self._place.rank) and apart <= APART_SECONDS

    def _forget_old(self) -> None:
        for path in self._directory.glob(f"epochwatch-{os.getuid()}-*.failed"):
            with contextlib.suppress(OSError):
                if time.time() - path.lstat().st_mtime > FORGET_AFTER_SECONDS:
                    path.unlink()
