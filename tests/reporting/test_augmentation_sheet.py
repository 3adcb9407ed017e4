"""The sheet of augmented images."""

import numpy as np
import pytest
from PIL import Image

from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.reporting import augmentations


def config(*policy):
    config = get_defaults()
    config.data.source = 'digits'
    config.data.augment = policy
    return config


@pytest.mark.slow
def test_the_sheet_has_a_row_for_the_originals_each_entry_and_all_entries(tmp_path):
    heights = []
    for policy in ([dict(name='flip')], [dict(name='flip'), dict(name='cutout', size=4)]):
        augmentations.draw(config(*policy), tmp_path / 'sheet.png')
        with Image.open(tmp_path / 'sheet.png') as image:
            heights.append(image.height)
            assert np.asarray(image.convert('L')).std() > 10
    assert heights == [150 * (0.2 + 1.2 * 2), 150 * (0.2 + 1.2 * 4)]


def test_a_caption_has_the_name_and_the_options():
    assert augmentations.caption({'name': 'shift', 'fraction': 0.1}) == 'shift\nfraction 0.1'


def test_a_missing_augmentation_or_folder_raises_an_error(tmp_path):
    with pytest.raises(UserError, match='no augmentations'):
        augmentations.draw(config(), tmp_path / 'sheet.png')
    with pytest.raises(UserError, match='cannot be written'):
        augmentations.draw(config(dict(name='flip')), tmp_path / 'none' / 'sheet.png')
