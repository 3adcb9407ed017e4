"""PyTorch: channels-last, fused optimizers, eager or compiled."""

import pathlib
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bench.task import PIXELS, TENSORS, Contestant, Task
from bench.torch_models import MODELS

Batches = Iterator[tuple[Tensor, Tensor]]


class Augmented(Dataset):
    """A data set of images, cropped, flipped and normalised one by one, as by torchvision."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, mean: Tensor, std: Tensor) -> None:
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        self.labels = torch.from_numpy(labels).long()
        self.mean, self.std = mean, std

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = F.pad(self.images[index], (PIXELS,) * 4)
        row, column = torch.randint(0, 2 * PIXELS + 1, (2,)).tolist()
        image = image[:, row : row + 32, column : column + 32]
        if torch.rand(()) < 0.5:
            image = image.flip(-1)
        return (image.float().div(255) - self.mean) / self.std, self.labels[index]


def per_batch(data: Augmented, batch: int) -> Batches:
    """Yields batches augmented by tensor operations, the fastest form, as in airbench."""
    padded = F.pad(data.images, (PIXELS,) * 4)
    windows = padded.unfold(2, 32, 1).unfold(3, 32, 1)  # n c rows columns 32 32, all views
    windows = windows.permute(0, 2, 3, 1, 4, 5)
    order = torch.randperm(len(data))
    for index in order[: len(order) // batch * batch].split(batch):
        row, column = torch.randint(0, 2 * PIXELS + 1, (2, batch))
        images = windows[index, row, column]
        flipped = torch.rand(batch, 1, 1, 1) < 0.5
        images = torch.where(flipped, images.flip(-1), images)
        yield (images.float().div_(255) - data.mean) / data.std, data.labels[index]


def build(task: Task, mode: str) -> Contestant:
    """Returns the PyTorch contestant; `mode` is 'eager', 'compile' or a mode of torch.compile."""
    torch.set_num_threads(task.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    model = MODELS[task.model]().to(memory_format=torch.channels_last)
    train_step = _train_step(task, mode, model)
    folder = pathlib.Path(task.folder)
    mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (task.mean, task.std))
    data = Augmented(np.load(folder / 'images.npy'), np.load(folder / 'labels.npy'), mean, std)
    ready = [pair for pair, _ in zip(per_batch(data, task.batch), range(4), strict=False)]
    ready = [(x.contiguous(memory_format=torch.channels_last), y) for x, y in ready]
    loader = DataLoader(
        data,
        task.batch,
        shuffle=True,
        num_workers=task.workers,
        persistent_workers=task.workers > 0,
        drop_last=True,
    )

    def steps(count: int) -> None:
        for step in range(count):
            train_step(*ready[step % len(ready)])

    def epoch(form: str, batches: int | None) -> None:
        source = per_batch(data, task.batch) if form == TENSORS else iter(loader)
        for step, (images, labels) in enumerate(source):
            if step == batches:
                break
            train_step(images.contiguous(memory_format=torch.channels_last), labels)

    return Contestant(sum(p.numel() for p in model.parameters()), steps, epoch)


def _train_step(task: Task, mode: str, model: nn.Module):
    """Returns the function that takes a step on float32 images [n 3 h w] and labels [n]."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    given = task.optimizer
    if given['name'] == 'adam':
        optimizer: torch.optim.Optimizer = torch.optim.Adam(
            parameters,
            given['rate'],
            (given['b1'], given['b2']),
            given['eps'],
            weight_decay=given['l2'],
            fused=True,
        )
    else:
        optimizer = torch.optim.SGD(
            parameters,
            given['rate'],
            given['momentum'],
            weight_decay=given['l2'],
            nesterov=given['nesterov'],
            fused=True,
        )

    def loss_of(images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast('cpu', torch.bfloat16, enabled=task.precision == 'bfloat16'):
            logits = model(images)
        return F.cross_entropy(logits.float(), labels, label_smoothing=task.smoothing)

    if mode != 'eager':
        loss_of = torch.compile(loss_of, mode='default' if mode == 'compile' else mode)

    def train_step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(images, labels).backward()
        optimizer.step()

    return train_step
