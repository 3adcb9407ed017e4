"""Image classifiers by name; to add a model, write one file and add an entry here."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from cifar_jax.checks import require, require_choice
from cifar_jax.models import options as model_options
from cifar_jax.models.base_net import BaseNet
from cifar_jax.models.complex_net import ComplexNet
from cifar_jax.models.dense_head import DenseHead
from cifar_jax.models.efficientnet import EfficientNetB0, EfficientNetLite0
from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.improved_net import ImprovedNet
from cifar_jax.models.inception import InceptionNet
from cifar_jax.models.plain_cnn import PlainCNN
from cifar_jax.models.resnet import ResNet50
from cifar_jax.models.senet import SENet
from cifar_jax.models.simple_net import SimpleNet
from cifar_jax.models.small_vgg import SmallVGG

MODELS: dict[str, type[ImageModel]] = {
    'BaseNet': BaseNet,
    'ComplexNet': ComplexNet,
    'DenseHead': DenseHead,
    'EfficientNetB0': EfficientNetB0,
    'EfficientNetLite0': EfficientNetLite0,
    'ImprovedNet': ImprovedNet,
    'InceptionNet': InceptionNet,
    'PlainCNN': PlainCNN,
    'ResNet50': ResNet50,
    'SENet': SENet,
    'SimpleNet': SimpleNet,
    'SmallVGG': SmallVGG,
}
LARGEST_INPUT = 4096  # height and width: a batch of 16 such images takes 3 GB in float32


def create(name: str, classes: int, dtype: Any = jnp.float32, **options: Any) -> ImageModel:
    """Creates a model, which maps images [batch h w c] to logits [batch classes].

    Args:
      name: a key of `MODELS`.
      classes: number of classes.
      dtype: dtype of the computation; parameters are float32.
      options: fields of the model's class; lists are converted to tuples.

    Raises:
      UserError: the model or an option is unknown, or the value of an option is invalid.

    >>> create('SmallVGG', 10, widths=[8, 16]).widths
    (8, 16)
    """
    check(name, options)
    return MODELS[name](classes=classes, dtype=dtype, **model_options.tuples(options))


def check(name: str, options: Mapping[str, Any]) -> None:
    """Raises UserError as `create` does."""
    require_choice('model.name', name, MODELS)
    model_options.check_types(MODELS[name], options)
    size = options.get('input_size', 0)
    require(size <= LARGEST_INPUT, 'model.input_size', size, f'be at most {LARGEST_INPUT}')
    MODELS[name](classes=1, **model_options.tuples(options)).check()
