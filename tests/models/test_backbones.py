"""The backbones compared with the same networks of other libraries, from the same weights."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cifar_jax import models
from cifar_jax.models.pretrained import names
from cifar_jax.training import weights

SIZE, CLASSES, BATCH = 64, 7, 2
# Relative to the largest value of a tensor.
OUTPUTS, GRADIENTS = 1e-4, 1e-3
# Gradients that are 0 but for rounding, as that of a bias before batch norm, are compared with the
# network's largest gradient.
FLOOR = 1e-3
RNG = np.random.default_rng(0)
PIXELS = RNG.uniform(0, 255, (BATCH, SIZE, SIZE, 3)).astype(np.float32)
DIRECTION = RNG.normal(size=(BATCH, CLASSES)).astype(np.float32)
CAFFE_MEAN = np.float32([123.68, 116.779, 103.939])  # RGB; from `preprocess_input` of Keras

# Two stages of Keras' networks, in the form of its own builders, and as options of ours.
THIN_RESNET = {'widths': (64, 8), 'blocks': (1, 2)}
THIN_EFFICIENTNET: dict[str, Any] = {
    'widths': (16, 24),
    'blocks': (1, 2),
    'kernels': (3, 5),
    'strides': (1, 2),
    'expansions': (1, 6),
}


def drawn(name, shape):
    """Random weights of a scale that keeps the scale of activations."""
    rng = np.random.default_rng(sum(name.encode()))
    values = rng.normal(size=shape).astype(np.float32)
    if 'var' in name:
        return 1 + np.abs(values) / 2
    if len(shape) > 1:
        depthwise = shape[-1] == 1 or 'dwconv' in name
        fan = np.prod(shape[:2]) if depthwise else np.prod(shape[:-1])
        return values * np.float32(np.sqrt(2 / fan))
    return 1 + values / 10 if 'gamma' in name else values / 10


def error(ours, theirs, floor=0.0):
    """The largest difference, relative to the largest value of a tensor."""
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max() / max(np.abs(theirs).max(), floor)


def largest_error(ours, theirs, floor=0.0):
    """The largest error of the tensors of two libraries, which must be the same."""
    assert ours.keys() == theirs.keys()
    return max(error(array, theirs[name], floor) for name, array in ours.items())


def our_model(name, arrays, **options):
    """Our model, and its variables from another library's arrays."""
    if name != 'ResNet50':
        options |= {'dropout': 0.0, 'drop_path': 0.0}
    model = models.create(name, CLASSES, **options)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)), train=False)
    )
    source = weights.Source('there', names.translate(model, arrays))
    matched = weights.match(source, shapes, heads=['head'])
    assert matched.arrays.keys() == weights.named(shapes).keys()
    return model, weights.fill(matched.arrays, shapes)


@functools.partial(jax.jit, static_argnums=0)
def our_step(model, variables, images):
    """Returns the logits, the new moving statistics and the gradients of a training step."""

    def loss(params):
        logits, moved = model.apply(
            {**variables, 'params': params}, images, train=True, mutable=['batch_stats']
        )
        return jnp.vdot(logits, DIRECTION), (logits, moved['batch_stats'])

    gradients, (logits, statistics) = jax.grad(loss, has_aux=True)(variables['params'])
    return logits, statistics, gradients


def keras_model(name, thin):
    """A network of `keras.applications` with random weights and statistics, without dropout."""
    keras = pytest.importorskip('keras', reason='Keras is not installed')
    options = dict(
        weights=None, classes=CLASSES, classifier_activation=None, input_shape=(SIZE, SIZE, 3)
    )
    if thin:
        model = {'ResNet50': thin_resnet, 'EfficientNetB0': thin_efficientnet}[name](options)
    else:
        model = getattr(keras.applications, name)(**options)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
        if isinstance(layer, keras.layers.Normalization):
            # Pixels are to reach the first convolution as they are.
            layer.set_weights([np.zeros(3), np.full(3, 1 / 255**2), np.zeros(())])
            layer.finalize_state()
        else:
            layer.set_weights([drawn(w.path, w.shape) for w in layer.weights])
    return model


def thin_resnet(options):
    from keras.src.applications import resnet

    def stages(x):
        x = resnet.stack_residual_blocks_v1(x, 64, 1, stride1=1, name='conv2')
        return resnet.stack_residual_blocks_v1(x, 8, 2, name='conv3')

    return resnet.ResNet(stages, preact=False, use_bias=True, **options)


def thin_efficientnet(options):
    from keras.src.applications import efficientnet

    stages = efficientnet.DEFAULT_BLOCKS_ARGS
    stages = [stages[0], stages[1] | {'kernel_size': 5}]
    return efficientnet.EfficientNet(1.0, 1.0, SIZE, blocks_args=stages, **options)


