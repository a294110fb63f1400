"""What is told of an exception."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from epochwatch.failure import LINE_LIMIT, MESSAGE_LIMIT, Failure, describe

HERE = Path(__file__).parent


def caught(error: BaseException) -> BaseException:
    """Gives an exception with the stack of its raising."""
    try:
        raise error
    except BaseException as raised:
        return raised


def load(batch: object) -> object:
    return batch["label"]


def test_the_last_lines_of_the_users_code_are_shown() -> None:
    """The stack shows file, line, function and source of the user's frames, outermost first."""
    try:
        load({})
    except KeyError as error:
        failure = describe(error, HERE)
    assert (failure.kind, failure.type, failure.message) == ("other", "KeyError", "'label'")
    assert failure.headline == "KeyError: 'label'"
    name = Path(__file__).name
    assert [line.partition(":")[0] for line in failure.stack] == [name, name]
    assert failure.stack[0].endswith("test_the_last_lines_of_the_users_code_are_shown: load({})")
    assert failure.stack[1].endswith('load: return batch["label"]')


def test_frames_of_packages_are_left_out_but_for_where_it_was_raised() -> None:
    """An exception from within torch shows the user's line, and then where in torch it came from."""
    try:
        torch.nn.Linear(2, 2)(torch.ones(3))
    except RuntimeError as error:
        failure = describe(error, HERE)
    assert "torch.nn.Linear(2, 2)(torch.ones(3))" in failure.stack[0]
    assert failure.stack[1].startswith("→ torch/nn/modules/linear.py:")
    assert len(failure.stack) == 2


def test_a_deep_stack_is_cut_to_its_end() -> None:
    """Of a recursion without end the last five lines are shown."""

    def down(depth: int) -> int:
        return down(depth + 1)

    try:
        down(0)
    except RecursionError as error:
        failure = describe(error, HERE)
    assert len(failure.stack) == 5


def test_a_long_message_is_cut_to_one_line() -> None:
    """At most 200 characters, in one line, whatever the message holds."""
    failure = describe(caught(ValueError("tensor(\n[0.0]," * 100_000 + "\x1b[31m")), HERE)
    assert len(failure.message) == MESSAGE_LIMIT
    assert failure.message.startswith("tensor( [0.0],tensor( [0.0],")
    assert failure.message.endswith("…")
    assert failure.message.isprintable()


def test_a_long_source_line_is_cut() -> None:
    """A line of the stack is no longer than a phone can show."""
    failure = describe(caught(ValueError("x" * 10)), Path("/nowhere"))
    assert all(len(line) <= LINE_LIMIT for line in failure.stack)


def test_an_exception_that_cannot_be_shown_is_told_all_the_same() -> None:
    """A __str__ that raises does not hide the failure."""

    class SpitefulError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    failure = describe(caught(SpitefulError()), HERE)
    assert (failure.type, failure.message) == ("SpitefulError", "(its message cannot be shown: RuntimeError)")


def test_the_cause_is_named() -> None:
    """An exception raised from another one says from which."""
    try:
        try:
            load({})
        except KeyError as error:
            raise RuntimeError("bad sample") from error
    except RuntimeError as error:
        failure = describe(error, HERE)
    assert failure.stack[-1] == "from KeyError: 'label'"


class Broken(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> object:
        return load({})


def test_an_exception_of_a_loaders_worker_is_told_as_what_it_was() -> None:
    """torch wraps what a DataLoader's worker raises; the user's line and message in the worker are shown."""
    try:
        list(torch.utils.data.DataLoader(Broken(), num_workers=1))
    except KeyError as error:
        failure = describe(error, HERE)
    assert failure.headline == "KeyError: 'label' (DataLoader worker process 0)"
    name = Path(__file__).name
    assert [line.split(": ", 1)[1] for line in failure.stack if line.startswith(name)] == [
        "return load({})",
        'return batch["label"]',
    ]


def test_without_an_exception_only_the_state_is_known() -> None:
    """A run that is only said to have failed has no message and no stack."""
    assert describe(None, HERE) == Failure("other", "", "")


OOM = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB"


@pytest.mark.parametrize(
    "error", [RuntimeError(OOM), torch.OutOfMemoryError(OOM)], ids=["old torch", "new torch"]
)
def test_out_of_memory_is_told_apart_with_what_the_allocator_held(error: Exception) -> None:
    """A CUDA out of memory comes with the allocator's numbers of each device that was used."""
    gib = 2**30

    def stats(ordinal: int) -> dict[str, object]:
        held = {"current": 60 * gib, "peak": 70 * gib} if ordinal == 0 else {"current": 0, "peak": 0}
        return {"allocated_bytes": {"all": held}, "reserved_bytes": {"all": held}}

    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 2,
        memory_stats_as_nested_dict=stats,
        get_device_properties=lambda ordinal: SimpleNamespace(total_memory=80 * gib),
    )
    module = ModuleType("torch")
    module.cuda = cuda
    failure = describe(caught(error), HERE, {"torch": module})
    assert (failure.kind, failure.message) == ("cuda_oom", OOM)
    assert failure.memory == (
        "GPU 0: tensors 60.00 GiB (peak 70.00 GiB), reserved 60.00 GiB, in all 80.00 GiB",
    )


def test_a_device_that_refuses_every_question_is_said_to_do_so() -> None:
    """The allocator's numbers are left out, not the failure."""

    def refuse() -> bool:
        raise RuntimeError("CUDA error: unspecified launch failure")

    module = ModuleType("torch")
    module.cuda = SimpleNamespace(is_initialized=refuse)
    failure = describe(caught(RuntimeError(OOM)), HERE, {"torch": module})
    assert failure.memory == ("the allocator cannot be asked: RuntimeError",)


def test_the_stack_of_a_script_is_shown_as_python_shows_it(tmp_path: Path) -> None:
    """Line numbers and source lines are those of the traceback that Python prints itself."""
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from epochwatch.failure import describe\n"
        "def step():\n"
        "    return 1 / 0\n"
        "try:\n"
        "    step()\n"
        "except ZeroDivisionError as error:\n"
        "    print(*describe(error, Path(sys.argv[0]).parent).stack, sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["train.py:7 <module>: step()", "train.py:5 step: return 1 / 0"]
