"""Records what each module of a Flax model computes in one training step."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, PyTree

from cifar_jax.models.intercept import around_calls
from cifar_jax.models.layers import DropBlock
from cifar_jax.training.losses import cross_entropy


class Observed(NamedTuple):
    """The results of one training step; modules by path, such as 'stage1_block1/conv1'."""

    loss: Array
    outputs: dict[str, Array]
    params: PyTree  # the loss's gradients for the parameters
    inputs: dict[str, Array]  # the loss's gradients for each module's input
    statistics: PyTree  # the moving statistics after the step
    masks: dict[str, Array]  # the masks of modules that drop values


class Step(NamedTuple):
    """A model, a batch and the random key of one training step."""

    model: nn.Module
    images: Float[Array, 'batch height width channels']
    labels: Int[Array, 'batch']
    smoothing: float
    key: Key[Array, '']

    def loss(self, variables: Mapping[str, PyTree]) -> tuple[Array, PyTree]:
        """Returns the mean loss, and the moving statistics after the step."""
        logits, updated = self.model.apply(
            dict(variables),
            self.images,
            train=True,
            rngs={'dropout': self.key},
            mutable=['batch_stats'],
        )
        losses = cross_entropy(logits, self.labels, self.smoothing)
        return losses.mean(), updated.get('batch_stats', {})


def observe(step: Step, variables: Mapping[str, PyTree], modules: Collection[str]) -> Observed:
    """Runs one training step and returns its results.

    The gradient for a module's input is computed as the gradient for a zero that is added to it.

    Args:
      modules: paths of modules with one input, whose input gradients are computed.
    """
    masks = _masks(step, variables)
    zeros = _zeros(step, variables, modules)

    def loss_of(params, zeros):
        outputs = {}

        def add(path, call, x, *rest, **kwargs):
            outputs[path] = call(x + zeros[path] if path in zeros else x, *rest, **kwargs)
            return outputs[path]

        with around_calls(add):
            loss, statistics = step.loss({**variables, 'params': params})
        return loss, (outputs, statistics)

    gradient = jax.jit(jax.value_and_grad(loss_of, (0, 1), has_aux=True))
    (loss, (outputs, statistics)), (params, inputs) = gradient(variables['params'], zeros)
    return Observed(loss, outputs, params, inputs, statistics, masks)


def _zeros(step: Step, variables: Mapping[str, PyTree], modules: Collection[str]):
    """Returns zeros of the shape of each module's input."""
    shapes = {}

    def record_shape(path, call, x, *rest, **kwargs):
        if path in modules:
            shapes[path] = x.shape
        return call(x, *rest, **kwargs)

    with around_calls(record_shape):
        jax.eval_shape(step.loss, dict(variables))
    return {path: jnp.zeros(shape, step.images.dtype) for path, shape in shapes.items()}


def _masks(step: Step, variables: Mapping[str, PyTree]) -> dict[str, Array]:
    """Returns the mask of each module that drops values: its output for an input of ones."""

    @jax.jit
    def run(variables):
        masks = {}

        def drop(path, call, x, *rest, **kwargs):
            masks[path] = call(jnp.ones_like(x), *rest, **kwargs)
            return x * masks[path]

        with around_calls(drop, (nn.Dropout, DropBlock)):
            step.loss(variables)
        return masks

    return run(dict(variables))
