"""Config files, overrides and the check of every value, without data and devices."""

import pathlib
from typing import Any

import pytest
from ml_collections import ConfigDict

from cifar_jax import models
from cifar_jax.data import augment, normalize, sources, splits
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import variants as variants_of_configs
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.models.pretrained import catalogue
from cifar_jax.ops import backend
from cifar_jax.training import limits, optimizers, parallel, precision, weights

ROOT = pathlib.Path(__file__).parents[2]
FILES = sorted((ROOT / 'configs').glob('*.py'))
VGG = str(ROOT / 'configs' / 'small_vgg.py')


def load(*overrides: str, spec: str = VGG) -> ConfigDict:
    return configs.load(spec, overrides)


def test_the_largest_sizes_are_accepted_and_larger_ones_refused():
    largest = {'mesh.devices': 1024, 'eval_batch_size': 1_000_000, 'data.image_size': 16_384}
    load(*(f'--config.{key}={value}' for key, value in largest.items()))
    for key, value in largest.items():
        assert f'config.{key}={value + 1} must be from 1 to {value}' in refusal(
            f'--config.{key}={value + 1}'
        )


def test_the_smallest_sizes_and_the_largest_seed_are_accepted():
    load(f'--config.seed={2**32 - 1}')
    smallest = {'train.batch_size': 1, 'eval_batch_size': 1, 'log.every': 1, 'train.patience': 0}
    config = load(*(f'--config.{key}={value}' for key, value in smallest.items()))
    assert {key: configs.flat(config)[key] for key in smallest} == smallest


def refusal(*overrides: str, spec: str = VGG) -> str:
    with pytest.raises(UserError) as caught:
        load(*overrides, spec=spec)
    message = str(caught.value)
    assert '\n' not in message
    return message


def variants() -> list[str]:
    specs = []
    for path in FILES:
        namespace: dict[str, Any] = {}
        exec(path.read_text(), namespace)
        assert {'digits', 'smoke'} <= set(namespace['VARIANTS'])
        specs += [path.name, *(f'{path.name}:{variant}' for variant in namespace['VARIANTS'])]
    return specs


@pytest.mark.parametrize('spec', variants())
def test_every_config_with_every_variant_passes_the_check(spec):
    config = load(spec=f'{ROOT}/configs/{spec}')
    assert config.is_locked
    offline = spec.endswith(('digits', 'smoke'))
    assert (config.data.source == 'digits') == offline


@pytest.mark.parametrize('name', catalogue.PUBLISHED)
def test_a_pretrained_network_is_given_the_constants_that_it_was_published_with(name):
    config = get_defaults()
    variants_of_configs.pretrained(config, name)
    published = catalogue.of(name)
    assert (config.data.mean, config.data.std) == (published.mean, published.std)
    assert (config.model.name, config.data.normalize) == (name, 'given')


def test_a_config_file_that_does_not_exist_suggests_the_nearest():
    message = refusal(spec=f'{ROOT}/configs/smal_vgg.py')
    assert f"did you mean '{VGG}'?" in message


def test_a_config_in_a_folder_without_any_says_so():
    assert refusal(spec='nowhere/senet.py').startswith('No config file nowhere')


def test_a_variant_that_does_not_exist_suggests_the_nearest():
    assert "no variant 'digit': did you mean 'digits'?" in refusal(spec=f'{VGG}:digit')
    assert 'known: digits, ours, ours_digits' in refusal(spec=f'{VGG}:zzz')


