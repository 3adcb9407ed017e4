"""Longer runs: whether a run that is lengthened is the run that it would have been."""

import jax
import jax.numpy as jnp

from cifar_jax.training import durations, optimizers
from cifar_jax.training.trainer import Plan


def spanning(plan: Plan, before: int | str, image_shape: tuple[int, ...]) -> list[str]:
    """Returns what spans a whole run, and so has gone differently in a shorter one.

    Args:
      plan: of the longer run.
      before: `config.train.length` of the shorter run.
      image_shape: (height, width, channels).
    """
    found = []
    per_epoch = plan.steps_per_epoch
    total_steps = durations.steps(before, steps_per_epoch=per_epoch, total_steps=None)
    schedule = optimizers.make_schedule(
        plan.config.schedule, total_steps=total_steps, steps_per_epoch=per_epoch
    )
    steps = jnp.arange(total_steps)
    if (jax.vmap(schedule)(steps) != jax.vmap(plan.schedule)(steps)).any():
        found.append(f"the schedule '{plan.config.schedule.name}'")
    if _uses_progress(plan, image_shape):
        found.append(f'what {plan.config.model.name} drops')
    return found


def _uses_progress(plan: Plan, image_shape: tuple[int, ...]) -> bool:
    """Returns whether the model does something else at another share of the run."""
    images = jnp.zeros((2, *image_shape), jnp.float32)
    key = jax.random.key(0)

    def logits(progress, variables):
        rngs = {'dropout': key}
        return plan.model.apply(
            variables, images, train=True, progress=progress, rngs=rngs, mutable=['batch_stats']
        )

    variables = jax.eval_shape(lambda: plan.model.init(key, images, train=False))
    jaxpr = jax.make_jaxpr(logits)(jnp.float32(1), variables).jaxpr
    return any(jaxpr.invars[0] is used for equation in jaxpr.eqns for used in equation.invars)
