"""The selection of variants in scripts/smoke.py."""

import pytest

import smoke

CONFIGS = sorted((smoke.ROOT / 'configs').glob('*.py'))


def test_every_variant_with_real_data_is_selected():
    configs = smoke.ROOT / 'configs'
    assert smoke.specs([configs / 'complex_net.py', configs / 'senet.py']) == [
        f'{configs}/complex_net.py',
        f'{configs}/complex_net.py:ours',
        f'{configs}/senet.py',
        f'{configs}/senet.py:short',
        f'{configs}/senet.py:published',
    ]


@pytest.mark.parametrize('spec', smoke.specs(CONFIGS))
def test_a_variant_keeps_its_network_and_its_data(spec, tmp_path):
    config, task = smoke.configs.load(spec), smoke.task(spec, tmp_path)
    assert task.config.model == config.model
    assert task.config.data.source == config.data.source != 'digits'
    assert task.config.train.length in ('3 steps', '1 epochs')


@pytest.mark.parametrize(
    ('source', 'here'),
    [
        ('cifar10', True),
        ('folder:{}', True),
        ('folder:{}/nowhere', False),
        ('features:{}/nowhere', False),
        ('tfds:prepared', True),
        ('tfds:absent', False),
    ],
)
def test_a_variant_whose_data_are_not_here_is_left_out(source, here, tmp_path):
    (tmp_path / 'prepared').mkdir()
    config = tmp_path / 'config.py'
    text = (smoke.ROOT / 'configs' / 'small_vgg.py').read_text()
    change = f"config.data.source = {source.format(tmp_path)!r}; config.data.dir = '{tmp_path}'"
    config.write_text(text.replace('return variants', f'{change}\n    return variants'))
    assert smoke.is_here(str(config)) == here
