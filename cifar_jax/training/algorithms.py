"""The algorithm of each convolution of a run on a CPU, for its log."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax.typing import DTypeLike

from cifar_jax.models.summary import Row
from cifar_jax.ops import backend, onednn


def describe(rows: Sequence[Row], images: int, dtype: DTypeLike) -> str:
    """Returns a line that says which convolutions Winograd's algorithm computes.

    Args:
      rows: the modules of a network, from `models.summary.trace`.
      images: the number of images of a batch on each device.
      dtype: what the network computes in.
    """
    fast = backend.chosen() == 'onednn' and backend.algorithm() == 'auto' and dtype == jnp.float32
    convolutions = {'/'.join(row.path): row for row in rows if row.convolution}
    winograd = [name for name, row in convolutions.items() if fast and _is_winograd(row, images)]
    direct = [name for name in convolutions if name not in winograd]
    parts = [
        f'{kind} for {len(names)} ({", ".join(names)})'
        for kind, names in (("Winograd's algorithm", winograd), ('direct sums', direct))
        if names
    ]
    return f'convolutions: {"; ".join(parts) or "none"}'


def _is_winograd(row: Row, images: int) -> bool:
    """Returns whether Winograd's algorithm computes a convolution in float32."""
    conv = row.convolution
    assert conv is not None
    kernel = (*conv.kernel_size, row.input[-1] // conv.groups, conv.features)
    height, width, _ = row.output
    return onednn.chooses_winograd(kernel, conv.strides, conv.groups, (images, height, width))
