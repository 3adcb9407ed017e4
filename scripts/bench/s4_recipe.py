"""S4's recipe for its PlainCNN, written in PyTorch."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.torch_models import plain_cnn
from cifar_jax.data.arrays import Arrays

BATCH, RATE, L2 = 128, 1e-2, 1e-4
DROPS = (14, 29, 44, 59, 74, 89)  # 0-based epochs from which the rate is a tenth of that before


class Score(NamedTuple):
    """A mean cross-entropy in nats, and an accuracy as a fraction."""

    loss: float
    accuracy: float


class Part:
    """Normalised images float32[n 3 h w] and labels int64[n]."""

    def __init__(self, arrays: Arrays) -> None:
        images = torch.tensor(arrays.images).permute(0, 3, 1, 2).float()
        self.images = (images / 255 - 0.5) / 0.5
        self.labels = torch.tensor(arrays.labels).long()


def epochs(train: Part, validation: Part, count: int) -> Iterator[tuple[Score, Score]]:
    """Trains a new network; yields the scores of training and validation in each epoch."""
    model = plain_cnn().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), RATE, weight_decay=L2)
    for epoch in range(count):
        for group in optimizer.param_groups:
            group['lr'] = RATE * 0.1 ** sum(epoch >= drop for drop in DROPS)
        yield train_epoch(model, optimizer, train), evaluate(model, validation)


def train_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, train: Part) -> Score:
    """Trains on all whole batches, in random order; the score is that during the epoch."""
    model.train()
    scores = []
    for rows in torch.randperm(len(train.labels)).split(BATCH):
        if len(rows) < BATCH:
            break
        labels = train.labels[rows]
        logits = model(train.images[rows].contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scores.append((loss.item(), _accuracy(logits, labels)))
    losses, accuracies = zip(*scores, strict=True)
    return Score(sum(losses) / len(scores), sum(accuracies) / len(scores))


@torch.no_grad()
def evaluate(model: nn.Module, part: Part) -> Score:
    """Returns the score of a network on images."""
    model.eval()
    logits = torch.cat([model(images) for images in part.images.split(1000)])
    return Score(F.cross_entropy(logits, part.labels).item(), _accuracy(logits, part.labels))


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).double().mean().item()
