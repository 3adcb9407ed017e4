"""The log says which algorithm computes each convolution."""

import jax.numpy as jnp
import pytest

from cifar_jax import models
from cifar_jax.models import summary
from cifar_jax.ops import backend, onednn
from cifar_jax.training import algorithms

pytestmark = pytest.mark.skipif(bool(onednn.problem()), reason=onednn.problem())


def layers_of(name, size=32, **options):
    model = models.create(name, 10, **options)
    return summary.trace(model, (size, size, 3))[1]


def line(layers, images=64, dtype=jnp.float32, ops='onednn', algorithm='auto'):
    with backend.use(ops, algorithm):
        return algorithms.describe(layers, images, dtype)


def test_each_convolution_of_a_network_is_listed_once_in_its_order():
    layers = layers_of('PlainCNN')
    layers = [row for row in layers if row.convolution]
    assert ['/'.join(row.path) for row in layers] == [f'Conv_{i}' for i in range(5)]
    assert [(row.input[-1], row.output[0]) for row in layers] == [
        (3, 32),
        (32, 16),
        (64, 8),
        (128, 4),
        (256, 2),
    ]


def test_the_line_separates_winograds_algorithm_from_direct_sums():
    assert line(layers_of('PlainCNN')) == (
        "convolutions: Winograd's algorithm for 3 (Conv_1, Conv_2, Conv_3); "
        'direct sums for 2 (Conv_0, Conv_4)'
    )


def test_a_small_batch_on_a_device_is_direct_where_maps_are_small():
    assert 'direct sums for 3 (Conv_0, Conv_3, Conv_4)' in line(layers_of('PlainCNN'), images=2)


def test_strides_and_1x1_kernels_are_direct():
    text = line(layers_of('SENet', widths=(16, 32), blocks=(1, 1)))
    winograd, direct = text.split('; ')
    assert 'stage1_block1/conv1' in winograd
    assert 'stage2_block1/conv2' in winograd
    for name in ('stem', 'stage2_block1/conv1', 'stage2_block1/shortcut'):
        assert name in direct


@pytest.mark.parametrize(
    'options', [{'dtype': jnp.bfloat16}, {'algorithm': 'direct'}, {'ops': 'xla'}]
)
def test_everything_is_direct_in_bfloat16_on_request_and_without_cpp(options):
    assert line(layers_of('PlainCNN'), **options).startswith('convolutions: direct sums for 5')


def test_a_network_without_convolutions_has_none():
    assert line([]) == 'convolutions: none'
