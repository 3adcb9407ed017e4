"""The steps of a run from the shapes of their arguments, to export them or to count their cost."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from cifar_jax.data.batches import Batch
from cifar_jax.training import metrics, parallel
from cifar_jax.training import state as states
from cifar_jax.training.plan import Plan, initial_state
from cifar_jax.training.step import update
from cifar_jax.training.validation import Images, eval_step


class Step(NamedTuple):
    """A step as `jax.jit` returns it, not yet traced, and the shapes of its arguments."""

    function: Any
    arguments: tuple[Any, ...]


def train_step(plan: Plan, dtype: DTypeLike) -> Step:
    """Returns the step (state, batch) -> state.

    Args:
      dtype: of the images as stored, uint8, or float32 for features.
    """
    images = _images(plan, dtype, plan.config.train.batch_size)
    batch = Batch(*images, _array(images.labels.shape, jnp.int32))
    function = jax.jit(
        lambda state, batch: update(state, batch, plan),
        donate_argnums=0,
        out_shardings=parallel.replicated(plan.mesh),
    )
    return Step(function, (jax.eval_shape(lambda: initial_state(plan)), batch))


def evaluation_step(plan: Plan, dtype: DTypeLike) -> Step:
    """Returns the step (variables, sums, images, indices, mask) -> sums; see `train_step`."""
    count = plan.config.eval_batch_size
    indices, mask = _array((count,), jnp.int32), _array((count,), jnp.bool_)

    def step(variables, sums, images, indices, mask):
        options = dict(model=plan.model, normalizer=plan.normalizer, dtype=plan.dtype)
        return eval_step(variables, sums, images, indices, mask, mesh=plan.mesh, **options)

    variables = states.evaluated(jax.eval_shape(lambda: initial_state(plan)))
    sums, images = jax.eval_shape(metrics.zeros), _images(plan, dtype, count)
    function = jax.jit(step, out_shardings=parallel.replicated(plan.mesh))
    return Step(function, (variables, sums, images, indices, mask))


def _images(plan: Plan, dtype: DTypeLike, count: int) -> Images:
    """Returns the shapes of labelled images."""
    images = _array((count, *plan.training.image_shape), dtype)
    return Images(images, _array((count,), jnp.int32))


def _array(shape: tuple[int, ...], dtype: DTypeLike) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)
