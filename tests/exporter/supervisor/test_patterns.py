"""The counts of telling texts in the output, and its last lines."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochwatch.supervisor.patterns import NEEDLES, Scanner
from epochwatch.supervisor.tail import KEPT_BYTES, Tail

TEXTS = [
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", {"cuda_oom": 1}),
    ("RuntimeError: CUDA error: out of memory", {"cuda_oom": 1}),
    ("torch.OutOfMemoryError: HIP out of memory. Tried to allocate", {"cuda_oom": 1}),
    (
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)",
        {"cuda_oom": 1},
    ),
    ("MemoryError: out of memory", {}),
    (
        "torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:1275",
        {"nccl": 1},
    ),
    ("gpu-01:2217:2217 [0] NCCL WARN Call to connect returned Connection refused", {"nccl": 1}),
    (
        "[rank0]:[E ProcessGroupNCCL.cpp:607] [Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=8",
        {"nccl": 1},
    ),
    ("gpu-01:2217:2217 [0] NCCL INFO Bootstrap : Using eth0", {}),
    ("Traceback (most recent call last):", {"traceback": 1}),
    ("OSError: [Errno 28] No space left on device: 'checkpoint.pt'", {"disk_full": 1}),
    ("OSError: [Errno 122] Disk quota exceeded", {"disk_full": 1}),
    ("epoch 3 loss nan", {"nan": 1}),
    ("{'loss': NaN, 'grad_norm': nan}", {"nan": 2}),
    ("train_loss=nan, val_loss=nan", {"nan": 2}),
    ("nan", {"nan": 1}),
    ("banana nanoseconds nano_gpt nan_policy Nan dominant NANO isnan( NAN", {}),
    ("训练损失 nan，停止", {"nan": 1}),
]


def scanned(*chunks: bytes) -> dict[str, int]:
    """Gives what a scanner counts in a stream of these chunks."""
    found: Counter[str] = Counter()
    scanner = Scanner(lambda pattern, count: found.update({pattern: count}))
    for chunk in chunks:
        scanner.feed(chunk)
    scanner.close()
    return dict(found)


@pytest.mark.parametrize(("text", "expected"), TEXTS, ids=[text[:40] for text, _ in TEXTS])
def test_what_libraries_write_is_counted(text: str, expected: dict[str, int]) -> None:
    """Each kind of trouble once, and nothing that only looks like it."""
    assert scanned(text.encode()) == expected


@given(
    st.lists(
        st.sampled_from(
            [*(needle for _, needle in NEEDLES), b"nan", b"NaN", b" ", b"\n", b"x", b"\xff", b"n", b"na"]
        ),
        max_size=30,
    ),
    st.data(),
)
def test_borders_of_chunks_change_no_count(parts: list[bytes], data: st.DataObject) -> None:
    """However the stream is cut, what is found is what is found in the whole of it."""
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert scanned(*chunks) == scanned(stream)


def test_a_stream_of_single_bytes_is_counted() -> None:
    """A needle may come a byte at a time."""
    text = b"loss nan\nRuntimeError: CUDA out of memory. nan"
    assert scanned(*(bytes([byte]) for byte in text)) == {"nan": 2, "cuda_oom": 1}


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        (b"one\ntwo\n\nthree", ["one", "two", "three"]),
        (b"10%\r50%\r100%\n", ["100%"]),
        (b"100%\r\n", ["100%"]),
        (b"a bar that is left\r", ["a bar that is left"]),
        (b"\x1b[1;31mError\x1b[0m: \x1b]0;title\x07no", ["Error: no"]),
        ("损失 0.5\n".encode(), ["损失 0.5"]),
        (b"\xff\xfeloss\n", ["\ufffd\ufffdloss"]),
        (b"", []),
        (b"\n\r\n   \n", []),
    ],
)
def test_last_lines_are_those_of_a_screen(output: bytes, lines: list[str]) -> None:
    """Of a progress bar what was drawn last; no colours; what is no text is marked."""
    tail = Tail()
    tail.feed(output)
    assert tail.lines(20) == lines


def test_the_end_of_endless_output_is_kept_and_no_more() -> None:
    """A line without end takes no memory, and the last lines are found after gigabytes."""
    tail = Tail()
    for number in range(100):
        tail.feed(b"x" * 100_000)
        tail.feed(f"\nline {number}\n".encode())
    assert tail.lines(1) == ["line 99"]
    assert len(tail._kept) <= 3 * KEPT_BYTES
