"""What the contestants are asked to do, and what they offer."""

from collections.abc import Callable
from typing import Any, NamedTuple

PIXELS = 4  # of padding before the random crop

# The ways in which a peer's epoch reads its images.
USUAL, TENSORS = 'usual', 'tensors'


class Task(NamedTuple):
    """One network to train; plain data, which goes to a contestant as JSON."""

    model: str
    batch: int
    precision: str  # 'float32' or 'bfloat16'
    threads: int
    folder: str  # of images.npy uint8[n 32 32 3] and labels.npy int32[n], an epoch's
    images: int = 0  # of those in the folder; 0 are all
    workers: int = 2  # processes of PyTorch's DataLoader
    width: float = 1.0  # factor of the widths, ours only
    # From the config that our side runs, for the peers to do the same.
    optimizer: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    smoothing: float = 0.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class Contestant(NamedTuple):
    """A network ready to be trained; every call returns when its work is done."""

    parameters: int
    steps: Callable[[int], None]  # so many training steps, on images that are ready
    # One epoch with augmentation: the way of reading, and how many batches (None: all).
    epoch: Callable[[str, int | None], None]
