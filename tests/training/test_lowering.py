"""The steps of every config become programs for GPUs and TPUs, without having one."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_training
from jax import export

from cifar_jax.data import outline
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import config_files
from cifar_jax.ops import backend, onednn
from cifar_jax.training import jax_trainer, lowering
from cifar_jax.training import plan as plans
from cifar_jax.training.step import programs as programs_of
from cifar_jax.training.trainers import trainer_of

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'
PLATFORMS = ('cuda', 'tpu')
REPEATS = {  # the option of a network that counts its blocks
    'EfficientNetB0': 'blocks',
    'EfficientNetLite0': 'blocks',
    'InceptionNet': 'modules',
    'ResNet50': 'blocks',
    'SENet': 'blocks',
}


def parts(config) -> set[str]:
    """Returns what the program of a step consists of."""
    optimizer = {key: bool(value) for key, value in config.optimizer.items() if key != 'name'}
    return {
        *(f'model {key}={value}' for key, value in config.model.items()),
        f'optimizer {config.optimizer.name} {optimizer}',
        f'schedule {config.schedule.name}',
        f'normalize {config.data.normalize}',
        f'smoothing {config.loss.label_smoothing > 0}, average {config.ema > 0}',
        *(f'augment {dict(augmentation)}' for augmentation in config.data.augment),
    }


def programs() -> list[str]:
    """Returns FILE[:variant] of each config, and of each variant with a part that none before has.

    The small variants are narrower networks of the same layers, and NumPy trains no program.
    """
    specs, known = [], set()
    for path in sorted(CONFIGS.glob('*.py')):
        for variant in ('', *config_files.variants(path)):
            spec = f'{path}:{variant}' if variant else str(path)
            config = configs.load(spec)
            if config.model.name == 'Network' or variant.endswith(('digits', 'smoke')):
                continue
            new = parts(config) - known
            if not variant or new:
                specs.append(spec)
            known |= new
    return specs


def plan_of(config):
    """The plan of a run on blank images, or features, of the size that the config asks for."""
    blank = outline.assumed(2000, 100, config.data)
    if config.data.source.startswith('features:'):
        blank = blank._replace(image_shape=(1, 1, 1280), pixels=False)
    data = outline.blank(blank, config.data)
    return plans.make(config, data), data.train.images.dtype


def load(spec):
    """The config of a program, with one block where a network repeats one: the others are alike."""
    config = configs.load(spec, ['--config.mesh.devices=1']).unlock()
    if key := REPEATS.get(config.model.name):
        config.model[key] = (1,) * len(getattr(jax_trainer.model(config, 10), key))
    return config


@pytest.mark.parametrize('spec', programs(), ids=lambda spec: spec.removeprefix(f'{CONFIGS}/'))
def test_the_steps_of_a_config_are_exported_for_gpus_and_tpus(spec):
    plan, dtype = plan_of(load(spec))
    with backend.use('xla'), jax.set_mesh(plan.mesh):
        for step in (lowering.train_step(plan, dtype), lowering.evaluation_step(plan, dtype)):
            exported = export.export(step.function, platforms=PLATFORMS)(*step.arguments)
            shapes = [leaf.shape for leaf in jax.tree.leaves(step.arguments)]
            assert exported.platforms == PLATFORMS
            assert [aval.shape for aval in exported.in_avals] == shapes


def test_the_evaluation_of_a_network_that_numpy_trains_is_exported_for_gpus_and_tpus():
    numpy = configs.load(str(CONFIGS / 'numpy_cnn.py:blocks3'))
    plan, dtype = plan_of(configs.load(str(CONFIGS / 'small_vgg.py'), ['--config.mesh.devices=1']))
    plan = plan._replace(model=trainer_of('Network').model(numpy, 10, plan.dtype))
    step = lowering.evaluation_step(plan, dtype)
    with backend.use('xla'), jax.set_mesh(plan.mesh):
        export.export(step.function, platforms=PLATFORMS)(*step.arguments)


@pytest.mark.skipif(bool(onednn.problem()), reason='the C++ operations are not built')
@pytest.mark.parametrize('platform', ['cpu', *PLATFORMS])
def test_only_programs_for_a_cpu_call_the_operations_in_cpp(platform):
    """A machine with a GPU or a TPU has them, too, and traces both ways."""
    config = configs.load(str(CONFIGS / 'small_vgg.py:smoke'), ['--config.mesh.devices=1'])
    plan, dtype = plan_of(config)
    with backend.use('onednn'), jax.set_mesh(plan.mesh):
        step = lowering.train_step(plan, dtype)
        lowered = step.function.trace(*step.arguments).lower(lowering_platforms=(platform,))
    assert ('cifar_jax.ConvForward' in lowered.as_text()) == (platform == 'cpu')
    state, batch = ({info.donated for info in jax.tree.leaves(x)} for x in lowered.args_info[0])
    assert (state, batch) == ({True}, {False}), 'the new state takes the memory of the old one'


def test_a_step_that_is_shared_by_several_devices_is_exported():
    config = tiny_training.config_of(mesh__devices=4)
    plan = tiny_training.plan_of(config, tiny_training.data_of())
    step = lowering.train_step(plan, np.uint8)
    with jax.set_mesh(plan.mesh):
        exported = export.export(step.function, platforms=PLATFORMS)(*step.arguments)
    assert exported.nr_devices == 4
    assert '"data"' in exported.mlir_module(), 'the batch is split along the axis of the mesh'


def test_the_step_is_the_one_that_a_run_takes():
    config = tiny_training.config_of(mesh__devices=1)
    plan = tiny_training.plan_of(config, tiny_training.data_of())
    program, feed = programs_of(plan), next(plan.training.epoch(0, 0))
    batch = plan.training.batch(feed, jnp.int32(0))
    with jax.set_mesh(plan.mesh):
        step = lowering.train_step(plan, np.uint8)
        ours = step.function(program.init(), batch)
        expected = program.step(program.init(), feed)
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, expected))
    assert jax.tree.map(np.shape, ours) == jax.tree.map(np.shape, step.arguments[0])