@pytest.mark.parametrize(
    ('misspelt', 'meant'),
    [
        ('sed', 'seed'),
        ('train.lenght', 'train.length'),
        ('data.validation_fracton', 'data.validation_fraction'),
        ('optimzer.momentum', 'optimizer.momentum'),
        ('train.batchsize', 'train.batch_size'),
        ('seed.first', 'seed'),
    ],
)
def test_a_misspelt_key_suggests_the_nearest_full_key(misspelt, meant):
    message = refusal(f'--config.{misspelt}=1')
    assert f"No config key '{misspelt}': did you mean '{meant}'?" in message


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ('seed=1.5', 'config.seed=1.5 must be a whole number, such as 0.'),
        ('seed=true', 'must be a whole number'),
        ('seed=', 'must be a whole number'),
        ('schedule.rate=fast', 'must be a number'),
        ('ema=nan', 'must be a number'),
        ('log.tensorboard=1', 'must be True or False'),
        ('data.augment=flip', 'must be a list'),
        ('data.mean=0.5', 'must be a list'),
        (
            'train=5',
            'is a group: set one of its keys, train.accumulate, train.batch_size, train.length',
        ),
    ],
)
def test_a_value_of_another_type_is_refused(override, message):
    assert message in refusal(f'--config.{override}')


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ('data.source=cifar11', "did you mean 'cifar10'?"),
        ('data.labels=coarsely', "did you mean 'coarse'?"),
        ('data.source=foldr:photos', "did you mean 'folder:PATH'?"),
        ('data.damaged=skp', "did you mean 'skip'?"),
        ('data.validation=stratifed', "did you mean 'stratified'?"),
        ('data.normalize=pixels', "did you mean 'pixel'?"),
        ('data.augment=[{"name": "flop"}]', "did you mean 'flip'?"),
        ('data.augment=[{"name": "cutout", "sizes": 4}]', "did you mean 'size'?"),
        ('data.augment=[{"size": 4}]', "has no name: write {'name': 'flip'}"),
        ('data.augment=["flip"]', "has no name: write {'name': 'flip'}"),
        ('model.name=SmalVGG', "did you mean 'SmallVGG'?"),
        ('model.width=(4, 8)', "SmallVGG has no option 'width': did you mean 'widths'?"),
        ('precision=bfloat', "did you mean 'bfloat16'?"),
        ('optimizer.name=adamax', "did you mean 'adam'?"),
        ('schedule.name=cosin', "did you mean 'cosine'?"),
        ('train.monitor=acc', "did you mean 'accuracy'?"),
        ('train.select=bets', "did you mean 'best'?"),
        ('ops.backend=tpu', 'known: auto, jax, onednn, xla'),
        ('ops.algorithm=dirct', "did you mean 'direct'?"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(override, message):
    assert message in refusal(f'--config.{override}')


# The module that checks a key, and an override that it refuses.
OWNERS: dict[Any, dict[str, str]] = {
    sources: {
        'data.source': 'folder:',
        'data.dir': '~nobody_of_this_name/data',
        'data.labels': 'coarse',
        'data.image_size': '-1',
        'data.resize': 'squash',
        'data.damaged': 'ignore',
        'data.draw': 'date',
        'data.classes': '1',
        'data.fraction': '1.5',
        'data.memory_gb': '0',
        'data.buffer_gb': '-1',
    },
    splits: {
        'data.validation': 'first',
        'data.validation_fraction': '1',
        'data.split_seed': '-1',
    },
    normalize: {
        'data.normalize': 'none',
        'data.mean': '(1e999, 0.5, 0.5)',
        'data.std': '(0.5, 0.5, 0)',
        'data.zca_epsilon': '0',
    },
    augment: {'data.augment': '[{"name": 5}]'},
    limits: {
        'seed': str(2**32),
        'train.length': '1000000001 epochs',
        'train.batch_size': '0',
        'train.accumulate': '0',
        'train.patience': '-1',
        'train.monitor': 'top5',
        'train.select': 'first',
        'eval_batch_size': '-1',
        'checkpoint.every': '',
        'log.every': '0',
        'log.pictures': '101%',
    },
    optimizers: {
        'optimizer.name': 'muon',
        'optimizer.momentum': '1',
        'optimizer.b1': '1',
        'optimizer.b2': '-0.1',
        'optimizer.eps': '-1e-8',
        'optimizer.l2': '-1',
        'optimizer.weight_decay': '-1',
        'optimizer.clip_norm': '1e999',
        'optimizer.groups': '["stem*"]',
        'schedule.name': 'cosin',
        'schedule.rate': '-0.1',
        'schedule.warmup': '5 minutes',
        'schedule.end': '2',
        'schedule.decay': '-1',
        'schedule.every': '9' * 60,
        'schedule.at': '["soon"]',
        'schedule.peak': '-1',
        'schedule.start': '1.5',
        'loss.label_smoothing': '1',
        'ema': '1',
    },
    weights: {
        'init_from': '~nobody_of_this_name/run',
        'init_rename': '["params/"]',
        'init_skip': '["params/head/*"]',
    },
    precision: {'precision': 'float16'},
    parallel: {'mesh.devices': '-1'},
    backend: {'ops.backend': 'tpu', 'ops.algorithm': 'fft'},
    models: {'model.name': 'ResNet'},
}
IMPOSSIBLE = [
    pytest.param(owner, key, text, id=key)
    for owner, values in OWNERS.items()
    for key, text in values.items()
]


def test_every_key_has_an_owner():
    # Of true or false, any other value has another type.
    keys = {key for key, value in configs.flat(get_defaults()).items() if type(value) is not bool}
    assert {key for values in OWNERS.values() for key in values} == keys


@pytest.mark.parametrize(('owner', 'key', 'text'), IMPOSSIBLE)
def test_an_impossible_value_of_each_key_is_refused_by_name(owner, key, text):
    assert f'config.{key}' in refusal(f'--config.{key}={text}')


@pytest.mark.parametrize(('owner', 'key', 'text'), IMPOSSIBLE)
def test_only_its_owner_checks_a_key(owner, key, text, monkeypatch):
    monkeypatch.setattr(owner, 'check', lambda *values, **named: None)
    load(f'--config.{key}={text}')


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ('seed=-1', 'config.seed=-1 must be from 0 to 2**32 - 1.'),
        ('data.source=tfds:a/b/c', "'a/b/c' cannot be a set's name"),
        ('data.labels=coarse', "'cifar10' has no coarse labels"),
        ('data.validation_fraction=0', "config.data.validation='none' trains on all images"),
        ('optimizer.weight_decay=0.1', "weight_decay is adamw's"),
        ('train.length=0 epochs', "config.train.length='0 epochs' must be above 0"),
        ('train.length=', "config.train.length='' must be above 0"),
        ('train.length=10%', 'cannot be the length of the run'),
        ('train.length=ten epochs', "'ten epochs' is not a duration: write '500 steps'"),
        ('data.augment=[{"name": "translate", "pixels": -1}]', 'config.data.augment: translate'),
        ('model.widths=(0, 8)', 'widths'),
        ('model.widths=big', 'widths'),
        ('model.widths={"a": 1, "b": 2}', 'config.model.widths=a: 1 b: 2 must be a list'),
    ],
)
def test_a_refusal_says_what_would_be_possible(override, message):
    assert message in refusal(f'--config.{override}')


