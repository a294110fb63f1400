"""Two processes train one model on scikit-learn's digits (DDP on the CPU), each watched by epochwatch.

Every rank serves its own /metrics, on the port of the run plus its number on the node, and all series carry its `rank`.
The loss of a rank is that of its own part of the data; the validation is rank 0's.

    torchrun --nproc-per-node 2 examples/ddp.py --epochs 5
"""

from __future__ import annotations

import argparse

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

import epochwatch
from digits import evaluate, load, network


def train(name: str, epochs: int, batch_size: int) -> None:
    """Trains for `epochs` epochs."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    whole, val_loader = load(batch_size)
    sampler = DistributedSampler(whole.dataset)
    train_loader = DataLoader(whole.dataset, batch_size=batch_size, sampler=sampler)
    model = DistributedDataParallel(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)

    with epochwatch.start(name, epochs=epochs) as run:
        print(f"rank {dist.get_rank()}: metrics at {run.url}", flush=True)
        for epoch in run.epochs():
            sampler.set_epoch(epoch)
            for x, y in run.batches(train_loader):
                loss = nn.functional.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.step(loss=loss, lr=0.03, samples=len(x))
            if dist.get_rank() == 0:
                with run.phase("evaluating"):
                    val_loss, accuracy = evaluate(model.module, val_loader)
                run.log("validation", loss=val_loss, accuracy=accuracy)
                print(
                    f"epoch {epoch + 1:3d}  validation loss {val_loss:.4f}  accuracy {accuracy:.1%}",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="digits-ddp", help="the run's name in metrics and messages")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    dist.init_process_group("gloo")
    train(options.name, options.epochs, options.batch_size)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
