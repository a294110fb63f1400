"""A small GPT learns the source code of Python's standard library, byte by byte, in two processes on one GPU.

The training that the previews show: `record.py` starts it and writes down what it says. It has all that the dashboard
draws: several ranks, parts of a step, evaluation, checkpoints, warm-up and cosine decay.

    torchrun --nproc-per-node 2 grafana/preview/gpt.py --epochs 36 --epoch-seconds 12
"""

from __future__ import annotations

import argparse
import math
import os
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

import epochwatch

VOCABULARY = 256
MEASURED_STEPS = 8


class GPT(nn.Module):
    """Gives logits of shape (batch, time, 256) for bytes of shape (batch, time)."""

    def __init__(self, context: int, width: int, layers: int) -> None:
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, width)
        self.place = nn.Parameter(0.02 * torch.randn(context, width))
        block = nn.TransformerEncoderLayer(
            width, width // 64, 4 * width, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(context))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.token(x) + self.place, mask=self.mask, is_causal=True)))


def corpus() -> torch.Tensor:
    """Gives the standard library's modules, one after another, as bytes."""
    library = Path(sysconfig.get_paths()["stdlib"])
    return torch.frombuffer(
        bytearray(b"".join(path.read_bytes() for path in sorted(library.glob("*.py")))), dtype=torch.uint8
    )


def batches(
    data: torch.Tensor, batch: int, context: int, count: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Gives `count` pairs of bytes and the bytes that follow them, each of shape (batch, context)."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        starts = torch.randint(len(data) - context - 1, (batch,), generator=generator)
        windows = torch.stack([data[start : start + context + 1] for start in starts]).long()
        yield windows[:, :-1], windows[:, 1:]


@contextmanager
def timed(run: epochwatch.Run, part: str, device: torch.device) -> Iterator[None]:
    """A part of the step as the device takes it."""
    with run.part(part):
        yield
        if device.type == "cuda":
            torch.cuda.synchronize()  # on purpose: the parts would else be those of the launches


def average_gradients(model: nn.Module) -> None:
    """Gives every rank the mean gradient, through one flat buffer on the host."""
    gradients = [parameter.grad for parameter in model.parameters()]
    flat = torch.cat([gradient.flatten() for gradient in gradients]).cpu()
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def steps_that_fit(seconds: float, since: float) -> int:
    """Gives how many steps rank 0 makes in a time, by the pace since `since`; every rank the same."""
    steps = torch.tensor([max(1, round(seconds * MEASURED_STEPS / (time.perf_counter() - since)))])
    dist.broadcast(steps, 0)
    return int(steps)


class Trainer:
    """The model with its optimizer: makes steps, tells how good it is, and saves itself."""

    def __init__(self, options: argparse.Namespace, device: torch.device) -> None:
        self.options = options
        self.device = device
        self.model = GPT(options.context, options.width, options.layers).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.0, weight_decay=0.1)

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives the mean cross-entropy of the next byte and how often it is right (0-1)."""
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.model(x.to(self.device))
        y = y.to(self.device)
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), y.flatten())
        return loss, (logits.argmax(-1) == y).float().mean()

    def step(self, run: epochwatch.Run, micro: list[tuple[torch.Tensor, torch.Tensor]], rate: float) -> None:
        """Makes one optimizer step of several micro-batches."""
        total = torch.zeros((), device=self.device)
        for x, y in micro:
            with timed(run, "forward", self.device):
                loss, _ = self.loss(x, y)
            with timed(run, "backward", self.device):
                (loss / len(micro)).backward()
            total += loss.detach() / len(micro)
        with timed(run, "sync_wait", self.device):
            average_gradients(self.model)
        with timed(run, "optimizer", self.device):
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.param_groups[0]["lr"] = rate
            self.optimizer.step()
            self.optimizer.zero_grad()
        samples = sum(len(x) for x, _ in micro)
        tokens = samples * self.options.context
        run.step(loss=total, lr=rate, grad_norm=norm, samples=samples, tokens=tokens)

    @torch.no_grad()
    def evaluate(self, run: epochwatch.Run, data: torch.Tensor) -> None:
        """Tells the loss and the accuracy over the same batches each time."""
        options = self.options
        self.model.eval()
        seen = run.batches(batches(data, options.batch, options.context, options.evaluated, 7), "validation")
        loss, accuracy = torch.stack([torch.stack(self.loss(x, y)) for x, y in seen]).mean(0)
        self.model.train()
        run.log("validation", loss=loss, accuracy=accuracy)

    def save(self, run: epochwatch.Run) -> None:
        with run.phase("checkpointing"), tempfile.TemporaryFile() as file:
            torch.save({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}, file)
            os.fsync(file.fileno())


def learning_rate(highest: float, warm_up: float, progress: float) -> float:
    """Gives the rate of a linear warm-up and a cosine down to a tenth; both arguments go from 0 to 1."""
    return highest * min(1.0, warm_up) * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))


def train(options: argparse.Namespace) -> None:
    """Trains for `epochs` epochs of about `epoch_seconds` each."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    torch.set_num_threads(1 if device.type == "cpu" else 4)
    data, rank = corpus(), dist.get_rank()
    training, validation = data[len(data) // 10 :], data[: len(data) // 10]
    trainer = Trainer(options, device)
    details = {"model": "gpt-11m", "dataset": "python-stdlib"}

    with epochwatch.start(options.name, epochs=options.epochs, labels=details, addr="127.0.0.1") as run:
        steps, made = MEASURED_STEPS, 0
        for epoch in run.epochs():
            began = time.perf_counter()
            count = steps * options.micro_batches
            loader = batches(training, options.batch, options.context, count, seed=epoch * 100 + rank)
            micro = []
            for pair in run.batches(loader):
                micro.append(pair)
                if len(micro) == options.micro_batches:
                    progress = (epoch + (made % steps) / steps) / options.epochs
                    trainer.step(run, micro, learning_rate(options.lr, (made + 1) / (3 * steps), progress))
                    micro, made = [], made + 1
            if epoch == 0:
                steps = steps_that_fit(0.8 * options.epoch_seconds, began)
            trainer.evaluate(run, validation)
            if epoch % 4 == 3 and rank == 0:
                trainer.save(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="gpt-stdlib", help="the run's name in metrics")
    parser.add_argument("--epochs", type=int, default=36)
    parser.add_argument("--epoch-seconds", type=float, default=12.0, help="about this long is an epoch")
    parser.add_argument("--lr", type=float, default=6e-4)
    parser.add_argument("--batch", type=int, default=64, help="sequences in a micro-batch")
    parser.add_argument("--micro-batches", type=int, default=4, help="of which each rank makes a step")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--evaluated", type=int, default=20, help="micro-batches of the validation")
    dist.init_process_group("gloo")
    train(parser.parse_args())
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
