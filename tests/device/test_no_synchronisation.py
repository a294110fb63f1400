"""A step with values on a CUDA device: nothing waits, nothing is kept, every value arrives."""

import gc
import math
import weakref
from collections.abc import Callable

import pytest

import epochwatch

torch = pytest.importorskip("torch")

Start = Callable[..., epochwatch.Run]
Calls = Callable[[Callable[[], object]], list[str]]
WAITING = (
    "Synchronize",
    "cudaMemcpy",
    "cuMemcpy",
    "cudaFree",
    "cudaMalloc",
    "cudaHostAlloc",
    "cudaStreamWaitEvent",
)


def waits(calls: list[str]) -> list[str]:
    """Gives the calls that make the host wait; a copy does unless it is asynchronous."""
    return [name for name in calls if any(part in name for part in WAITING) and "Async" not in name]


def values() -> dict[str, object]:
    loss = (torch.ones(64, device="cuda", requires_grad=True) * 2.5).mean()
    return {"loss": loss, "grad_norm": loss.detach() * 2, "own": loss.detach().half()}


def told(run: epochwatch.Run) -> object:
    run._books.settle()
    with run._books.recorder.reading() as ledger:
        ledger.take_train_loss()
        return ledger


def test_a_step_makes_no_call_that_waits(start: Start, runtime_calls: Calls) -> None:
    """The profiler records launches, copies that are asynchronous and events, and no wait among 500 steps."""
    run, given = start(), values()
    run.step(**given)  # takes its memory
    calls = runtime_calls(lambda: [run.step(**given) for _ in range(500)])
    assert sum(name.startswith("cudaLaunchKernel") for name in calls) >= 500
    assert any(name.startswith("cudaMemcpyAsync") for name in calls)
    assert waits(calls) == []


def test_the_profiler_would_see_a_step_that_waits(runtime_calls: Calls) -> None:
    """`item()`, which epochwatch does not call, shows as a synchronisation."""
    loss = values()["loss"]
    assert waits(runtime_calls(loss.item))


def test_torch_finds_no_synchronisation(start: Start) -> None:
    """In torch's own debug mode a synchronising call raises; a step's does not, and none is swallowed."""
    run, given = start(), values()
    run.step(**given)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(200):
            run.step(**given)
        with pytest.raises(RuntimeError, match="synchroniz"):
            given["loss"].item()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert run._books.troubles.counts == {}
    assert told(run).steps == 201


def test_a_step_returns_while_the_device_is_still_at_work(
    start: Start, busy_device: Callable[[], None]
) -> None:
    """The value it was given does not exist yet; once it does, it is told."""
    run, given = start(), values()
    run.step(
        loss=given["loss"] + 1.0
    )  # loads what is launched below: a kernel's first launch waits for the device
    torch.cuda.synchronize()
    busy_device()
    run.step(loss=given["loss"] + 1.0)
    run.log("validation", loss=given["loss"] + 2.0)
    assert not torch.cuda.current_stream().query()
    torch.cuda.synchronize()
    assert told(run).phases["validation"].loss == 4.5
    assert told(run).steps == 2


def test_a_scrape_does_not_wait_for_the_device(start: Start, busy_device: Callable[[], None]) -> None:
    """It serves what has arrived, while the newest value is still on its way."""
    import urllib.request

    run, early, late = start(), torch.tensor(1.5, device="cuda"), torch.tensor(7.5, device="cuda")
    run.step(loss=early)
    told(run)
    busy_device()
    run.step(loss=late)
    page = urllib.request.urlopen(f"{run.url}/metrics", timeout=10).read().decode()
    assert not torch.cuda.current_stream().query()
    assert 'training_loss{run="device",rank="0",phase="train"} 1.5' in page


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64", "int64"])
def test_a_value_of_every_type_arrives_exactly(dtype: str, start: Start) -> None:
    """Through pinned memory, narrow or wide."""
    run = start()
    run.log("validation", loss=torch.tensor(3, dtype=getattr(torch, dtype), device="cuda"))
    assert told(run).phases["validation"].loss == 3.0


def test_nan_and_infinity_arrive(start: Start) -> None:
    """What the rules watch for is not lost on the way."""
    run = start()
    run.step(loss=torch.tensor(float("nan"), device="cuda"), grad_norm=torch.tensor(math.inf, device="cuda"))
    assert told(run).nonfinite == {"loss": 1, "metric": 0, "gradient": 1}


def test_neither_graph_nor_activation_is_kept(start: Start) -> None:
    """After the loop has let go of a loss, its graph and the 64 MB behind it are gone."""
    run = start()
    run.step(loss=torch.tensor(1.0, device="cuda"))
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    weight = torch.ones(16 << 20, device="cuda", requires_grad=True)
    loss = (weight * weight).exp().mean()
    tensor = weakref.ref(loss)
    run.step(loss=loss)
    del loss, weight
    gc.collect()
    assert tensor() is None
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before + 4096


def test_values_of_another_stream_arrive(start: Start) -> None:
    """The copy follows the stream that is current, so it waits for what makes the value and for nothing else."""
    run = start()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        loss = torch.full((), 2.0, device="cuda")
        for _ in range(100):
            loss = loss + 0.5
        run.step(loss=loss)
    side.synchronize()
    assert told(run)._since_epoch.total == 52.0


def test_a_graph_capture_is_left_alone(start: Start) -> None:
    """A step within a capture is counted without its value; the capture holds, and replays."""
    run = start()
    source = torch.full((), 2.0, device="cuda")
    run.step(loss=source)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        doubled = source * 2
        run.step(loss=doubled)
    graph.replay()
    run.step(loss=doubled)
    torch.cuda.synchronize()
    assert doubled.item() == 4.0
    assert told(run)._since_epoch.total == 6.0
    assert run._books.troubles.counts == {"cuda": 1}


def test_a_device_far_behind_costs_no_memory_and_no_wait(
    start: Start, busy_device: Callable[[], None]
) -> None:
    """With 5,000 steps queued the newest values are left out; every step is counted."""
    run, loss = start(), torch.tensor(1.0, device="cuda")
    run.step(loss=loss)
    torch.cuda.synchronize()
    busy_device()
    for _ in range(5000):
        run.step(loss=loss)
    torch.cuda.synchronize()
    assert told(run).steps == 5001
