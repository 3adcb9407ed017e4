"""The state of a training run, as a tree of arrays."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.experimental import multihost_utils
from jaxtyping import Array, Int, PyTree

from cifar_jax.errors import UserError
from cifar_jax.training import metrics, processes


class TrainState(NamedTuple):
    """The state that a training step updates.

    It has no random key, since the randomness of a step is a function of (seed, step).
    """

    step: Int[Array, '']  # number of steps so far
    variables: Mapping[str, PyTree]  # 'params' and, with batch norm, 'batch_stats'
    opt_state: PyTree
    average: Mapping[str, PyTree]  # the EMA of `variables`; empty if there is none
    sums: metrics.Sums  # over the batches of the current epoch
    bad_step: Int[Array, '']  # the first step with a non-finite loss, or -1


def create(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    image_shape: tuple[int, ...],
    ema: bool,
    variables: Mapping[str, PyTree] | None = None,
) -> TrainState:
    """Returns the state before the first step; call it in `jax.jit` or `jax.eval_shape`.

    Args:
      image_shape: (height, width, channels).
      ema: whether to keep an average of the variables.
      variables: the initial variables; None draws them from the seed.
    """
    if variables is None:
        images = jnp.zeros((1, *image_shape), jnp.float32)
        variables = dict(model.init(jax.random.key(seed), images, train=False))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        variables=variables,
        opt_state=optimizer.init(variables['params']),
        average=jax.tree.map(jnp.copy, variables) if ema else {},
        sums=metrics.zeros(),
        bad_step=jnp.full((), -1, jnp.int32),
    )


def evaluated(state: TrainState) -> Mapping[str, PyTree]:
    """Returns the variables for evaluation: the average if there is one."""
    return state.average or state.variables


def update_average(
    average: Mapping[str, PyTree], new: Mapping[str, PyTree], step: Int[Array, ''], decay: float
) -> Mapping[str, PyTree]:
    """Updates the average with the new variables, including batch statistics.

    The decay is min(decay, (1 + step) / (10 + step)), so that the initial weights are forgotten
    quickly (as in TensorFlow's ExponentialMovingAverage with num_updates).
    """
    t = step.astype(jnp.float32)
    decay_now = jnp.minimum(jnp.float32(decay), (1 + t) / (10 + t))
    return jax.tree.map(lambda a, b: a + (1 - decay_now).astype(a.dtype) * (b - a), average, new)


def check_finite(line: Mapping[str, Any], variables: PyTree) -> None:
    """Raises UserError if a metric of an epoch, or a weight after it, is NaN or infinite.

    Checking losses is not enough: the loss of a step does not show that its update diverged.
    """
    bad = next((key for key, value in line.items() if not math.isfinite(value)), None)
    if bad is None and not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables)):
        bad = 'a weight'
    if bad is not None:
        raise UserError(
            f'After step {line["step"]} {bad} is not finite: lower config.schedule.rate, or add a '
            'config.schedule.warmup, in another --workdir.'
        )


def sha256(tree: PyTree) -> str:
    """Returns the SHA-256 over the names, shapes, dtypes and bytes of a tree of arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f'{jax.tree_util.keystr(path)} {leaf.shape} {array.dtype}\n'.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def to_host(tree: Any) -> Any:
    """Copies a tree of arrays to host memory, from all processes; each of them has to call it."""

    def copied(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not (
            leaf.is_fully_addressable or leaf.is_fully_replicated
        ):
            return multihost_utils.process_allgather(leaf, tiled=True)
        return np.array(leaf, copy=True)

    return jax.tree.map(copied, tree)


def own_copy(tree: Any) -> Any:
    """Returns arrays that this process can use by itself; with one process, the same ones.

    Every process has to call it.
    """
    return to_host(tree) if processes.count() > 1 else tree
