"""Our networks in PyTorch; submodules are named like our modules.

With stride 2, PyTorch's convolutions pad by 1 on both sides; ours ('SAME') pad only at the end. So
this SENet equals ours on mirrored images with mirrored kernels.
"""

from collections import OrderedDict
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DropBlock(nn.Module):
    """Ghiasi et al. 2018 by max-pooling seeds; rate / size^2 is the probability of a seed."""

    def __init__(self, rate: float, size: int) -> None:
        super().__init__()
        self.rate, self.size = rate, size

    def forward(self, x: Tensor) -> Tensor:
        """Returns x with blocks dropped in training, and x itself at evaluation."""
        if not self.training:
            return x
        batch, _, height, width = x.shape
        seeds = torch.rand(batch, 1, height, width) < self.rate / self.size**2
        dropped = F.max_pool2d(seeds.float(), self.size, 1, self.size // 2)
        kept = 1 - dropped[:, :, :height, :width]
        return x * (kept / kept.mean()).to(x.dtype)


class Ninth(nn.Module):
    """Divides the logits by 9, as airbench94 does."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns x / 9."""
        return x / 9


def _conv(inputs: int, width: int, kernel: int = 3, stride: int = 1, bias: bool = False):
    return nn.Conv2d(inputs, width, kernel, stride, kernel // 2, bias=bias)


def _numbered(layers: Iterator[nn.Module]) -> nn.Sequential:
    """Returns a sequence whose layers are numbered by kind, as Flax names modules."""
    kinds = {nn.Conv2d: 'Conv', nn.BatchNorm2d: 'BatchNorm', nn.Linear: 'Dense'}
    names: OrderedDict[str, nn.Module] = OrderedDict()
    counts: dict[str, int] = {}
    for layer in layers:
        kind = kinds.get(type(layer), type(layer).__name__)
        names[f'{kind}_{counts.get(kind, 0)}'] = layer
        counts[kind] = counts.get(kind, 0) + 1
    return nn.Sequential(names)


def small_vgg(classes: int = 10) -> nn.Module:
    """[conv 3x3, ReLU] twice and max-pool 2 for each width; flatten; dense."""

    def layers() -> Iterator[nn.Module]:
        inputs = 3
        for width in (32, 64, 128):
            for _ in range(2):
                yield _conv(inputs, width, bias=True)
                yield nn.ReLU(inplace=True)
                inputs = width
            yield nn.MaxPool2d(2)
        yield nn.Flatten()
        yield nn.Linear(4 * 4 * inputs, classes)

    return _numbered(layers())


def plain_cnn(classes: int = 10) -> nn.Module:
    """Blocks of conv, batch norm, ReLU, DropBlock, average-pool 2; flatten; two dense layers."""

    def layers() -> Iterator[nn.Module]:
        inputs = 3
        blocks = zip((32, 64, 128, 256, 512), (7, 5, 5, 3, 3), (8, 4, 2, 0, 0), strict=True)
        for width, kernel, size in blocks:
            yield _conv(inputs, width, kernel, bias=True)
            yield nn.BatchNorm2d(width)
            yield nn.ReLU(inplace=True)
            if size:
                yield DropBlock(0.3, size)
            yield nn.AvgPool2d(2)
            inputs = width
        yield nn.Flatten()
        yield nn.Linear(inputs, 2000)
        yield nn.LeakyReLU(0.01, inplace=True)
        yield nn.Dropout(0.4)
        yield nn.Linear(2000, classes)

    return _numbered(layers())


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from all channels' means."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the scaled map."""
        gate = F.relu(self.squeeze(x.mean((2, 3))))
        return x * torch.sigmoid(self.excite(gate))[:, :, None, None]


class SEBlock(nn.Module):
    """relu(shortcut + SE(BN(conv(relu(BN(conv(x)))))))."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, width, stride=stride)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width)
        self.norm2 = nn.BatchNorm2d(width)
        self.se = SqueezeExcite(width, 8)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.projects = inputs != width
        if self.projects:
            self.shortcut = _conv(inputs, width, 1)
            self.shortcut_norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the block's output."""
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.se(self.norm2(self.conv2(y)))
        x = self.pool(x)
        if self.projects:
            x = self.shortcut_norm(self.shortcut(x))
        return F.relu(x + y, inplace=True)


def senet(classes: int = 10) -> nn.Module:
    """A 3x3 stem, stages of SE blocks, mean over positions, dense."""
    inputs, widths = 24, (24, 48, 96, 192)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=_conv(3, inputs), stem_norm=nn.BatchNorm2d(inputs), relu=nn.ReLU(inplace=True)
    )
    for stage, width in enumerate(widths):
        for block in range(2):
            stride = 2 if stage and not block else 1
            layers[f'stage{stage + 1}_block{block + 1}'] = SEBlock(inputs, width, stride)
            inputs = width
    layers |= dict(mean=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
    layers['head'] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)


def _unit(inputs: int, width: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        OrderedDict(
            Conv_0=_conv(inputs, width, kernel),
            BatchNorm_0=nn.BatchNorm2d(width),
            relu=nn.ReLU(inplace=True),
        )
    )


class InceptionModule(nn.Module):
    """Four parallel branches."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.one = _unit(inputs, width // 4, 1)
        self.three_reduce = _unit(inputs, 3 * width // 8, 1)
        self.three = _unit(3 * width // 8, width // 2, 3)
        self.five_reduce = _unit(inputs, width // 16, 1)
        self.five_a = _unit(width // 16, width // 8, 3)
        self.five_b = _unit(width // 8, width // 8, 3)
        self.pool = _unit(inputs, width // 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the branches' outputs, concatenated."""
        three = self.three(self.three_reduce(x))
        five = self.five_b(self.five_a(self.five_reduce(x)))
        pooled = self.pool(F.max_pool2d(x, 3, 1, 1))
        return torch.cat([self.one(x), three, five, pooled], 1)


def inception(classes: int = 10) -> nn.Module:
    """3x3 stem; two stages of max-pool 2 and three Inception modules; mean; dense."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem1=_unit(3, 32, 3), stem2=_unit(32, 64, 3))
    inputs = 64
    for stage, width in enumerate((128, 256)):
        layers[f'pool{stage}'] = nn.MaxPool2d(2)
        for module in range(3):
            layers[f'stage{stage + 1}_module{module + 1}'] = InceptionModule(inputs, width)
            inputs = width
    layers |= dict(mean=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
    layers['head'] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)


def airbench_shape(classes: int = 10) -> nn.Module:
    """Our AirbenchShape."""
    whitening = nn.Conv2d(3, 24, 2)
    whitening.weight.requires_grad = False

    def layers() -> Iterator[nn.Module]:
        inputs = 24
        for width in (64, 256, 256):
            for pools in (True, False):
                yield _conv(inputs, width)
                if pools:
                    yield nn.MaxPool2d(2)
                yield nn.BatchNorm2d(width, eps=1e-12, momentum=0.4)
                yield nn.GELU()
                inputs = width
        yield nn.MaxPool2d(3)
        yield nn.Flatten()
        yield nn.Linear(inputs, classes, bias=False)
        yield Ninth()

    first: OrderedDict[str, nn.Module] = OrderedDict(whitening=whitening, gelu=nn.GELU())
    return nn.Sequential(OrderedDict([*first.items(), *_numbered(layers()).named_children()]))


MODELS = {
    'SmallVGG': small_vgg,
    'PlainCNN': plain_cnn,
    'SENet': senet,
    'InceptionNet': inception,
    'AirbenchShape': airbench_shape,
}
