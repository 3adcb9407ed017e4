"""What a training step costs, against counts by hand."""

import jax
import numpy as np
import pytest
import tiny_training

from cifar_jax.data import outline
from cifar_jax.experiment import variants
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.models import summary
from cifar_jax.training import cost
from cifar_jax.training import plan as plans

BATCH = 8


def config_of(name, **keys):
    config = get_defaults()
    config.model.name = name
    config.mesh.devices = 1
    config.train.batch_size = BATCH
    config.update_from_flattened_dict({key.replace('__', '.'): v for key, v in keys.items()})
    return config


def plan_of(config, image_shape=(32, 32, 3)):
    known = outline.Outline(100, 20, 20, image_shape, 10, pixels=image_shape[-1] == 3)
    data = outline.blank(known, config.data)
    return plans.make(config, data), data.train.images.dtype


def products(size, out_size, kernel, stride):
    """Returns how often, along one axis, a 'SAME' convolution multiplies a pixel of the image."""
    start = -(max((out_size - 1) * stride + kernel - size, 0) // 2)
    taps = np.arange(out_size)[:, None] * stride + start + np.arange(kernel)
    return int(((taps >= 0) & (taps < size)).sum())


def forward_flops(plan):
    """Returns the FLOPs of each convolution and dense layer for one image, in their order."""
    counts = []
    for row in summary.trace(plan.model, plan.training.image_shape)[1]:
        if (conv := row.convolution) is not None:
            pixels = 1
            for axis in (0, 1):
                sizes = row.input[axis], row.output[axis]
                pixels *= products(*sizes, conv.kernel_size[axis], conv.strides[axis])
            counts.append(2 * pixels * row.input[-1] * conv.features // conv.groups)
        elif row.kind == 'Dense':
            counts.append(2 * row.multiply_adds)
    return counts


@pytest.fixture(scope='module')
def vgg():
    plan, dtype = plan_of(config_of('SmallVGG', ema=0.9))
    return plan, cost.of_step(plan, dtype)


def test_flops_are_three_forward_passes_but_for_the_gradient_of_the_images(vgg):
    plan, counted = vgg
    first, *rest = forward_flops(plan)
    expected = BATCH * (2 * first + 3 * sum(rest))
    assert expected < counted.flops < 1.03 * expected, 'the rest is elementwise'


def test_flops_of_dense_layers_are_those_of_their_products():
    config = config_of('DenseHead', data__normalize='scale')
    config.model.hidden = (512,)
    plan, dtype = plan_of(config, (1, 1, 1280))
    first, second = forward_flops(plan)
    expected = BATCH * (2 * first + 3 * second)
    assert expected < cost.of_step(plan, dtype).flops < 1.3 * expected


def test_flops_of_a_depthwise_convolution_are_those_of_its_own_channels():
    """XLA computes it on a CPU as a full convolution, with many products with zeros."""
    config = config_of('EfficientNetLite0')
    variants.narrow_efficientnet(config)
    config.model.update(widths=(32, 32), expansions=(6, 6), stem=32)
    plan, dtype = plan_of(config)
    first, *rest = forward_flops(plan)
    expected = BATCH * (2 * first + 3 * sum(rest))
    assert expected < cost.of_step(plan, dtype).flops < 1.5 * expected


def test_the_state_is_counted_by_kind(vgg):
    plan, counted = vgg
    state = jax.eval_shape(lambda: plans.initial_state(plan))
    assert counted.parameters == 307_498
    assert counted.memory['parameters'] == 4 * counted.parameters
    assert counted.memory['optimizer'] == 4 * counted.parameters + 4, 'momentum, and a step'
    statistics = sum(leaf.size for leaf in jax.tree.leaves(state.variables.get('batch_stats', {})))
    assert counted.memory['statistics'] == 4 * statistics
    assert counted.memory['average'] == 4 * (counted.parameters + statistics)
    assert counted.memory['batch'] == BATCH * (32 * 32 * 3 + 4 + 4)


def test_working_memory_holds_gradients_and_an_activation_of_each_layer(vgg):
    """Not both of its two operands at once, and no more than everything that is ever computed."""
    plan, counted = vgg
    rows = [row for row in summary.trace(plan.model, (32, 32, 3))[1] if row.convolution]
    outputs = 4 * BATCH * sum(int(np.prod(row.output)) for row in rows)
    least = outputs + counted.memory['parameters']
    assert 0.8 * least < counted.memory['working'] < 4 * least


def test_traffic_is_at_least_the_state_and_the_activations_twice(vgg):
    _, counted = vgg
    memory = counted.memory
    state = 2 * (memory['parameters'] + memory['optimizer'])
    assert state < counted.traffic < 100 * memory['working']


def test_adam_keeps_two_moments_and_batch_norm_its_statistics():
    config = tiny_training.config_of(optimizer__name='adam')
    plan = tiny_training.plan_of(config, tiny_training.data_of())
    counted = cost.of_step(plan, np.uint8)
    assert counted.parameters == 3 * 3 * 3 * 8 + 8 + 8 * 7 + 7
    assert 8 * counted.parameters <= counted.memory['optimizer'] <= 8 * counted.parameters + 16
    assert counted.memory['statistics'] == 8 * 4
    assert counted.memory['average'] == 0
