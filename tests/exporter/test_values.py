"""What counts as a number, and that nothing is kept of it."""

import gc
import logging
import weakref
from decimal import Decimal
from fractions import Fraction

import pytest

from epochwatch.landing import Landing
from epochwatch.troubles import Troubles
from epochwatch.values import Reader

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")


@pytest.fixture
def troubles() -> Troubles:
    return Troubles()


class Marked(torch.Tensor):
    """A tensor subclass, as frameworks make them."""


@pytest.mark.parametrize(
    "value",
    [
        2.5,
        Fraction(5, 2),
        np.float64(2.5),
        np.float32(2.5),
        np.float16(2.5),
        np.array(2.5),
        np.array([2.5]),
        torch.tensor(2.5),
        torch.tensor([2.5]),
        torch.tensor([[2.5]], dtype=torch.float64),
        torch.tensor(2.5, dtype=torch.bfloat16),
        torch.tensor(2.5, dtype=torch.float16),
        torch.tensor(2.5, requires_grad=True),
        torch.tensor(2.5, requires_grad=True) * 1.0,
        torch.nn.Parameter(torch.tensor(2.5)),
        torch.tensor(2.5).as_subclass(Marked),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')}",
)
def test_a_number_is_read_exactly(value: object, troubles: Troubles) -> None:
    """Python and NumPy numbers and tensors of one element give their float, with or without a gradient."""
    reader = Reader(troubles)
    assert (2.5, float) == (reader.read(value, "loss"), type(reader.read(value, "loss")))
    assert not troubles.counts


@pytest.mark.parametrize("value", [3, np.int64(3), torch.tensor(3), torch.tensor(3, dtype=torch.uint8)])
def test_whole_numbers_are_read_as_floats(value: object, troubles: Troubles) -> None:
    """An integer of any kind gives its float."""
    assert Reader(troubles).read(value, "loss") == 3.0
    assert not troubles.counts


BAD = [
    ("2.5", "loss: must be a number or a tensor of one element, got a str"),
    (True, "loss: must be a number or a tensor of one element, got a bool"),
    (torch.tensor(True), "loss: must be a number or a tensor of one element, got a bool"),
    (2 + 1j, "loss: must be a number or a tensor of one element, got a complex"),
    (Decimal("2.5"), "loss: must be a number or a tensor of one element, got a Decimal"),
    ([2.5], "loss: must be a number or a tensor of one element, got a list"),
    ({}, "loss: must be a number or a tensor of one element, got a dict"),
    (np.zeros(3), "loss: must be a number or a tensor of one element, got a ndarray of shape (3,)"),
    (torch.zeros(3), "loss: is a Tensor of shape (3,); give one number, as in loss.mean()"),
    (torch.zeros(0), "loss: is a Tensor of shape (0,); give one number, as in loss.mean()"),
]


@pytest.mark.parametrize(("value", "text"), BAD, ids=[repr(value)[:30] for value, _ in BAD])
def test_anything_else_is_counted_and_said(
    value: object, text: str, troubles: Troubles, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no number gives None, one count, and one line that says what it was."""
    with caplog.at_level(logging.WARNING, "epochwatch"):
        assert Reader(troubles).read(value, "loss") is None
    assert troubles.counts == {"loss": 1}
    assert [text] == caplog.messages


def test_a_value_that_breaks_when_read_is_counted(troubles: Troubles) -> None:
    """An exception out of a foreign object stays inside."""

    class Broken:
        @property
        def is_cuda(self) -> bool:
            raise RuntimeError("device lost")

    assert Reader(troubles).read(Broken(), "loss") is None
    assert troubles.counts["loss"] == 1


def test_a_trouble_is_logged_once_per_change(troubles: Troubles, caplog: pytest.LogCaptureFixture) -> None:
    """The same failure a thousand times is one line and a count of a thousand; another one is another line."""
    reader = Reader(troubles)
    with caplog.at_level(logging.WARNING, "epochwatch"):
        for _ in range(1000):
            reader.read("nan", "loss")
        reader.read([], "loss")
    assert troubles.counts["loss"] == 1001
    assert len(caplog.messages) == 2


def test_the_largest_ints_do_not_break(troubles: Troubles) -> None:
    """An int beyond every float is an infinity of its sign."""
    assert Reader(troubles).read(-(10**400), "loss") == float("-inf")


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        ([0.1, 0.01], {"0": 0.1, "1": 0.01}),
        ({"backbone": 0.1, 7: torch.tensor(0.5)}, {"backbone": 0.1, "7": 0.5}),
        (torch.tensor(0.5), {"0": 0.5}),
        (1, {"0": 1.0}),
        ({}, None),
        ([None], None),
    ],
)
def test_learning_rates_come_by_group(value: object, groups: object, troubles: Troubles) -> None:
    """One rate, a list with one per group, or rates by name."""
    assert groups == Reader(troubles).read_groups(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int32(64), 64),
        (torch.tensor(64), 64),
        (64.0, 64),
        (-1.0, None),
        (float("nan"), None),
        ("64", None),
    ],
)
def test_counts_are_whole_and_not_negative(value: object, expected: object, troubles: Troubles) -> None:
    """A number of samples may come as any number; what is below 0 or no number is counted and dropped."""
    assert expected == Reader(troubles).read_count(value, "samples")
    assert (expected is None) == bool(troubles.counts["samples"])


def test_no_tensor_and_no_graph_is_kept(troubles: Troubles) -> None:
    """Once the loop lets go of a loss, its activations are free."""
    weight = torch.ones(8, requires_grad=True)
    activation = weight * 2.0
    loss = activation.sum()
    gone = weakref.ref(activation)
    assert Reader(troubles).read(loss, "loss") == 16.0
    del activation, loss
    gc.collect()
    assert gone() is None


def test_a_distributed_tensor_gives_the_whole_value_or_none(troubles: Troubles, tmp_path: object) -> None:
    """A replicated DTensor is read on this rank; one of which the rank holds a part is refused."""
    distributed = torch.distributed
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import DTensor, Partial, Replicate

        mesh = init_device_mesh("cpu", (1,))
        reader = Reader(troubles)
        whole = DTensor.from_local(torch.tensor(2.5, requires_grad=True), mesh, [Replicate()])
        assert reader.read(whole, "loss") == 2.5
        part = DTensor.from_local(torch.tensor(2.5), mesh, [Partial()])
        assert reader.read(part, "loss") is None
    finally:
        distributed.destroy_process_group()
    assert troubles.counts == {"loss": 1}


def test_a_value_on_its_way_is_not_read_again() -> None:
    """A step that is read once more, because of another value, keeps the one that is coming from a device."""
    landing, troubles = Landing(), Troubles()
    assert Reader(troubles).read(landing, "loss") is landing
    assert troubles.counts == {}