@pytest.mark.parametrize('override', ['train.patience=3', 'train.select=best'])
def test_choosing_the_best_needs_validation_images(override):
    message = refusal('--config.data.validation=none', f'--config.{override}')
    assert 'need validation images' in message
    load(f'--config.{override}')


@pytest.mark.parametrize('arguments', [('--config.seed=7',), ('--config.seed', '7')])
def test_a_key_is_set_with_an_equals_sign_or_a_space(arguments):
    assert load(*arguments).seed == 7


def test_the_last_of_two_settings_counts():
    assert load('--config.seed=7', '--config.seed', '8').seed == 8


@pytest.mark.parametrize('arguments', [('--config.seed',), ('--config.seed', '--config.ema=0')])
def test_a_key_without_a_value_is_refused(arguments):
    assert '--config.seed needs a value' in refusal(*arguments)


@pytest.mark.parametrize('argument', ['--seed=1', 'seed=1', '--configs.seed=1'])
def test_an_argument_of_another_kind_is_refused(argument):
    assert f"Unknown argument '{argument}'" in refusal(argument)


@pytest.mark.parametrize(
    ('override', 'key', 'value'),
    [
        ('schedule.at=["1 epochs", "9%"]', 'schedule.at', ('1 epochs', '9%')),
        ('data.mean=(0.1, 0.2, 0.3)', 'data.mean', (0.1, 0.2, 0.3)),
        ('schedule.rate=1', 'schedule.rate', 1.0),
        ('train.length=500', 'train.length', '500'),
        ('train.length=8 epochs', 'train.length', '8 epochs'),
        ('schedule.warmup=', 'schedule.warmup', ''),
        ('log.tensorboard=false', 'log.tensorboard', False),
        ('log.tensorboard=True', 'log.tensorboard', True),
        ('model.widths=(4, 8)', 'model.widths', (4, 8)),
        ('model.widths=[4, 8]', 'model.widths', [4, 8]),
        ('data.dir=5', 'data.dir', '5'),
    ],
)
def test_a_value_from_the_command_line_gets_its_keys_type(override, key, value):
    parsed = configs.flat(load(f'--config.{override}'))[key]
    assert parsed == value
    assert type(parsed) is type(value)


def test_an_augmentation_policy_comes_from_the_command_line():
    policy = '[{"name": "translate", "pixels": 2}, {"name": "flip"}]'
    augment = load(f'--config.data.augment={policy}').data.augment
    assert [dict(entry) for entry in augment] == [
        {'name': 'translate', 'pixels': 2},
        {'name': 'flip'},
    ]


def test_options_of_a_config_do_not_pass_to_another_model():
    message = refusal('--config.model.name=SENet', spec=f'{ROOT}/configs/plain_cnn.py:smoke')
    assert "SENet has no option 'hidden'" in message


def test_the_loaded_config_cannot_get_new_keys():
    with pytest.raises((AttributeError, KeyError)):
        load().train.epochs = 3


def test_a_run_is_named_after_its_config_and_variant():
    assert configs.name('configs/senet.py:digits') == 'senet-digits'
    assert configs.name('configs/senet.py') == 'senet'
