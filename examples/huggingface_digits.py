"""The Hugging Face Trainer trains a small network on scikit-learn's digits, watched by epochwatch's callback.

python examples/huggingface_digits.py --epochs 5
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import EvalPrediction, Trainer, TrainingArguments

import epochwatch
from digits import load, network
from epochwatch.integrations.huggingface import EpochwatchCallback


class Digits(nn.Module):
    """The network as the Trainer wants it: named inputs in, loss and logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.network(pixels)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def named(dataset: Dataset) -> list[dict[str, torch.Tensor]]:
    """Gives the samples of a dataset with names."""
    return [{"pixels": x, "labels": y} for x, y in dataset]


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """Gives the share of right answers."""
    return {"accuracy": float(np.mean(prediction.predictions.argmax(1) == prediction.label_ids))}


def train(name: str, epochs: int, folder: str) -> None:
    """Trains for `epochs` epochs; checkpoints go to `folder`."""
    torch.set_num_threads(1)
    train_loader, val_loader = load(batch_size=32)
    arguments = TrainingArguments(
        output_dir=folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=256,
        learning_rate=3e-3,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_steps=10,
        report_to="none",
        use_cpu=True,
        seed=0,
    )
    # The Trainer tells no callback of an exception; the `with` block sees it.
    with epochwatch.start(name, epochs=epochs) as run:
        trainer = Trainer(
            model=Digits(),
            args=arguments,
            train_dataset=named(train_loader.dataset),
            eval_dataset=named(val_loader.dataset),
            compute_metrics=accuracy,
            callbacks=[EpochwatchCallback(run)],
        )
        trainer.train()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="digits-huggingface", help="the run's name in metrics and messages")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        train(options.name, options.epochs, folder)


if __name__ == "__main__":
    main()
