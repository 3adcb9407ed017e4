"""The backbones for transfer learning as graphs of the NumPy reference; see `networks`."""

from collections.abc import Sequence

from cifar_jax.models.backbone import BackboneModel
from cifar_jax.models.efficientnet import EfficientNetB0
from cifar_jax.models.resnet import ResNet50
from cifar_jax.reference.activations import ReLU, ReLU6, Sigmoid, SiLU
from cifar_jax.reference.combine import Add, Gate
from cifar_jax.reference.conv import Conv
from cifar_jax.reference.dense import Dense
from cifar_jax.reference.dropout import Dropout
from cifar_jax.reference.graph import Graph
from cifar_jax.reference.norm import BatchNorm
from cifar_jax.reference.pool import GlobalAvgPool, MaxPool

_RESNET_NORM = BatchNorm(momentum=0.99, epsilon=1.001e-5)
_EFFICIENTNET_NORM = BatchNorm(momentum=0.99, epsilon=1e-3)
_ACTIVATIONS = {'relu6': ReLU6(), 'swish': SiLU()}


def resnet(graph: Graph, model: ResNet50) -> None:
    """See `cifar_jax.models.resnet`."""
    graph.add('stem', Conv(model.widths[0], (7, 7), (2, 2), ((3, 3), (3, 3))))
    graph.add('stem_norm', _RESNET_NORM)
    graph.add('stem_relu', ReLU())
    graph.add('pool', MaxPool(3, 2, ((1, 1), (1, 1)), tie=0.5))
    stages = list(zip(model.widths, model.blocks, strict=True))
    for stage, (width, count) in enumerate(stages[: model.last_stage or None]):
        for block in range(count):
            stride = 2 if stage and not block else 1
            _bottleneck(graph, f'stage{stage + 1}_block{block + 1}', width, stride, not block)
    _pooled(graph, model)
    hidden_layers(graph, model.hidden, model.hidden_dropout)
    graph.add('head', Dense(model.classes))


def _bottleneck(graph: Graph, name: str, width: int, stride: int, project: bool) -> None:
    x = graph.last
    strides = (stride, stride)
    graph.add(f'{name}/conv1', Conv(width, (1, 1), strides))
    graph.add(f'{name}/norm1', _RESNET_NORM)
    graph.add(f'{name}/relu1', ReLU())
    graph.add(f'{name}/conv2', Conv(width))
    graph.add(f'{name}/norm2', _RESNET_NORM)
    graph.add(f'{name}/relu2', ReLU())
    graph.add(f'{name}/conv3', Conv(4 * width, (1, 1)))
    y = graph.add(f'{name}/norm3', _RESNET_NORM)
    if project:
        graph.add(f'{name}/shortcut', Conv(4 * width, (1, 1), strides), x)
        x = graph.add(f'{name}/shortcut_norm', _RESNET_NORM)
    graph.add(f'{name}:sum', Add(), x, y)
    graph.add(name, ReLU())


def efficientnet(graph: Graph, model: EfficientNetB0) -> None:
    """See `cifar_jax.models.efficientnet`."""
    activation = _ACTIVATIONS[model.activation]
    graph.add('stem', Conv(model.stem, (3, 3), (2, 2), bias=False))
    graph.add('stem_norm', _EFFICIENTNET_NORM)
    graph.add('stem_activation', activation)
    earlier, total = 0, sum(model.blocks)
    for stage, count in enumerate(model.blocks[: model.last_stage or None]):
        for block in range(count):
            drop_path = model.drop_path * earlier / total
            _inverted_residual(graph, model, stage, block, drop_path)
            earlier += 1
    if not model.last_stage:
        graph.add('top', Conv(model.top, (1, 1), bias=False))
        graph.add('top_norm', _EFFICIENTNET_NORM)
        graph.add('top_activation', activation)
    _pooled(graph, model)
    graph.add('Dropout_0', Dropout(model.dropout))
    hidden_layers(graph, model.hidden, model.hidden_dropout, dropouts_before=1)
    graph.add('head', Dense(model.classes))


def _inverted_residual(
    graph: Graph, model: EfficientNetB0, stage: int, block: int, drop_path: float
) -> None:
    name, x = f'stage{stage + 1}_block{block + 1}', graph.last
    activation = _ACTIVATIONS[model.activation]
    channels, kernel = graph.shapes[x][2], model.kernels[stage]
    stride = 1 if block else model.strides[stage]
    inner = model.expansions[stage] * channels
    if model.expansions[stage] != 1:
        graph.add(f'{name}/expand', Conv(inner, (1, 1), bias=False))
        graph.add(f'{name}/expand_norm', _EFFICIENTNET_NORM)
        graph.add(f'{name}/expand_activation', activation)
    depthwise = Conv(inner, (kernel, kernel), (stride, stride), groups=inner, bias=False)
    graph.add(f'{name}/depthwise', depthwise)
    graph.add(f'{name}/depthwise_norm', _EFFICIENTNET_NORM)
    y = graph.add(f'{name}/depthwise_activation', activation)
    if model.squeeze:
        graph.add(f'{name}/se:mean', GlobalAvgPool())
        graph.add(f'{name}/se/squeeze', Dense(channels // 4))
        graph.add(f'{name}/se:activation', activation)
        graph.add(f'{name}/se/excite', Dense(inner))
        gate = graph.add(f'{name}/se:sigmoid', Sigmoid())
        graph.add(f'{name}/se', Gate(), y, gate)
    graph.add(f'{name}/project', Conv(model.widths[stage], (1, 1), bias=False))
    y = graph.add(f'{name}/project_norm', _EFFICIENTNET_NORM)
    added = graph.shapes[x] == graph.shapes[y]
    if added and drop_path:
        y = graph.add(f'{name}/Dropout_0', Dropout(drop_path))
    graph.add(name, Add(), *([x] * added), y)


def _pooled(graph: Graph, model: BackboneModel) -> None:
    for place, features in enumerate(model.convs, 1):
        graph.add(f'conv{place}:conv', Conv(features, padding='valid'))
        graph.add(f'conv{place}', ReLU())
        graph.add(f'conv{place}_dropout', Dropout(model.convs_dropout))
    graph.add('mean', GlobalAvgPool())


def hidden_layers(
    graph: Graph, sizes: Sequence[int], dropout: float, dropouts_before: int = 0
) -> None:
    """See `cifar_jax.models.dense_head`; `dropouts_before` layers have numbers before these."""
    for place, units in enumerate(sizes):
        graph.add(f'hidden{place + 1}', Dense(units))
        graph.add(f'relu_{place}', ReLU())
        graph.add(f'Dropout_{place + dropouts_before}', Dropout(dropout))
