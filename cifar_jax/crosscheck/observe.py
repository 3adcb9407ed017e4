"""What a Flax model computes at each of its modules, in one training step."""

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
    """One step of a model; modules by path, 'stage1_block1/conv1'."""

    loss: Array
    outputs: dict[str, Array]
    params: PyTree  # the loss's gradients, as the model has its parameters
    inputs: dict[str, Array]  # the loss's gradients by what each module reads
    statistics: PyTree  # after the step
    masks: dict[str, Array]  # the factors of what was dropped


class Step(NamedTuple):
    """A model's loss on a batch, with everything fixed that a step draws."""

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
        each = cross_entropy(logits, self.labels, self.smoothing)
        return each.mean(), updated.get('batch_stats', {})


def observe(step: Step, variables: Mapping[str, PyTree], modules: Collection[str]) -> Observed:
    """Returns what one training step of a model gives.

    The gradient by what a module reads is that by a zero which is added to it.

    Args:
      modules: the paths of those that read one array and whose input gradients are wanted.
    """
    masks = _masks(step, variables)
    zeros = _zeros(step, variables, modules)

    def watched(params, zeros):
        outputs = {}

        def add(path, call, x, *rest, **kwargs):
            outputs[path] = call(x + zeros[path] if path in zeros else x, *rest, **kwargs)
            return outputs[path]

        with around_calls(add):
            loss, statistics = step.loss({**variables, 'params': params})
        return loss, (outputs, statistics)

    gradient = jax.jit(jax.value_and_grad(watched, (0, 1), has_aux=True))
    (loss, (outputs, statistics)), (params, inputs) = gradient(variables['params'], zeros)
    return Observed(loss, outputs, params, inputs, statistics, masks)


def _zeros(step: Step, variables: Mapping[str, PyTree], modules: Collection[str]):
    """Returns a zero for what each of the modules reads."""
    shapes = {}

    def note(path, call, x, *rest, **kwargs):
        if path in modules:
            shapes[path] = x.shape
        return call(x, *rest, **kwargs)

    with around_calls(note):
        jax.eval_shape(step.loss, dict(variables))
    return {path: jnp.zeros(shape, step.images.dtype) for path, shape in shapes.items()}


def _masks(step: Step, variables: Mapping[str, PyTree]) -> dict[str, Array]:
    """Returns the factors by which modules that drop values multiply: what they make of ones."""

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
