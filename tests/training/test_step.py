"""The compiled step of a run."""

import jax
import pytest
import tiny_training

from cifar_jax.training.step import programs


@pytest.mark.parametrize(('nans', 'donated'), [(False, True), (True, False)])
def test_a_step_reuses_the_memory_of_the_state_unless_jax_may_repeat_it(nans, donated):
    """With `debug.nans`, JAX repeats the step to locate a NaN."""
    config = tiny_training.config_of(debug__nans=nans)
    plan = tiny_training.plan_of(config, tiny_training.data_of())
    program = programs(plan)
    with jax.set_mesh(plan.mesh):
        feed = next(plan.training.epoch(0, 0))
        (state, fed), _ = program.step.lower(jax.eval_shape(program.init), feed).args_info
    assert {info.donated for info in jax.tree.leaves(state)} == {donated}
    assert {info.donated for info in jax.tree.leaves(fed)} == {False}
