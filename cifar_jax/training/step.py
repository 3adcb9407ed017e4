"""One training step: a pure function of the state and a batch, and the programs of a run."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cifar_jax.data import augment, normalize
from cifar_jax.data.batches import Batch
from cifar_jax.training import groups, losses, metrics, parallel
from cifar_jax.training import state as states
from cifar_jax.training.accumulation import accumulate
from cifar_jax.training.plan import Plan, initial_state, state_shardings
from cifar_jax.training.state import TrainState
from cifar_jax.training.validation import make_evaluate

_STEP_STREAM = 0x57E9


class Programs(NamedTuple):
    """The compiled functions of a run."""

    init: Callable[[Any], TrainState]  # of the variables to begin with; None draws them
    step: Callable[[TrainState, Any], TrainState]  # of the state and a feed
    evaluate: Callable[..., dict[str, float]]  # see `make_evaluate`


def update(state: TrainState, batch: Batch, plan: Plan) -> TrainState:
    """Returns the state after one more step on a batch.

    The randomness of a step is a function of the seed and the step: `fold_in(fold_in(key(seed),
    0x57E9), step)` is split into the key of the augmentations and that of dropout. Where
    `config.train.accumulate` is above 1, dropout folds the number of the part into its key.
    """
    config = plan.config
    # A separate stream: the epochs' orders use keys folded into the seed's own key.
    stream = jax.random.fold_in(jax.random.key(config.seed), _STEP_STREAM)
    key = jax.random.fold_in(stream, state.step)
    augment_key, dropout_key = jax.random.split(key)

    images, labels = jax.lax.with_sharding_constraint(
        (batch.images, batch.labels), parallel.over_batch(plan.mesh)
    )
    augmented = augment.Batch(
        images=normalize.to_unit(images),
        labels=jax.nn.one_hot(labels, plan.training.classes),
        indices=batch.indices,
        epoch=state.step // plan.steps_per_epoch,
        run_key=stream,
    )
    augmented = augment.augment(augment_key, augmented, config.data.augment)
    images = normalize.apply(plan.normalizer, augmented.images).astype(plan.dtype)

    def loss_of(params, statistics, part, key):
        images, labels = part
        if config.mesh.shard_parameters:
            params = jax.lax.with_sharding_constraint(params, parallel.replicated(plan.mesh))
        with groups.frozen_statistics(config.optimizer.groups):
            logits, updated = plan.model.apply(
                {**statistics, 'params': params},
                images,
                train=True,
                progress=state.step.astype(jnp.float32) / plan.total_steps,
                rngs={'dropout': key},
                mutable=['batch_stats'],
            )
        image_losses = losses.cross_entropy(logits, labels, config.loss.label_smoothing)
        # A share of the mean over the whole batch.
        loss = image_losses.sum() / config.train.batch_size
        return loss, ({**statistics, **updated}, (image_losses, logits))

    def gradient_of(params, statistics, part, number):
        key = dropout_key if parts == 1 else jax.random.fold_in(dropout_key, number)
        gradient = jax.grad(loss_of, has_aux=True)
        gradients, (statistics, outputs) = gradient(params, statistics, part, key)
        return gradients, statistics, outputs

    parts, statistics = config.train.accumulate, dict(state.variables)
    params = statistics.pop('params')
    gradients, statistics, (image_losses, logits) = accumulate(
        gradient_of, params, statistics, (images, augmented.labels), parts, plan.mesh
    )
    updates, opt_state = plan.optimizer.update(gradients, state.opt_state, params)
    variables = {**statistics, 'params': optax.apply_updates(params, updates)}
    average = state.average and states.update_average(
        state.average, variables, state.step, config.ema
    )
    # The class of a mixed image is the one with the largest weight.
    labels = jnp.argmax(augmented.labels, axis=-1).astype(jnp.int32)
    new_epoch = state.step % plan.steps_per_epoch == 0
    sums = jax.tree.map(lambda n: jnp.where(new_epoch, jnp.zeros_like(n), n), state.sums)
    bad = (state.bad_step < 0) & ~jnp.isfinite(image_losses.sum())
    return TrainState(
        step=state.step + 1,
        variables=variables,
        opt_state=opt_state,
        average=average,
        sums=metrics.add(sums, image_losses, logits, labels, jnp.ones_like(labels, bool)),
        bad_step=jnp.where(bad, state.step, state.bad_step),
    )


def programs(plan: Plan) -> Programs:
    """Returns the functions of a run, which are compiled at their first call."""
    shardings = state_shardings(plan)

    def step(state: TrainState, feed: Any) -> TrainState:
        batch = plan.training.batch(feed, state.step % plan.steps_per_epoch)
        return update(state, batch, plan)

    return Programs(
        init=jax.jit(
            lambda variables=None: initial_state(plan, variables), out_shardings=shardings
        ),
        step=jax.jit(
            step,
            # To locate a NaN, JAX repeats the step, which needs the old state.
            donate_argnums=() if plan.config.debug.nans else 0,
            out_shardings=shardings,
            compiler_options=parallel.compiler_options(plan.mesh),
        ),
        evaluate=make_evaluate(
            plan.model, plan.normalizer, plan.dtype, plan.mesh, plan.config.eval_batch_size
        ),
    )
