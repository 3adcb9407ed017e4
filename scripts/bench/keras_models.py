"""Our networks in Keras's functional API; layers are named like our modules."""

import keras
from keras import layers


def _norm(name: str, momentum: float = 0.9, epsilon: float = 1e-5):
    return layers.BatchNormalization(momentum=momentum, epsilon=epsilon, name=name)


def _conv(width: int, kernel: int, name: str, strides: int = 1, bias: bool = False):
    return layers.Conv2D(width, kernel, strides, 'same', use_bias=bias, name=name)


def _logits(classes: int, name: str, bias: bool = True):
    """The last layer, which always computes in float32."""
    return layers.Dense(classes, use_bias=bias, dtype='float32', name=name)


class DropBlock(layers.Layer):
    """Ghiasi et al. 2018 by max-pooling seeds; rate / size^2 is the probability of a seed."""

    def __init__(self, rate: float, size: int) -> None:
        super().__init__()
        self.rate, self.size = rate, size
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, x, training=False):
        """Returns x with blocks dropped in training, and x itself at evaluation."""
        if not training:
            return x
        shape = (keras.ops.shape(x)[0], *x.shape[1:3], 1)
        drawn = keras.random.uniform(shape, dtype='float32', seed=self.seeds)
        seeds = keras.ops.cast(drawn < self.rate / self.size**2, 'float32')
        kept = 1 - keras.ops.max_pool(seeds, self.size, 1, 'same')
        return x * keras.ops.cast(kept / keras.ops.mean(kept), x.dtype)


def small_vgg(classes: int = 10) -> keras.Model:
    """[conv 3x3, ReLU] twice and max-pool 2 for each width; flatten; dense."""
    images = x = keras.Input((32, 32, 3))
    for index, width in enumerate((32, 32, 64, 64, 128, 128)):
        x = layers.ReLU()(_conv(width, 3, f'Conv_{index}', bias=True)(x))
        if index % 2:
            x = layers.MaxPooling2D(2)(x)
    return keras.Model(images, _logits(classes, 'Dense_0')(layers.Flatten()(x)))


def plain_cnn(classes: int = 10) -> keras.Model:
    """Blocks of conv, batch norm, ReLU, DropBlock, average-pool 2; flatten; two dense layers."""
    images = x = keras.Input((32, 32, 3))
    blocks = zip((32, 64, 128, 256, 512), (7, 5, 5, 3, 3), (8, 4, 2, 0, 0), strict=True)
    for index, (width, kernel, size) in enumerate(blocks):
        x = _conv(width, kernel, f'Conv_{index}', bias=True)(x)
        x = layers.ReLU()(_norm(f'BatchNorm_{index}')(x))
        if size:
            x = DropBlock(0.3, size)(x)
        x = layers.AveragePooling2D(2)(x)
    x = layers.Dense(2000, name='Dense_0')(layers.Flatten()(x))
    x = layers.Dropout(0.4)(layers.LeakyReLU(0.01)(x))
    return keras.Model(images, _logits(classes, 'Dense_1')(x))


def _se_block(x, width: int, stride: int, name: str):
    """relu(shortcut + SE(BN(conv(relu(BN(conv(x)))))))."""
    y = _conv(width, 3, f'{name}.conv1', stride)(x)
    y = layers.ReLU()(_norm(f'{name}.norm1')(y))
    y = _norm(f'{name}.norm2')(_conv(width, 3, f'{name}.conv2')(y))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
    gate = layers.Dense(width // 8, 'relu', name=f'{name}.se.squeeze')(gate)
    gate = layers.Dense(width, 'sigmoid', name=f'{name}.se.excite')(gate)
    y = layers.Multiply()([y, gate])
    if stride > 1:
        x = layers.AveragePooling2D(2)(x)
    if x.shape[-1] != width:
        x = _norm(f'{name}.shortcut_norm')(_conv(width, 1, f'{name}.shortcut')(x))
    return layers.ReLU()(layers.Add()([x, y]))


def senet(classes: int = 10) -> keras.Model:
    """A 3x3 stem, stages of SE blocks, mean over positions, dense."""
    images = keras.Input((32, 32, 3))
    x = layers.ReLU()(_norm('stem_norm')(_conv(24, 3, 'stem')(images)))
    for stage, width in enumerate((24, 48, 96, 192)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            x = _se_block(x, width, stride, f'stage{stage + 1}_block{block + 1}')
    return keras.Model(images, _logits(classes, 'head')(layers.GlobalAveragePooling2D()(x)))


def _unit(x, width: int, kernel: int, name: str):
    """Convolution, batch norm, ReLU."""
    x = _conv(width, kernel, f'{name}.Conv_0')(x)
    return layers.ReLU()(_norm(f'{name}.BatchNorm_0')(x))


def _inception_module(x, width: int, name: str):
    """Four branches side by side, concatenated."""
    one = _unit(x, width // 4, 1, f'{name}.one')
    three = _unit(x, 3 * width // 8, 1, f'{name}.three_reduce')
    three = _unit(three, width // 2, 3, f'{name}.three')
    five = _unit(x, width // 16, 1, f'{name}.five_reduce')
    five = _unit(five, width // 8, 3, f'{name}.five_a')
    five = _unit(five, width // 8, 3, f'{name}.five_b')
    pooled = layers.MaxPooling2D(3, 1, 'same')(x)
    pooled = _unit(pooled, width // 8, 1, f'{name}.pool')
    return layers.Concatenate()([one, three, five, pooled])


def inception(classes: int = 10) -> keras.Model:
    """3x3 stem; two stages of max-pool 2 and three Inception modules; mean; dense."""
    images = keras.Input((32, 32, 3))
    x = _unit(_unit(images, 32, 3, 'stem1'), 64, 3, 'stem2')
    for stage, width in enumerate((128, 256)):
        x = layers.MaxPooling2D(2)(x)
        for module in range(3):
            x = _inception_module(x, width, f'stage{stage + 1}_module{module + 1}')
    return keras.Model(images, _logits(classes, 'head')(layers.GlobalAveragePooling2D()(x)))


class Whitening(layers.Conv2D):
    """A 2x2 convolution with a frozen kernel and a trained bias."""

    def build(self, input_shape):
        """Creates the kernel and the bias."""
        super().build(input_shape)
        self._kernel.trainable = False


def airbench_shape(classes: int = 10) -> keras.Model:
    """Our AirbenchShape."""
    images = keras.Input((32, 32, 3))
    x = Whitening(24, 2, name='whitening')(images)
    x = layers.Activation(_exact_gelu)(x)
    for index, width in enumerate((64, 64, 256, 256, 256, 256)):
        x = _conv(width, 3, f'Conv_{index}')(x)
        if index % 2 == 0:
            x = layers.MaxPooling2D(2)(x)
        x = _norm(f'BatchNorm_{index}', 0.6, 1e-12)(x)
        x = layers.Activation(_exact_gelu)(x)
    x = layers.Flatten()(layers.MaxPooling2D(3)(x))
    logits = _logits(classes, 'Dense_0', bias=False)(x)
    return keras.Model(images, layers.Rescaling(1 / 9, dtype='float32')(logits))


def _exact_gelu(x):
    return keras.activations.gelu(x, approximate=False)


MODELS = {
    'SmallVGG': small_vgg,
    'PlainCNN': plain_cnn,
    'SENet': senet,
    'InceptionNet': inception,
    'AirbenchShape': airbench_shape,
}
