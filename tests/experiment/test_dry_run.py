"""Dry runs: the estimate of a run, its tables, and that nothing is written."""

import json

import jax
import pytest

from cifar_jax import main
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import devices, dry_run
from cifar_jax.training import cost

SMOKE = 'configs/small_vgg.py:smoke'
COST = cost.Cost(
    parameters=1000,
    memory={
        'parameters': 4000,
        'statistics': 40,
        'optimizer': 8000,
        'average': 0,
        'batch': 500,
        'working': 100_000,
    },
    flops=6e9,
    traffic=8e6,
)
# A second for 6 GFLOP, and half a second for 8 MB.
DEVICE = devices.Device(
    name='Tiny',
    flops={'float32': 6e9, 'bfloat16': 12e9},
    bandwidth=16e6,
    memory=2e7,
    group=4,
    link=4000.0,
    network=1000.0,
    source='made up',
)


@pytest.fixture
def seen(monkeypatch):
    """Replaces the compilation by a constant; returns the plans that would have been compiled."""
    plans = []

    def of_step(plan, dtype):
        plans.append(plan)
        return COST

    monkeypatch.setattr(cost, 'of_step', of_step)
    monkeypatch.setitem(devices.DEVICES, 'Tiny', DEVICE)
    return plans


def estimate(*overrides, spec=SMOKE, name='Tiny', outline=None):
    return dry_run.estimate(configs.load(spec, [f'--config.{o}' for o in overrides]), name, outline)


def test_a_dry_run_prints_its_estimate_and_writes_nothing(tmp_path, capsys, monkeypatch):
    config = str(configs.pathlib.Path('configs/small_vgg.py').absolute()) + ':smoke'
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('CIFAR_JAX_CACHE', str(tmp_path / 'cache'))
    main.main(['--config', config, '--dry_run', '--device', 'h100', '--json'])
    out = capsys.readouterr().out
    result = json.loads(out.splitlines()[-1])
    assert (result['model'], result['device'], result['fits']) == ('SmallVGG', 'H100', True)
    assert result['parameters'] == 307_498
    assert result['memory_total'] == sum(result['memory'].values())
    assert 'SmallVGG, 307,498 parameters, on 1,150 images of 32x32x3 in 10 classes' in out
    assert 'batch 32 in float32 on 1 x H100 (NVIDIA H100 datasheet)' in out
    assert 'the batch fits: it needs less than 75% of the memory of a device' in out
    assert not [*tmp_path.iterdir()]


def test_a_step_takes_the_longer_of_computing_and_reading(seen):
    seconds = estimate()['seconds']
    assert seconds == {'compute': 1.0, 'memory': 0.5, 'network': 0.0, 'step': 1.0}
    seen.clear()
    seconds = estimate('precision=bfloat16')['seconds']
    assert seconds == {'compute': 0.5, 'memory': 0.25, 'network': 0.0, 'step': 0.5}
    assert seen[0].dtype == jax.numpy.float32, 'a CPU would keep float32 copies'


