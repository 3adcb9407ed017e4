"""Sliding windows for convolution and pooling: strided views, and their transpose."""

from collections.abc import Iterator, Sequence

import numpy as np

from cifar_jax.reference.layers import ShapeError

Padding = str | Sequence[Sequence[int]]
Pair = tuple[int, int]
CHUNK_BYTES = 2**25  # limits the size of the windows that are copied at a time


def layout(size: Pair, window: Pair, strides: Pair, padding: Padding) -> tuple[Pair, list[Pair]]:
    """Returns the numbers of windows (vertical, horizontal), and the padding of each axis.

    Args:
      padding: 'valid' (none), 'same' (ceil(size / stride) windows; the bottom and right get the odd
        row or column) or ((top, bottom), (left, right)).

    Raises:
      ShapeError: the window does not fit, or the window, stride or padding is invalid.
    """
    if min(*window, *strides) < 1:
        raise ShapeError(f'windows and strides must be at least 1, not {window} and {strides}')
    name = padding.lower() if isinstance(padding, str) else None
    if name not in (None, 'same', 'valid'):
        raise ShapeError(f"padding must be 'same', 'valid' or pairs of numbers, not {padding!r}")
    counts, pads = [], []
    for axis in range(2):
        low = high = 0
        if name == 'same':
            total = (-(-size[axis] // strides[axis]) - 1) * strides[axis] + window[axis]
            total = max(total - size[axis], 0)
            low, high = total // 2, total - total // 2
        elif not isinstance(padding, str):
            low, high = padding[axis]
        room = size[axis] + low + high - window[axis]
        if room < 0:
            raise ShapeError(f'a window of {window} does not fit into {size} with {padding!r}')
        counts.append(room // strides[axis] + 1)
        pads.append((low, high))
    return (counts[0], counts[1]), pads


def padded(x: np.ndarray, pads: Sequence[Pair], fill: float = 0.0) -> np.ndarray:
    """Returns images [b h w c] padded with `fill`."""
    return np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)


def windows(x: np.ndarray, window: Pair, strides: Pair) -> np.ndarray:
    """Returns all windows of padded images, as a view [b rows columns c kh kw]."""
    view = np.lib.stride_tricks.sliding_window_view(x, window, axis=(1, 2))
    return view[:, :: strides[0], :: strides[1]]


def scatter(parts: np.ndarray, size: Pair, pads: Sequence[Pair], strides: Pair) -> np.ndarray:
    """Adds up windows to images [b h w c]: each pixel is the sum of its values in all windows.

    This is the transpose of padding and `windows`: if y = windows(padded(x)), dx = scatter(dy).

    Args:
      parts: [b rows columns c kh kw].
      size: height and width of the images without padding.
    """
    batch, rows, columns, channels, kh, kw = parts.shape
    (top, bottom), (left, right) = pads
    shape = (batch, size[0] + top + bottom, size[1] + left + right, channels)
    total = np.zeros(shape, parts.dtype)
    for i in range(kh):
        for j in range(kw):
            vertical = slice(i, i + (rows - 1) * strides[0] + 1, strides[0])
            horizontal = slice(j, j + (columns - 1) * strides[1] + 1, strides[1])
            total[:, vertical, horizontal] += parts[..., i, j]
    return total[:, top : top + size[0], left : left + size[1]]


def chunks(images: int, bytes_each: int) -> Iterator[slice]:
    """Yields slices of a batch, whose windows take at most `CHUNK_BYTES`; one image at least."""
    step = max(1, CHUNK_BYTES // max(1, bytes_each))
    for start in range(0, images, step):
        yield slice(start, min(start + step, images))
