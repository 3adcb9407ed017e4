"""A model as a short list of blocks, the units that pictures of a model show."""

import collections
from collections.abc import Sequence
from typing import Any, NamedTuple

from flax import linen as nn

from cifar_jax.models import summary
from cifar_jax.models.summary import Row


class Block(NamedTuple):
    """A top-level module with kernels, and the modules after it up to the next one with kernels.

    For example, a convolution with its batch norm and dropout is a block, and so is an SE block
    with everything inside. Pooling and activations that the model applies between its modules
    belong to no block.
    """

    name: str  # of its first module
    contents: str  # 'Conv 3x3, BatchNorm', or 'SEBlock: 2 Conv 3x3, 2 BatchNorm, 2 Dense'
    convolves: bool  # whether it contains a convolution
    input: tuple[int, ...]  # shape of its input, without the batch
    output: tuple[int, ...]  # shape of the output of its first module, before any pooling
    maps: str  # name of the module with its feature maps: its first ReLU, or the last of that shape
    parameters: int  # number of trainable parameters
    statistics: int  # number of moving statistics of batch norm
    flops: int  # of convolutions and dense layers for one image; a multiply-add is two


def of(model: nn.Module, image_shape: Sequence[int]) -> list[Block]:
    """Returns the blocks of a model for (h, w, c) images, in the order of computation.

    Their parameters, statistics and FLOPs add up to those of `summary`.
    """
    variables, rows = summary.trace(model, image_shape)
    groups: list[list[Row]] = []
    for row in rows:
        if len(row.path) == 1:
            kinds = {inner.kind for inner in (row, *_within(row, rows))}
            if not groups or kinds & {'Conv', 'Dense'}:
                groups.append([])
            groups[-1].append(row)
    return [_block(group, variables, rows) for group in groups]


def _block(group: list[Row], variables: dict[str, Any], rows: list[Row]) -> Block:
    first = group[0]
    same_shape = [row for row in group if row.output == first.output]
    rectified = [row for row in same_shape if row.rectifies]
    parameters, statistics = (
        sum(summary.size(variables.get(kind, {}), row.path) for row in group)
        for kind in ('params', 'batch_stats')
    )
    return Block(
        name=first.path[0],
        contents=', '.join(_contents(row, variables, rows) for row in group),
        convolves='Conv' in {inner.kind for inner in (first, *_within(first, rows))},
        input=first.input,
        output=first.output,
        maps=(rectified[:1] or same_shape)[-1].path[0],
        parameters=parameters,
        statistics=statistics,
        flops=2 * sum(row.multiply_adds for row in group),
    )


def _contents(row: Row, variables: dict[str, Any], rows: list[Row]) -> str:
    """Describes a module: its kind, and the numbers of modules inside it, convolutions first."""
    leaves = [inner for inner in _within(row, rows) if not _within(inner, rows)]
    if not leaves:
        return _label(row, variables) + (', ReLU' if row.rectifies and row.kind != 'ReLU' else '')
    counts = collections.Counter(_label(leaf, variables) for leaf in leaves)
    labels = sorted(counts, key=lambda label: not label.startswith('Conv'))
    listed = [f'{counts[label]} {label}' if counts[label] > 1 else label for label in labels]
    return f'{row.kind}: {", ".join(listed)}'


def _within(row: Row, rows: list[Row]) -> list[Row]:
    """Returns the rows of the modules within a module."""
    depth = len(row.path)
    return [other for other in rows if len(other.path) > depth and other.path[:depth] == row.path]


def _label(row: Row, variables: dict[str, Any]) -> str:
    """Returns the kind of a module, with the kernel size if it is a convolution."""
    if row.kind != 'Conv':
        return row.kind
    params = variables['params']
    for name in row.path:
        params = params[name]
    height, width = params['kernel'].shape[:2]
    return f'Conv {height}x{width}'