def test_an_epoch_and_a_run_take_as_long_as_their_steps(seen):
    result = estimate('train.length=3 epochs')
    assert result['images'] == {'train': 1150, 'validation': 287, 'test': 360}
    assert result['steps_per_epoch'] == 1150 // 32 == result['epoch_seconds']
    assert result['total_steps'] == 3 * (1150 // 32) == result['run_seconds']


def test_each_device_computes_its_part_and_all_sum_their_gradients(seen):
    result = estimate('mesh.devices=8')
    assert seen[0].config.train.batch_size == 4
    assert seen[0].mesh.size == 1
    assert (result['devices'], result['batch_size']) == (8, 32)
    # 4,000 bytes in a group of four by links of 4,000 bytes/s, then a fourth of them at 1,000.
    assert result['seconds']['network'] == 2 * 3 / 4 + 2 * 1 / 2
    assert result['seconds']['step'] == 1 + 2.5


def test_accumulation_keeps_one_part_and_a_sum_of_gradients_in_memory(seen):
    whole, parts = estimate(), estimate('train.accumulate=4')
    assert [plan.config.train.batch_size for plan in seen] == [32, 8]
    assert seen[1].config.train.accumulate == 1
    assert parts['memory']['working'] == COST.memory['working'] + COST.memory['parameters']
    assert parts['memory']['batch'] == 4 * COST.memory['batch'], 'the whole batch is on the device'
    assert parts['flops'] == 4 * COST.flops
    assert parts['traffic'] == 4 * COST.traffic
    assert parts['seconds']['step'] == 4 * whole['seconds']['step']
    assert parts['steps_per_epoch'] == whole['steps_per_epoch']


def test_devices_divide_the_state_of_the_optimizer_if_they_are_told_to(seen):
    whole = estimate('mesh.devices=8')['memory']
    parts = estimate('mesh.devices=8', 'mesh.shard_parameters=true')['memory']
    assert parts == whole | {'optimizer': 1000}
    assert estimate('mesh.shard_parameters=true')['memory'] == whole


def test_images_stay_on_the_device_unless_they_exceed_the_memory_for_them(seen):
    kept = estimate(spec='configs/small_vgg.py')['memory']
    assert kept['images'] == 50_000 * (32 * 32 * 3 + 8)
    streamed = estimate('data.memory_gb=0.1', spec='configs/small_vgg.py')['memory']
    assert streamed['images'] == COST.memory['batch'], 'the next one'


@pytest.mark.parametrize(('memory', 'fits'), [(4 * 10**7, True), (10**4, False)])
def test_a_batch_fits_three_quarters_of_the_memory(seen, memory, fits, monkeypatch):
    monkeypatch.setitem(devices.DEVICES, 'Tiny', DEVICE._replace(memory=float(memory)))
    assert estimate()['fits'] is fits


def test_exactly_three_quarters_of_the_memory_are_usable(seen, monkeypatch):
    total = estimate()['memory_total']
    for memory, fits in ((total / 0.75, True), (total / 0.75 - 2, False)):
        monkeypatch.setitem(devices.DEVICES, 'Tiny', DEVICE._replace(memory=memory))
        assert estimate()['fits'] is fits


def test_a_batch_that_does_not_fit_gets_a_remedy(seen, monkeypatch, capsys):
    fixed = estimate()['memory_total'] - COST.memory['working']
    for room, sentence in (
        (COST.memory['working'] / 3, '--config.train.accumulate=3 or more'),
        (-1000.0, 'even without activations, more than 75%'),
    ):
        device = DEVICE._replace(memory=(fixed + room) / 0.75 + 1)
        monkeypatch.setitem(devices.DEVICES, 'Tiny', device)
        dry_run.show(estimate())
        assert sentence in capsys.readouterr().out


def test_a_set_that_is_not_here_is_described(seen, capsys):
    arguments = ['--images', '1000', '--classes', '7', '--config.data.source=tfds:nowhere']
    main.main(['--config', SMOKE, '--dry-run', '--device', 'Tiny', *arguments])
    assert '800 images of 32x32x3 in 7 classes; 200 for validation' in capsys.readouterr().out
    assert seen[0].training.classes == 7


def test_this_cpu_is_measured_with_the_devices_of_a_run(seen, monkeypatch):
    measured = []

    def this_cpu(mesh, dtype):
        measured.append((mesh.size, dtype))
        return DEVICE

    monkeypatch.setattr(devices, 'this_cpu', this_cpu)
    result = estimate('mesh.devices=2', name='CPU')
    assert measured == [(2, jax.numpy.float32)]
    assert (result['devices'], result['device']) == (2, 'Tiny')


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['--device', 'H100'], '--device is for estimates: add --dry_run.'),
        (['--dry_run', '--images', '5'], 'give both'),
        (['--dry_run', '--classes', '5'], 'give both'),
        (['--dry_run', '--device', 'H10'], "No device 'H10': did you mean 'H100'?"),
        (
            ['--dry_run', '--device', 'H100', '--config.mesh.devices=5'],
            'batch_size=32 cannot be shared evenly by 5 devices in 1 parts: use a multiple of 5',
        ),
        (
            ['--dry_run', '--device', 'H100', '--images', '20', '--classes', '2'],
            'batch_size=32 is more than the 16 training images',
        ),
    ],
)
def test_a_mistake_is_one_sentence(arguments, sentence, capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main.main(['--config', SMOKE, '--workdir', str(tmp_path / 'run'), *arguments])
    assert ended.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert not [*tmp_path.iterdir()]


def test_a_network_that_numpy_trains_is_refused():
    with pytest.raises(UserError, match='is trained in NumPy'):
        estimate(spec='configs/numpy_cnn.py')
