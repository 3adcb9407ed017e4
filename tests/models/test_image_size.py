"""Images that are too small for a model."""

import re

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from cifar_jax import models
from cifar_jax.errors import UserError
from cifar_jax.models import image_size


def trace(model, size: int) -> None:
    with image_size.explained(model, (size, size, 3)):
        jax.eval_shape(
            lambda x: model.init(jax.random.key(0), x, train=False), jnp.zeros((1, size, size, 3))
        )


@pytest.mark.parametrize('name', ['SimpleNet', 'SmallVGG'])
def test_the_smallest_possible_size_is_named(name):
    model = models.create(name, 10, widths=(2,) * len(models.MODELS[name].widths))
    with pytest.raises(UserError, match=f'Images of 2x2 are too small for {name}: set') as caught:
        trace(model, 2)
    [smallest] = re.findall(r'image_size=(\d+)', str(caught.value))
    trace(model, int(smallest))
    with pytest.raises(UserError, match=f'too small for {name}'):
        trace(model, int(smallest) - 1)


def test_the_option_that_resizes_is_named_where_it_is_too_small():
    model = models.create('SmallVGG', 10, widths=(2,) * 3, input_size=4)
    with pytest.raises(UserError, match=r'Images of 4x4 .* config\.model\.input_size=8, or more'):
        trace(model, 32)


def test_a_convolution_on_the_last_map_needs_larger_images():
    model = models.create('ResNet50', 10, widths=(2,), blocks=(1,), convs=(3,))
    with pytest.raises(UserError, match=r'8x8 are too small for ResNet50: .*image_size=9, or more'):
        trace(model, 8)


class Broken(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        raise ValueError('broken')


def test_an_error_at_every_size_is_raised_as_it_is():
    with pytest.raises(ValueError, match='broken'):
        trace(Broken(), 32)
