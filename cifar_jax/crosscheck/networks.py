"""Each Flax model as a graph of the NumPy reference.

A node is named by the path of its Flax module ('stage1_block1/conv1'). If a module becomes several
nodes, the last one has the path, and the others have a suffix (':conv').
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from cifar_jax.crosscheck import backbones
from cifar_jax.errors import UserError
from cifar_jax.models.base_net import BaseNet
from cifar_jax.models.complex_net import ComplexNet
from cifar_jax.models.dense_head import DenseHead
from cifar_jax.models.improved_net import ImprovedNet
from cifar_jax.models.inception import InceptionNet
from cifar_jax.models.plain_cnn import PlainCNN
from cifar_jax.models.senet import SENet
from cifar_jax.models.simple_net import SimpleNet
from cifar_jax.models.small_vgg import SmallVGG
from cifar_jax.reference import specs
from cifar_jax.reference.activations import LeakyReLU, ReLU, Sigmoid
from cifar_jax.reference.combine import Add, Concatenate, Gate
from cifar_jax.reference.conv import Conv
from cifar_jax.reference.dense import Dense, Reshape
from cifar_jax.reference.dropout import DropBlock, Dropout
from cifar_jax.reference.graph import INPUT, Graph
from cifar_jax.reference.layers import Shape
from cifar_jax.reference.norm import BatchNorm
from cifar_jax.reference.pool import AvgPool, GlobalAvgPool, MaxPool
from cifar_jax.training.flax_network import FlaxNetwork

KERAS_NORM = BatchNorm(momentum=0.99, epsilon=1e-3)


def graph_of(model: nn.Module, image_shape: Shape) -> Graph:
    """Returns a model as a graph of the reference.

    Raises:
      UserError: the model has no graph in `BUILDERS`.
    """
    build = BUILDERS.get(type(model).__name__)
    if build is None:
        raise UserError(
            f'{type(model).__name__} has no NumPy reference: add its graph to '
            'cifar_jax/crosscheck/networks.py.'
        )
    graph = Graph(image_shape)
    build(graph, model)
    return graph


def small_vgg(graph: Graph, model: SmallVGG) -> None:
    """See `cifar_jax.models.small_vgg`."""
    for block, width in enumerate(model.widths):
        for number in (2 * block, 2 * block + 1):
            _conv_relu(graph, f'Conv_{number}', Conv(width))
        graph.add(f'pool_{block}', MaxPool(2, tie=0.5))
    graph.add('flatten', Reshape())
    graph.add('Dense_0', Dense(model.classes))


def plain_cnn(graph: Graph, model: PlainCNN) -> None:
    """See `cifar_jax.models.plain_cnn`."""
    for block, (width, kernel) in enumerate(zip(model.widths, model.kernels, strict=True)):
        graph.add(f'Conv_{block}', Conv(width, (kernel, kernel)))
        graph.add(f'BatchNorm_{block}', BatchNorm())
        graph.add(f'relu_{block}', ReLU())
        if block < len(model.dropblock_sizes):
            size = model.dropblock_sizes[block]
            graph.add(f'DropBlock_{block}', DropBlock(model.dropblock_rate, size))
        graph.add(f'pool_{block}', AvgPool(2))
    graph.add('flatten', Reshape())
    graph.add('Dense_0', Dense(model.hidden))
    graph.add('leaky_relu', LeakyReLU(model.negative_slope))
    graph.add('Dropout_0', Dropout(model.dropout))
    graph.add('Dense_1', Dense(model.classes))


def senet(graph: Graph, model: SENet) -> None:
    """See `cifar_jax.models.senet`."""
    graph.add('stem', Conv(model.widths[0], bias=False))
    graph.add('stem_norm', BatchNorm())
    graph.add('stem_relu', ReLU())
    for stage, (width, count) in enumerate(zip(model.widths, model.blocks, strict=True)):
        for block in range(count):
            stride = 2 if stage and not block else 1
            name = f'stage{stage + 1}_block{block + 1}'
            _se_block(graph, name, width, stride, model.reduction)
    graph.add('mean', GlobalAvgPool())
    graph.add('head', Dense(model.classes))


def _se_block(graph: Graph, name: str, width: int, stride: int, reduction: int) -> None:
    x = graph.last
    graph.add(f'{name}/conv1', Conv(width, strides=(stride, stride), bias=False))
    graph.add(f'{name}/norm1', BatchNorm())
    graph.add(f'{name}/relu1', ReLU())
    graph.add(f'{name}/conv2', Conv(width, bias=False))
    y = graph.add(f'{name}/norm2', BatchNorm())
    graph.add(f'{name}/se:mean', GlobalAvgPool())
    graph.add(f'{name}/se/squeeze', Dense(max(width // reduction, 1)))
    graph.add(f'{name}/se:relu', ReLU())
    graph.add(f'{name}/se/excite', Dense(width))
    gate = graph.add(f'{name}/se:sigmoid', Sigmoid())
    y = graph.add(f'{name}/se', Gate(), y, gate)
    if stride > 1:
        x = graph.add(f'{name}/pool', AvgPool(stride, padding='same'), x)
    if graph.shapes[x][2] != width:
        graph.add(f'{name}/shortcut', Conv(width, (1, 1), bias=False), x)
        x = graph.add(f'{name}/shortcut_norm', BatchNorm())
    graph.add(f'{name}:sum', Add(), x, y)
    graph.add(name, ReLU())


def inception(graph: Graph, model: InceptionNet) -> None:
    """See `cifar_jax.models.inception`."""
    for index, width in enumerate(model.stem):
        _conv_unit(graph, f'stem{index + 1}', width, 3)
    for stage, (width, count) in enumerate(zip(model.widths, model.modules, strict=True)):
        graph.add(f'pool{stage + 1}', MaxPool(2, tie=0.5))
        for module in range(count):
            _inception_module(graph, f'stage{stage + 1}_module{module + 1}', width)
    graph.add('mean', GlobalAvgPool())
    graph.add('head', Dense(model.classes))


def _inception_module(graph: Graph, name: str, width: int) -> None:
    x = graph.last
    one = _conv_unit(graph, f'{name}/one', width // 4, 1, x)
    _conv_unit(graph, f'{name}/three_reduce', 3 * width // 8, 1, x)
    three = _conv_unit(graph, f'{name}/three', width // 2, 3)
    _conv_unit(graph, f'{name}/five_reduce', width // 16, 1, x)
    _conv_unit(graph, f'{name}/five_a', width // 8, 3)
    five = _conv_unit(graph, f'{name}/five_b', width // 8, 3)
    graph.add(f'{name}:pool', MaxPool(3, 1, 'same'), x)
    pooled = _conv_unit(graph, f'{name}/pool', width // 8, 1)
    graph.add(name, Concatenate(), one, three, five, pooled)


def _conv_unit(graph: Graph, name: str, width: int, kernel: int, *source: str) -> str:
    graph.add(f'{name}/Conv_0', Conv(width, (kernel, kernel), bias=False), *source)
    graph.add(f'{name}/BatchNorm_0', BatchNorm())
    return graph.add(name, ReLU())


def base_net(graph: Graph, model: BaseNet) -> None:
    """See `cifar_jax.models.base_net`."""
    for place, width in enumerate(model.widths):
        _conv_relu(graph, f'Conv_{place}', Conv(width, (5, 5), padding='valid'))
        graph.add(f'pool_{place}', MaxPool(2, tie=0.5))
    graph.add('flatten', Reshape())
    graph.add('Dense_0', Dense(model.hidden))
    graph.add('relu', ReLU())
    graph.add('Dense_1', Dense(model.classes))


def improved_net(graph: Graph, model: ImprovedNet) -> None:
    """See `cifar_jax.models.improved_net`."""
    for block, width in enumerate(model.widths):
        for place, padding in ((2 * block, 'same'), (2 * block + 1, 'valid')):
            conv = Conv(width, padding=padding)
            if model.batch_norm == 'before':
                graph.add(f'Conv_{place}', conv)
                graph.add(f'BatchNorm_{place}', KERAS_NORM)
                graph.add(f'relu_{place}', ReLU())
            else:
                _conv_relu(graph, f'Conv_{place}', conv)
            if model.batch_norm == 'after':
                graph.add(f'BatchNorm_{place}', KERAS_NORM)
        graph.add(f'pool_{block}', MaxPool(2, tie=0.5))
        graph.add(f'Dropout_{block}', Dropout(model.dropout))
    graph.add('flatten', Reshape())
    graph.add('Dense_0', Dense(model.hidden))
    graph.add('relu', ReLU())
    graph.add(f'Dropout_{len(model.widths)}', Dropout(model.head_dropout))
    graph.add('Dense_1', Dense(model.classes))


def simple_net(graph: Graph, model: SimpleNet) -> None:
    """See `cifar_jax.models.simple_net`."""
    last = len(model.widths) - 1
    for place, width in enumerate(model.widths):
        _conv_relu(graph, f'Conv_{place}', Conv(width, padding='valid'))
        if place not in (0, last):
            graph.add(f'pool_{place}', MaxPool(2, tie=0.5))
        if place != last:
            graph.add(f'Dropout_{place}', Dropout(model.dropout))
        graph.add(f'BatchNorm_{place}', KERAS_NORM)
    graph.add('mean', GlobalAvgPool())
    graph.add(f'Dropout_{last}', Dropout(model.head_dropout))
    for place, units in enumerate(model.hidden):
        graph.add(f'Dense_{place}', Dense(units))
        graph.add(f'relu_{place}', ReLU())
    graph.add(f'Dense_{len(model.hidden)}', Dense(model.classes))


def complex_net(graph: Graph, model: ComplexNet) -> None:
    """See `cifar_jax.models.complex_net`."""
    convs = drops = 0
    groups = zip(model.widths, model.convs, model.dropouts, strict=True)
    for group, (width, count, rate) in enumerate(groups):
        for place in range(count):
            if place:
                graph.add(f'Dropout_{drops}', Dropout(rate))
                drops += 1
            _conv_relu(graph, f'Conv_{convs}', Conv(width))
            graph.add(f'BatchNorm_{convs}', KERAS_NORM)
            convs += 1
        graph.add(f'pool_{group}', MaxPool(2, tie=0.5))
    graph.add('flatten', Reshape())
    graph.add('Dense_0', Dense(model.hidden))
    graph.add('relu', ReLU())
    graph.add(f'BatchNorm_{convs}', KERAS_NORM)
    graph.add(f'Dropout_{drops}', Dropout(model.head_dropout))
    graph.add('Dense_1', Dense(model.classes))


def dense_head(graph: Graph, model: DenseHead) -> None:
    """See `cifar_jax.models.dense_head`."""
    graph.add('flatten', Reshape())
    backbones.hidden_layers(graph, model.hidden, model.dropout)
    graph.add('head', Dense(model.classes))


def _conv_relu(graph: Graph, name: str, conv: Conv) -> None:
    graph.add(f'{name}:conv', conv)
    graph.add(name, ReLU())


def layer_list(graph: Graph, model: FlaxNetwork) -> None:
    """See `cifar_jax.training.flax_network`."""
    for node in specs.graph_of(specs.without_softmax(model.layers), graph.shapes[INPUT]).nodes:
        layer = node.layer
        # `ops.pool.max_pool` splits the gradient of ties equally, unless the stride is 1.
        if isinstance(layer, MaxPool) and layer.stride != 1:
            layer = dataclasses.replace(layer, tie=0.5)
        graph.add(node.name, layer)


BUILDERS: dict[str, Callable[[Graph, Any], None]] = {
    'SmallVGG': small_vgg,
    'PlainCNN': plain_cnn,
    'SENet': senet,
    'InceptionNet': inception,
    'BaseNet': base_net,
    'ImprovedNet': improved_net,
    'SimpleNet': simple_net,
    'ComplexNet': complex_net,
    'DenseHead': dense_head,
    'ResNet50': backbones.resnet,
    'EfficientNetB0': backbones.efficientnet,
    'EfficientNetLite0': backbones.efficientnet,
    'FlaxNetwork': layer_list,
}
