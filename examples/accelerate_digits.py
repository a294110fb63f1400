"""A loop with Hugging Face accelerate trains a small network on scikit-learn's digits, watched by epochwatch.

The loop tells epochs, batches and steps itself, on every rank; what it logs through the Accelerator comes along.

    python examples/accelerate_digits.py --epochs 5
"""

from __future__ import annotations

import argparse

import torch
from accelerate import Accelerator
from torch import nn

import epochwatch
from digits import evaluate, load, network
from epochwatch.integrations.accelerate import EpochwatchTracker


def train(name: str, epochs: int) -> None:
    """Trains for `epochs` epochs."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with epochwatch.start(name, epochs=epochs) as run:
        accelerator = Accelerator(cpu=True, log_with=EpochwatchTracker(run))
        accelerator.init_trackers(name)
        train_loader, val_loader = load(batch_size=32)
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
        model, optimizer, train_loader = accelerator.prepare(model, optimizer, train_loader)
        for epoch in run.epochs():
            for x, y in run.batches(train_loader):
                loss = nn.functional.cross_entropy(model(x), y)
                optimizer.zero_grad()
                accelerator.backward(loss)
                norm = accelerator.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                run.step(loss=loss, lr=0.03, grad_norm=norm, samples=len(x))
            with run.phase("evaluating"):
                val_loss, accuracy = evaluate(model, val_loader)
            accelerator.log({"val_loss": val_loss, "val_accuracy": accuracy}, step=epoch)
            accelerator.print(
                f"epoch {epoch + 1:3d}  validation loss {val_loss:.4f}  accuracy {accuracy:.1%}"
            )
        accelerator.end_training()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="digits-accelerate", help="the run's name in metrics and messages")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    train(options.name, options.epochs)


if __name__ == "__main__":
    main()
