"""Narrow versions of our Flax models, and one recorded training step of each."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from cifar_jax import models
from cifar_jax.crosscheck import comparison, networks
from cifar_jax.crosscheck.observe import Observed, Step, observe
from cifar_jax.ops import backend
from cifar_jax.reference.graph import Graph

# By the model's name and, for a model that occurs twice, a word that distinguishes them.
OPTIONS: dict[str, dict[str, Any]] = {
    'SmallVGG': dict(widths=(3, 4)),
    'PlainCNN': dict(
        widths=(3, 4), kernels=(3, 3), dropblock_rate=0.2, dropblock_sizes=(3,), hidden=6
    ),
    'SENet': dict(widths=(4, 6), blocks=(1, 1), reduction=2),
    'InceptionNet': dict(stem=(4,), widths=(16,), modules=(1,)),
    'BaseNet': dict(widths=(3,), hidden=6),
    'ImprovedNet before': dict(widths=(3,), hidden=6, batch_norm='before'),
    'ImprovedNet after': dict(widths=(3,), hidden=6, batch_norm='after'),
    'SimpleNet': dict(widths=(3, 4), hidden=(6, 5)),
    'ResNet50': dict(widths=(3, 4, 5), blocks=(1, 2, 1), last_stage=2),
    'EfficientNetB0': dict(
        stem=4,
        widths=(4, 6),
        blocks=(1, 2),
        kernels=(3, 5),
        strides=(1, 2),
        expansions=(1, 2),
        top=8,
    ),
    'EfficientNetLite0': dict(
        stem=4,
        widths=(4, 4, 5),
        blocks=(1, 1, 1),
        kernels=(5, 3, 3),
        strides=(1, 1, 2),
        expansions=(2, 3, 2),
        last_stage=2,
        convs=(5,),
        convs_dropout=0.3,
        hidden=(6, 4),
        hidden_dropout=0.4,
    ),
    'DenseHead': dict(hidden=(6, 5), dropout=0.4),
    'ComplexNet': dict(widths=(3, 4), convs=(1, 2), dropouts=(0.2, 0.4), hidden=6),
}
# Height and width differ, to detect swapped axes; 9 is odd, so that 'same' pooling pads.
SHAPE = (9, 6, 3)
CLASSES, BATCH, SMOOTHING = 5, 3, 0.1


class Recorded(NamedTuple):
    """A model's graph in the reference, and one recorded step of the model in float64."""

    graph: Graph
    step: Step
    variables: Mapping[str, Any]
    flax: Observed

    def pair(self) -> comparison.StepPair:
        """Returns the step in Flax, as recorded, and in the reference, computed again."""
        return comparison.run_reference(self.graph, self.step, self.variables, self.flax)

    def failures(self) -> list[str]:
        """Returns gradcheck's failures for the reference as it is now."""
        return comparison.failures(comparison.compare(self.pair(), seed=None))


def create(name: str) -> nn.Module:
    """Returns a narrow model that computes in float64."""
    return models.create(name.split()[0], CLASSES, jnp.float64, **OPTIONS[name])


def batch(seed: int) -> tuple[jax.Array, jax.Array]:
    """Returns images, in float64, and labels."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(BATCH, *SHAPE))
    return jnp.asarray(images, jnp.float64), jnp.asarray(rng.integers(0, CLASSES, BATCH))


def variables(model: nn.Module) -> Mapping[str, Any]:
    """Returns random weights of a model in float64, since zeros and ones hide errors.

    Biases are low, so that ReLUs give many zeros too.
    """
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), batch(0)[0], train=False))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        noise, kind = rng.normal(size=leaf.shape), path[-1].key
        if kind == 'kernel':
            return jnp.asarray(noise * np.sqrt(2 / np.prod(leaf.shape[:-1]) + 0.09))
        return jnp.asarray(
            0.3 * noise + {'scale': 1.0, 'var': 1.0, 'bias': -0.4, 'mean': 0.0}[kind]
        )

    return jax.tree_util.tree_map_with_path(draw, dict(shapes))


@functools.cache
def recorded(name: str) -> Recorded:
    """Returns a recorded training step of a narrow model."""
    with jax.enable_x64(True), backend.use('xla'):
        model = create(name)
        step = Step(model, *batch(1), SMOOTHING, jax.random.key(2))
        start = variables(model)
        pair = comparison.run_both(step, start, SHAPE)
    return Recorded(pair.graph, step, start, pair.flax)


@functools.cache
def stepper(name: str):
    """Returns a compiled function (variables, images, labels, key) -> the results of a step."""
    model = create(name)

    @jax.jit
    def run(variables, images, labels, key):
        return observe(Step(model, images, labels, SMOOTHING, key), variables, ())

    return run


def graph(name: str) -> Graph:
    """Returns the reference's graph of a narrow model."""
    return networks.graph_of(create(name), SHAPE)
