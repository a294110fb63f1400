"""A small convolutional network learns scikit-learn's handwritten digits, watched by epochwatch.

An ordinary training script: the lines that epochwatch adds are `epochwatch.start`, `run.epochs`, `run.batches`,
`run.step` and `run.log`. The learning rate shrinks to two fifths every epoch, a schedule that decays far too fast:
after a dozen epochs the network no longer moves and the validation loss stands still. That is the mistake that the
demo's alert is about.

    python examples/digits.py --epochs 200
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import epochwatch


def load(batch_size: int, device: str = "cpu") -> tuple[DataLoader, DataLoader]:
    """Gives the training and the validation loader; images are (batch, 1, 8, 8) floats in 0–1."""
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    labels = torch.tensor(labels)
    train_x, val_x, train_y, val_y = train_test_split(
        images, labels, test_size=0.25, random_state=0, stratify=labels
    )
    train_set = TensorDataset(train_x.to(device), train_y.to(device))
    val_set = TensorDataset(val_x.to(device), val_y.to(device))
    return DataLoader(train_set, batch_size=batch_size, shuffle=True), DataLoader(val_set, batch_size=256)


def network() -> nn.Module:
    """Gives logits of shape (batch, 10) for images of shape (batch, 1, 8, 8)."""
    return nn.Sequential(
        nn.Conv2d(1, 48, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(48, 96, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(96 * 4 * 4, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader) -> tuple[float, float]:
    """Gives the mean cross-entropy and the accuracy (0–1) over a loader."""
    model.eval()
    loss, hits, count = 0.0, 0, 0
    for x, y in loader:
        logits = model(x)
        loss += nn.functional.cross_entropy(logits, y, reduction="sum").item()
        hits += (logits.argmax(1) == y).sum().item()
        count += len(y)
    model.train()
    return loss / count, hits / count


def train(
    name: str, epochs: int, batch_size: int, learning_rate: float, decay: float, device: str = "cpu"
) -> None:
    """Trains for `epochs` epochs and says after each how it goes."""
    torch.manual_seed(0)
    # A network this small gains nothing from a second thread, and leaves the machine to others.
    torch.set_num_threads(1)
    train_loader, val_loader = load(batch_size, device)
    model = network().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=decay)
    details = {"model": "cnn-2x", "dataset": "digits", "batch_size": str(batch_size)}

    with epochwatch.start(name, epochs=epochs, labels=details) as run:
        print(f"metrics at {run.url}", flush=True)
        for epoch in run.epochs():
            train_loss = 0.0
            for x, y in run.batches(train_loader):
                loss = nn.functional.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                norm = nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                run.step(loss=loss, lr=schedule.get_last_lr()[0], grad_norm=norm, samples=len(x))
                train_loss += loss.item() * len(x)
            val_loss, accuracy = evaluate(model, val_loader)
            run.log("validation", loss=val_loss, accuracy=accuracy)
            print(
                f"epoch {epoch + 1:3d}  train loss {train_loss / len(train_loader.dataset):.4f}  "
                f"validation loss {val_loss:.6f}  accuracy {accuracy:.1%}  "
                f"lr {schedule.get_last_lr()[0]:.1e}",
                flush=True,
            )
            schedule.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="digits-cnn", help="the run's name in metrics and messages")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.03)
    parser.add_argument(
        "--decay", type=float, default=0.4, help="factor on the learning rate after each epoch"
    )
    parser.add_argument("--device", default="cpu", help="where it trains, for example cuda")
    options = parser.parse_args()
    train(options.name, options.epochs, options.batch_size, options.lr, options.decay, options.device)


if __name__ == "__main__":
    main()
