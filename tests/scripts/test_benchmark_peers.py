"""The peers' networks in the benchmark have our parameters and give our logits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bench.airbench import AirbenchShape
from bench.transfer import to_keras, to_torch
from cifar_jax import models

NAMES = ('SmallVGG', 'PlainCNN', 'SENet', 'InceptionNet', 'AirbenchShape')


IMAGES = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)


@functools.cache
def ours(name):
    """Returns random variables of a network, moving statistics included, and its logits."""
    model = AirbenchShape(10) if name == 'AirbenchShape' else models.create(name, 10)
    images = jnp.asarray(IMAGES)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    variables = jax.tree_util.tree_map_with_path(_drawn, shapes)
    logits = jax.jit(lambda v: model.apply(v, images, train=False))(variables)
    assert np.ptp(logits) > 0.1
    return variables, np.asarray(logits)


def _drawn(path, leaf):
    generator = np.random.default_rng(len(jax.tree_util.keystr(path)) + leaf.size)
    values = generator.normal(size=leaf.shape).astype(np.float32)
    if path[-1].key == 'kernel':
        return values * np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
    return 1 + np.abs(values) / 2 if path[-1].key in ('var', 'scale') else values / 4


def _parameters(variables):
    trees = [tree for kind, tree in variables.items() if kind != 'batch_stats']
    return sum(leaf.size for leaf in jax.tree.leaves(trees))


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_a_pytorch_network_gives_our_logits(name):
    torch = pytest.importorskip('torch', reason='PyTorch is not installed')
    from bench import torch_models

    variables, logits = ours(name)
    model = torch_models.MODELS[name]().eval()
    assert sum(p.numel() for p in model.parameters()) == _parameters(variables)
    mirrored = name == 'SENet'  # see bench.torch_models
    to_torch(variables, model, mirrored=mirrored)
    images = IMAGES[:, ::-1, ::-1] if mirrored else IMAGES
    with torch.no_grad():
        theirs = model(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))))
    np.testing.assert_allclose(theirs.numpy(), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_a_keras_network_gives_our_logits(name):
    pytest.importorskip('keras', reason='Keras is not installed')
    from bench import keras_models, keras_tf

    variables, logits = ours(name)
    model = keras_models.MODELS[name]()
    assert model.count_params() - keras_tf._statistics(model) == _parameters(variables)
    to_keras(variables, model)
    theirs = model(IMAGES, training=False)
    np.testing.assert_allclose(theirs.numpy(), logits, rtol=1e-4, atol=1e-4)
