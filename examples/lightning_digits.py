"""Lightning trains a small network on scikit-learn's digits, watched by epochwatch's callback.

python examples/lightning_digits.py --epochs 5
"""

from __future__ import annotations

import argparse

import lightning
import torch
from torch import nn

from digits import load, network
from epochwatch.integrations.lightning import EpochwatchCallback


class Digits(lightning.LightningModule):
    """The network with its loss; logs `val_loss` and `val_acc`."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        x, y = batch
        return nn.functional.cross_entropy(self.network(x), y)

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        x, y = batch
        logits = self.network(x)
        self.log("val_loss", nn.functional.cross_entropy(logits, y), batch_size=len(x))
        self.log("val_acc", (logits.argmax(1) == y).float().mean(), batch_size=len(x))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.03, momentum=0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="digits-lightning", help="the run's name in metrics and messages")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    trainer = lightning.Trainer(
        max_epochs=options.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        callbacks=[EpochwatchCallback(options.name, gradient_norm=True)],
    )
    trainer.fit(Digits(), *load(batch_size=32))


if __name__ == "__main__":
    main()