def inputs(name):
    """Images as our network takes them, and as Keras' does."""
    if name == 'ResNet50':
        images = PIXELS - CAFFE_MEAN
        return images, images[..., ::-1]
    return PIXELS, PIXELS


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'options'), [('ResNet50', THIN_RESNET), ('EfficientNetB0', THIN_EFFICIENTNET)]
)
def test_a_training_step_of_keras_gives_the_same_statistics_and_gradients(name, options):
    theirs = keras_model(name, thin=True)
    import tensorflow as tf

    model, variables = our_model(name, {w.path: w.numpy() for w in theirs.weights}, **options)
    images, their_images = inputs(name)
    logits, statistics, gradients = our_step(model, variables, images)
    trained = theirs.trainable_weights
    with tf.GradientTape() as tape:
        their_logits = theirs(their_images, training=True)
        loss = tf.reduce_sum(their_logits * DIRECTION)
    slopes = tape.gradient(loss, [weight.value for weight in trained])
    their_gradients = names.translate(
        model, {w.path: slope.numpy() for w, slope in zip(trained, slopes, strict=True)}
    )
    their_statistics = names.translate(
        model, {w.path: w.numpy() for w in theirs.non_trainable_weights}
    )
    assert error(logits, their_logits.numpy()) < OUTPUTS
    assert largest_error(weights.named({'batch_stats': statistics}), their_statistics) < OUTPUTS
    floor = FLOOR * max(np.abs(slope).max() for slope in their_gradients.values())
    assert largest_error(weights.named({'params': gradients}), their_gradients, floor) < GRADIENTS


@pytest.mark.slow
@pytest.mark.parametrize('name', ['ResNet50', 'EfficientNetB0'])
def test_the_whole_network_of_keras_has_the_same_outputs(name):
    theirs = keras_model(name, thin=False)
    model, variables = our_model(name, {w.path: w.numpy() for w in theirs.weights})
    images, their_images = inputs(name)
    logits = jax.jit(functools.partial(model.apply, train=False))(variables, images)
    assert error(logits, theirs(their_images, training=False).numpy()) < OUTPUTS


def lite_of_pytorch(thin):
    """EfficientNet-Lite0 of the reference package with random weights, without dropout."""
    pytest.importorskip('torch', reason='PyTorch is not installed')
    package = 'efficientnet_lite_pytorch'
    lite = pytest.importorskip(f'{package}.model', reason=f'{package} is not installed')
    stages, settings = lite.get_model_params(
        'efficientnet-lite0',
        dict(image_size=SIZE, num_classes=CLASSES, dropout_rate=0.0, drop_connect_rate=0.0),
    )
    stages = [stages[0], stages[1]._replace(kernel_size=5)] if thin else stages
    model = lite.EfficientNet(stages, settings)
    for name, tensor in model.state_dict().items():  # which share the memory of the model's
        if tensor.ndim:
            values = drawn(name, tuple(tensor.shape)[::-1]).T
            norm = '_bn' in name and name.endswith('weight')
            tensor.numpy()[...] = 1 + values if norm else values
    return model


def as_arrays(tensors):
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


@pytest.mark.slow
def test_a_training_step_of_pytorch_gives_the_same_gradients():
    theirs = lite_of_pytorch(thin=True).train()
    import torch

    arrays = as_arrays(theirs.state_dict())
    model, variables = our_model('EfficientNetLite0', arrays, **THIN_EFFICIENTNET)
    logits, _, gradients = our_step(model, variables, PIXELS)
    their_logits = theirs(torch.tensor(PIXELS.transpose(0, 3, 1, 2)))
    (their_logits * torch.tensor(DIRECTION)).sum().backward()
    slopes = as_arrays({name: p.grad for name, p in theirs.named_parameters()})
    their_gradients = names.translate(model, slopes)
    assert error(logits, their_logits.detach().numpy()) < OUTPUTS
    floor = FLOOR * max(np.abs(slope).max() for slope in their_gradients.values())
    assert largest_error(weights.named({'params': gradients}), their_gradients, floor) < GRADIENTS


@pytest.mark.slow
def test_the_whole_network_of_pytorch_has_the_same_outputs():
    theirs = lite_of_pytorch(thin=False).eval()
    import torch

    model, variables = our_model('EfficientNetLite0', as_arrays(theirs.state_dict()))
    logits = jax.jit(functools.partial(model.apply, train=False))(variables, PIXELS)
    with torch.no_grad():
        their_logits = theirs(torch.tensor(PIXELS.transpose(0, 3, 1, 2)))
    assert error(logits, their_logits.numpy()) < OUTPUTS


IN_TIMM = {'EfficientNetB0': 'tf_efficientnet_b0', 'EfficientNetLite0': 'tf_efficientnet_lite0'}


@pytest.mark.slow
@pytest.mark.parametrize('name', IN_TIMM)
def test_the_names_of_timm_are_those_of_the_same_network(name):
    timm = pytest.importorskip('timm', reason='timm is not installed')
    import torch

    theirs = timm.create_model(IN_TIMM[name], num_classes=CLASSES).eval()
    model, variables = our_model(name, as_arrays(theirs.state_dict()))
    logits = jax.jit(functools.partial(model.apply, train=False))(variables, PIXELS)
    with torch.no_grad():
        their_logits = theirs(torch.tensor(PIXELS.transpose(0, 3, 1, 2)))
    assert error(logits, their_logits.numpy()) < OUTPUTS
