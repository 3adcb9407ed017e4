"""The data types shared by the benchmark and its contestants."""

from collections.abc import Callable
from typing import Any, NamedTuple

PIXELS = 4  # of padding before the random crop

# How a peer augments the images of an epoch: one by one, or whole batches by tensor operations.
USUAL, TENSORS = 'usual', 'tensors'


class Task(NamedTuple):
    """One network to run; plain data, sent to a contestant as JSON."""

    model: str
    batch: int
    precision: str  # 'float32' or 'bfloat16'
    threads: int
    folder: str  # with images.npy uint8[n 32 32 3] and labels.npy int32[n] of an epoch
    images: int = 0  # number of images to use; 0 means all
    workers: int = 2  # number of processes of PyTorch's DataLoader
    width: float = 1.0  # factor on the widths; ours only
    features: bool = False  # compute features, see `bench.features`, and do not train
    # From our config, so that the peers do the same.
    optimizer: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    smoothing: float = 0.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class Contestant(NamedTuple):
    """A network that is ready to run; each call returns when the work is done."""

    parameters: int
    steps: Callable[[int], None]  # runs a number of steps on images in memory
    # Runs one epoch with augmentation; arguments: the form, and the number of batches (None: all).
    epoch: Callable[[str, int | None], None] | None = None  # only where it trains
