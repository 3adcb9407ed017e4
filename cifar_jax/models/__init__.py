"""Image classifiers by name: a new model is one file and one entry here."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from cifar_jax.checks import require_choice
from cifar_jax.models.base_net import BaseNet
from cifar_jax.models.complex_net import ComplexNet
from cifar_jax.models.improved_net import ImprovedNet
from cifar_jax.models.inception import InceptionNet
from cifar_jax.models.options import check_options, tuples
from cifar_jax.models.plain_cnn import PlainCNN
from cifar_jax.models.senet import SENet
from cifar_jax.models.simple_net import SimpleNet
from cifar_jax.models.small_vgg import SmallVGG

MODELS: dict[str, type[nn.Module]] = {
    'BaseNet': BaseNet,
    'ComplexNet': ComplexNet,
    'ImprovedNet': ImprovedNet,
    'InceptionNet': InceptionNet,
    'PlainCNN': PlainCNN,
    'SENet': SENet,
    'SimpleNet': SimpleNet,
    'SmallVGG': SmallVGG,
}


def create(name: str, classes: int, dtype: Any = jnp.float32, **options: Any) -> nn.Module:
    """Returns the named model, an `nn.Module` from images [batch h w c] to logits [batch classes].

    `dtype` is what it computes in; its parameters are float32 whatever it is. Options are the
    fields of the model's class; lists count as tuples. Raises UserError as `check` does.

    >>> create('SmallVGG', 10, widths=[8, 16]).widths
    (8, 16)
    """
    check(name, options)
    return MODELS[name](classes=classes, dtype=dtype, **tuples(options))


def check(name: str, options: Mapping[str, Any]) -> None:
    """Raises UserError for an unknown model or option, or a value it cannot have."""
    require_choice('model.name', name, MODELS)
    check_options(name, MODELS[name], options)
