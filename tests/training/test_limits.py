"""The number of images that are evaluated at once."""

import pytest

from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.training import limits


@pytest.mark.parametrize(
    ('shape', 'options', 'given', 'expected'),
    [
        ((1, 1, 1280), {}, 0, 500),
        ((32, 32, 3), {}, 0, 500),
        ((64, 64, 3), {}, 0, 500),
        ((64, 128, 3), {}, 0, 250),
        ((224, 224, 3), {}, 0, 40),
        ((32, 32, 3), {'input_size': 128}, 0, 125),
        ((224, 224, 3), {'input_size': 32}, 0, 500),
        ((16_384, 16_384, 3), {}, 0, 1),
        ((224, 224, 3), {}, 64, 64),
    ],
)
def test_images_with_more_pixels_are_evaluated_in_smaller_batches(shape, options, given, expected):
    config = get_defaults()
    config.model.update(name='ResNet50', **options)
    config.eval_batch_size = given
    assert limits.with_evaluation_batch(config, shape).eval_batch_size == expected
    assert config.eval_batch_size == given
