"""What a loop iterates over and steps into: epochs, batches, phases and parts of a step."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

from .books import Books
from .ledger import TRAIN, Pause

Batch = TypeVar("Batch")


class Batches(Generic[Batch]):
    """Goes over a loader once per iteration; the time waited for data counts as `data_wait`."""

    def __init__(self, loader: Iterable[Batch], phase: str, books: Books) -> None:
        self._loader = loader
        self._training = phase == TRAIN
        self._books = books

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]  # a loader without a length raises as it would itself

    def __iter__(self) -> Iterator[Batch]:
        return self._train() if self._training else self._evaluate()

    def _train(self) -> Generator[Batch, None, None]:
        timeline, clock, progress = self._books.timeline, self._books.clock, self._books.progress
        part_seconds, progress.batches_done = progress.part_seconds, False
        if timeline.state != "training":
            timeline.enter("training")
        began = clock()
        self._books.recorder.add(Pause(began))
        for batch in self._loader:
            part_seconds["data_wait"] += clock() - began
            yield batch
            began = clock()
        progress.batches_done = True

    def _evaluate(self) -> Generator[Batch, None, None]:
        with During("evaluating", self._books):
            for batch in self._loader:
                yield batch
                self._books.timeline.sign()


class During:
    """A context in which the loop does something else than training; the state before comes back after it."""

    def __init__(self, state: str, books: Books, checkpoint_path: str | None = None) -> None:
        self._state = state
        self._checkpoint_path = checkpoint_path
        self._progress = books.progress
        self._recorder = books.recorder
        self._timeline = books.timeline

    def __enter__(self) -> None:
        self._before = self._timeline.position
        self._timeline.enter(self._state)
        self._recorder.poll()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._timeline.state != self._state:
            return  # the run has ended meanwhile
        self._timeline.sign()
        if self._state == "checkpointing" and kind is None:
            self._timeline.checkpoint_made()
            self._progress.checkpoint_path = self._checkpoint_path or self._progress.checkpoint_path
        self._timeline.enter(*self._before)
        self._recorder.add(Pause(self._timeline.last_sign))


class Part:
    """A context whose time counts as one part of the step; host time, as a device works on after a launch."""

    def __init__(self, name: str, books: Books) -> None:
        self._name = name
        self._part_seconds = books.progress.part_seconds
        self._clock = books.clock

    def __enter__(self) -> None:
        self._began = self._clock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._part_seconds[self._name] += self._clock() - self._began
