"""The blocks of a model."""

import jax
import narrow_models
import pytest

from cifar_jax import models
from cifar_jax.models import blocks, summary

SHAPE = (20, 16, 3)


def create(name):
    return models.create(name.split()[0], narrow_models.CLASSES, **narrow_models.OPTIONS[name])


@pytest.mark.parametrize('name', narrow_models.OPTIONS)
def test_parameters_statistics_and_flops_add_up_to_the_summary_s(name):
    network = blocks.of(create(name), SHAPE)
    variables, rows = summary.trace(create(name), SHAPE)
    sizes = {
        kind: sum(leaf.size for leaf in jax.tree.leaves(variables.get(kind, {})))
        for kind in ('params', 'batch_stats')
    }
    assert sum(block.parameters for block in network) == sizes['params']
    assert sum(block.statistics for block in network) == sizes['batch_stats']
    assert sum(block.flops for block in network) == 2 * rows[-1].multiply_adds


def test_the_blocks_of_senet_are_its_stem_its_se_blocks_and_its_head():
    network = blocks.of(create('SENet'), SHAPE)
    assert [(block.name, block.output, block.convolves) for block in network] == [
        ('stem', (20, 16, 4), True),
        ('stage1_block1', (20, 16, 4), True),
        ('stage2_block1', (10, 8, 6), True),
        ('head', (5,), False),
    ]
    assert network[0].contents == 'Conv 3x3, BatchNorm, ReLU'
    assert network[2].contents == 'SEBlock: 2 Conv 3x3, Conv 1x1, 3 BatchNorm, 2 Dense'


def test_a_convolution_takes_its_batch_norm_relu_and_dropping_with_it():
    network = blocks.of(create('PlainCNN'), SHAPE)
    assert [(block.contents, block.maps) for block in network] == [
        ('Conv 3x3, BatchNorm, ReLU, DropBlock', 'relu_0'),
        ('Conv 3x3, BatchNorm, ReLU', 'relu_1'),
        ('Dense, Dropout', 'Dropout_0'),
        ('Dense', 'Dense_1'),
    ]


def test_what_lies_between_blocks_shows_in_the_shapes():
    first, second, hidden, _ = blocks.of(create('PlainCNN'), SHAPE)
    assert (first.input, first.output) == (SHAPE, (20, 16, 3))
    assert (second.input, second.output) == ((10, 8, 3), (10, 8, 4))
    assert hidden.input == (5 * 4 * 4,)
