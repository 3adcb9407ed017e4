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
