"""The trainer of JAX's models: what it prints, its errors, and the checkpoints that it loads."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_training
from tiny_training import CLASSES, config_of

from cifar_jax.errors import UserError
from cifar_jax.models import summary
from cifar_jax.ops import backend
from cifar_jax.training import algorithms, checkpoints, history, jax_trainer, loop, parallel
from cifar_jax.training import plan as plans
from cifar_jax.training import state as states

SHAPE = (6, 6, 3)
NARROW = {'name': 'BaseNet', 'widths': (3,), 'hidden': 6}


@pytest.fixture(scope='module')
def data():
    return tiny_training.data_of()


def narrow(**overrides):
    config = config_of(**overrides)
    config.model.update(NARROW)
    return config


def describe(plan):
    _, rows = summary.trace(plan.model, plan.training.image_shape)
    return jax_trainer.describe(plan, rows)


def test_a_run_describes_its_devices_its_batch_and_its_operations(data):
    lines = describe(jax_trainer.plan(narrow(), data))
    kind = jax.devices()[0].device_kind
    assert lines[:2] == [f'1 x {kind}, batch {tiny_training.BATCH}', backend.reason()]
    assert lines[2].startswith('convolutions: ')
    assert 'Conv_0' in lines[2]
    assert len(lines) == 3


def test_operations_are_described_for_the_images_of_a_device(data, monkeypatch):
    monkeypatch.setattr(algorithms, 'describe', lambda rows, images, dtype: f'{images} images')
    plan = jax_trainer.plan(narrow(mesh__devices=2), data)
    assert describe(plan)[-1] == f'{tiny_training.BATCH // 2} images'


def test_a_run_with_gradient_accumulation_says_what_it_does_to_batch_norm(data):
    plain = describe(jax_trainer.plan(narrow(train__accumulate=2), data))
    assert plain[0].endswith(f'batch {tiny_training.BATCH} in 2 parts')
    assert len(plain) == 3
    config = config_of(train__accumulate=2)
    config.model.update(name='ImprovedNet', widths=(3,), hidden=6, batch_norm='before')
    assert 'batch norm normalises each part' in describe(jax_trainer.plan(config, data))[1]


def test_a_run_with_groups_describes_them_too(data):
    groups = ({'pattern': '*/bias', 'rate': 0.5},)
    lines = describe(jax_trainer.plan(narrow(optimizer__groups=groups), data))
    assert 'Parameter groups' in lines[1]
    assert '*/bias' in lines[1]
    assert len(lines) == 4


def test_operations_are_not_described_on_an_accelerator(data):
    class Accelerator:
        device_kind, platform = 'Abacus 2000', 'gpu'

    class Devices:
        size, devices = 1, np.array([Accelerator()])

    plan = jax_trainer.plan(narrow(), data)._replace(mesh=Devices())
    assert describe(plan) == [f'1 x Abacus 2000, batch {tiny_training.BATCH}']


def test_a_process_is_set_up_by_the_keys_of_the_config(monkeypatch):
    seen = {}
    monkeypatch.setattr(jax.config, 'update', seen.__setitem__)
    monkeypatch.setattr(jax_trainer, 'use_compilation_cache', lambda: seen.update(cache=True))
    jax_trainer.set_up(narrow(debug__nans=True, mesh__devices=2), profile=False)
    assert seen == {
        'jax_num_cpu_devices': 2,
        'cache': True,
        'jax_debug_nans': True,
        'jax_disable_jit': False,
    }


def test_a_model_that_does_not_exist_or_lacks_an_option_is_refused():
    config = narrow()
    config.model.width = 3
    with pytest.raises(UserError, match="BaseNet has no option 'width': did you mean 'widths'"):
        jax_trainer.check(config, {})


def test_a_model_has_the_options_of_the_config_and_computes_in_the_dtype():
    model = jax_trainer.model(narrow(), CLASSES, jnp.bfloat16)
    assert (model.classes, model.widths, model.dtype) == (CLASSES, (3,), jnp.bfloat16)


def test_the_initial_variables_are_those_that_a_run_of_the_same_seed_draws(data):
    config = narrow(seed=4)
    first = jax.jit(lambda: plans.initial_state(plans.make(config, data)).variables)()
    assert states.sha256(jax_trainer.initial_variables(config, CLASSES, SHAPE)) == states.sha256(
        dict(first)
    )


def test_the_weights_of_init_from_are_looked_for_by_a_new_run_alone(data, tmp_path):
    config = narrow(init_from=str(tmp_path / 'none.npz'))
    with pytest.raises(UserError, match=r'init_from=.* there is no .*none\.npz'):
        jax_trainer.plan(config, data)
    jax_trainer.plan(config, data, new=False)


def test_an_operation_that_gives_nan_is_named_with_what_helps(data, monkeypatch):
    plan = jax_trainer.plan(narrow(), data)

    def run(*_):
        raise FloatingPointError('Invalid value (nan) encountered in log.')

    monkeypatch.setattr(loop, 'run', run)
    with pytest.raises(UserError, match=r'^Invalid value \(nan\) .* in log\. Lower config\.sched'):
        jax_trainer.run(plan, pathlib.Path(), tiny_training.Watcher())


def test_a_result_has_the_average_of_the_weights(data, tmp_path):
    plan = jax_trainer.plan(narrow(ema=0.5, train__length='2 steps'), data)
    result = jax_trainer.run(plan, tmp_path, tiny_training.Watcher())
    assert result.step == 2
    assert result.chosen is result.history[-1]
    loaded = load(plan.config, tmp_path, 'latest')
    assert loaded.step == 2
    assert states.sha256(dict(loaded.variables)) == states.sha256(dict(result.variables))


def load(config, folder, checkpoint):
    return jax_trainer.load(config, folder, checkpoint, CLASSES, SHAPE, parallel.make_mesh(1, 1))


@pytest.fixture(scope='module')
def kept(data, tmp_path_factory):
    """A folder with checkpoints of four epochs, of which the second is the best."""
    folder = tmp_path_factory.mktemp('kept')
    plan, lines = jax_trainer.plan(narrow(), data), []
    first = jax.jit(lambda: plans.initial_state(plan))()
    with checkpoints.manager(folder / loop.CHECKPOINTS) as manager:
        for epoch, loss in enumerate([3.0, 1.0, 2.0, 4.0], 1):
            lines.append({'epoch': epoch, 'step': 5 * epoch, 'val_loss': loss})
            variables = jax.tree.map(lambda leaf, n=epoch: leaf * 0 + n, first.variables)
            state = first._replace(step=jnp.int32(5 * epoch), variables=variables)
            checkpoints.save(manager, state, lines, history.score(lines[-1], 'loss'))
    return folder


@pytest.mark.parametrize(
    ('checkpoint', 'overrides', 'epoch'),
    [
        ('latest', {'train__patience': 2}, 4),
        ('best', {}, 2),
        ('chosen', {}, 4),
        ('chosen', {'train__patience': 2}, 2),
        ('chosen', {'train__select': 'best'}, 2),
    ],
)
def test_a_checkpoint_is_loaded_by_its_role(kept, checkpoint, overrides, epoch):
    loaded = load(narrow(train__monitor='loss', **overrides), kept, checkpoint)
    assert loaded.step == 5 * epoch
    assert {float(leaf.mean()) for leaf in jax.tree.leaves(loaded.variables)} == {epoch}


@pytest.mark.parametrize('empty', [False, True])
def test_a_run_without_a_checkpoint_cannot_be_loaded(tmp_path, empty):
    if empty:
        (tmp_path / loop.CHECKPOINTS).mkdir()
    with pytest.raises(UserError, match='has no checkpoint yet: train it first'):
        load(narrow(), tmp_path, 'latest')


def test_a_reader_changes_nothing_in_the_folder_of_a_run_that_may_still_train(kept, tmp_path):
    shutil.copytree(kept, tmp_path / 'run')
    folder = tmp_path / 'run' / loop.CHECKPOINTS
    unfinished = folder / '25.orbax-checkpoint-tmp-0'
    unfinished.mkdir()
    shutil.rmtree(folder / '20' / 'meta')  # damaged
    assert load(narrow(), tmp_path / 'run', 'latest').step == 15
    assert (folder / '20').is_dir()
    assert unfinished.is_dir()
