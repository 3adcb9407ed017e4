"""Extending a run: which parts of it depend on its length."""

import jax
import jax.numpy as jnp

from cifar_jax.training import durations, optimizers
from cifar_jax.training.trainer import Plan


def spanning(plan: Plan, before: int | str, image_shape: tuple[int, ...]) -> list[str]:
    """Returns what depends on the length of the run, and so differs in a shorter run.

    Args:
      plan: the plan of the longer run.
      before: `config.train.length` of the shorter run.
      image_shape: (height, width, channels).
    """
    parts = []
    per_epoch = plan.steps_per_epoch
    total_steps = durations.steps(before, steps_per_epoch=per_epoch, total_steps=None)
    schedule = optimizers.make_schedule(
        plan.config.schedule, total_steps=total_steps, steps_per_epoch=per_epoch
    )
    steps = jnp.arange(total_steps)
    if (jax.vmap(schedule)(steps) != jax.vmap(plan.schedule)(steps)).any():
        parts.append(f"the schedule '{plan.config.schedule.name}'")
    for group in plan.config.optimizer.groups:
        until = group.get('frozen_until', '')
        if durations.steps(
            until, steps_per_epoch=per_epoch, total_steps=total_steps
        ) != durations.steps(until, steps_per_epoch=per_epoch, total_steps=plan.total_steps):
            parts.append(f"the unfreezing of '{group['pattern']}'")
    if _uses_progress(plan, image_shape):
        parts.append(f'the dropping of {plan.config.model.name}')
    return parts


def _uses_progress(plan: Plan, image_shape: tuple[int, ...]) -> bool:
    """Returns whether the output of the model in training depends on the progress of the run."""
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
