"""Under which names logged values come out, and what a hook is kept from doing."""

import numpy as np
import pytest
import torch

import epochwatch
from epochwatch.integrations.hooked import HookedRun
from epochwatch.integrations.naming import batch_size, by_phase, without_forks


@pytest.mark.parametrize(
    ("logged", "phase", "name"),
    [
        ("val_loss", "validation", "loss"),
        ("valid/acc", "validation", "accuracy"),
        ("validation.F1", "validation", "F1"),
        ("eval_accuracy", "validation", "accuracy"),
        ("eval_news_loss", "validation", "news_loss"),
        ("Val_MulticlassAccuracy", "validation", "accuracy"),
        ("train_loss", "train", "loss"),
        ("train/perplexity", "train", "perplexity"),
        ("test_loss", "test", "loss"),
        ("loss", "elsewhere", "loss"),
        ("value", "elsewhere", "value"),
        ("evaluation", "elsewhere", "evaluation"),
    ],
)
def test_a_logged_name_says_phase_and_metric(logged: str, phase: str, name: str) -> None:
    """The usual prefixes mean a phase, loss and accuracy are known; every other name stays as it is."""
    assert {phase: {name: 1.5}} == by_phase({logged: 1.5}, "elsewhere")


@pytest.mark.parametrize("value", [None, "0.5", True, {"a": 1.0}])
def test_what_is_no_value_is_left_out(value: object) -> None:
    """Texts, flags, nested values and nothing at all are not handed on."""
    assert by_phase({"val_note": value}, "validation") == {}


def test_lightnings_forks_of_a_name_are_told_once() -> None:
    """A value logged on step and on epoch has three names; only the common one is kept, lone ones stay."""
    forked = {"val_loss": 1, "val_loss_step": 2, "val_loss_epoch": 1, "n_step": 3}
    assert without_forks(forked) == {"val_loss": 1, "n_step": 3}


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (torch.zeros(4, 2), 4),
        ([np.zeros((3, 2)), np.zeros(3)], 3),
        ({"text": ["a", "b"], "ids": torch.zeros(2, 7)}, 2),
        (([], {"x": (torch.zeros(5),)}), 5),
        (torch.tensor(1.0), None),
        ("text", None),
        (7, None),
    ],
)
def test_the_size_of_a_batch_is_its_first_arrays(batch: object, size: int | None) -> None:
    """However a batch is nested, its first array tells how many samples it has."""
    assert size == batch_size(batch)


def test_a_wrong_setting_is_told_before_the_training_begins() -> None:
    """What the callback is given is checked when it is made, with `start`'s own message."""
    with pytest.raises(
        epochwatch.SettingsError, match="patience must be a whole number of at least 1; got 0"
    ):
        HookedRun("digits", {"patience": 0})


def test_settings_and_a_run_do_not_go_together() -> None:
    """A run that is started already takes no settings; the message says where they belong."""
    with (
        epochwatch.start("digits", port=0, addr="127.0.0.1", gpu=False) as run,
        pytest.raises(epochwatch.SettingsError, match=r"patience, port: give these to epochwatch\.start"),
    ):
        HookedRun(run, {"patience": 3, "port": 1})
