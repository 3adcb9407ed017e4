"""The base class of all models: a body that computes features, and a head that computes logits."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.data import resize
from cifar_jax.models.layers import widened


class ImageModel(nn.Module):
    """An image classifier: `features` is its body, the submodule `head` its last layer.

    A subclass assigns `self.head` in `setup`, and defines `features` as its `nn.compact` method.
    The head is the only part whose parameters depend on `classes`, so `model.clone(classes=20)` is
    the same body with a head for 20 classes, and `head_name(model)` names its parameters.

    Fields of a subclass are its options; `check` refuses values of them that do not go together.
    Every model has the option `input_size`: the height and width that images are resized to on the
    device (bilinear), after augmentation and normalisation; 0, the default, keeps theirs. For that
    `features` calls `inputs`.
    """

    classes: int
    dtype: Any = jnp.float32  # of the computation; parameters are float32
    input_size: int = 0

    def __call__(
        self,
        images: Float[Array, 'batch height width channels'],
        *,
        train: bool,
        progress: Float[Array, ''] | float = 1.0,
    ) -> Float[Array, 'batch classes']:
        """Returns logits, at least float32.

        Args:
          images: normalized pixels.
          train: normalize with the statistics of the batch, and drop units.
          progress: the fraction of training that is done, in [0, 1]; for schedules within a model.
        """
        return widened(self.head(self.features(images, train=train, progress=progress)))

    def features(
        self,
        images: Float[Array, 'batch height width channels'],
        *,
        train: bool,
        progress: Float[Array, ''] | float = 1.0,
    ) -> Float[Array, 'batch features']:
        """Returns what the head reads: `model.apply(variables, images, train=False,
        method='features')`. The arguments are those of `__call__`.
        """
        raise NotImplementedError

    @nn.nowrap
    def inputs(
        self, images: Float[Array, 'batch height width channels']
    ) -> Float[Array, 'batch rows columns channels']:
        """Returns the images at `input_size`, if that is given, in the dtype of the computation."""
        images = images.astype(self.dtype)
        return resize.bilinear(images, self.input_size) if self.input_size else images

    @nn.nowrap
    def added(self) -> list[str]:
        """Returns the names of layers before the head that the published network does not have."""
        return []

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for options that have the right type but invalid values."""


def head_names(model: nn.Module) -> list[str]:
    """Returns the names of a model's head and of the layers that it adds to a published body."""
    added = model.added() if isinstance(model, ImageModel) else ()
    return [head_name(model), *added]


def head_name(model: nn.Module) -> str:
    """Returns the name of a model's head: its parameters are those below 'params/NAME'.

    >>> from cifar_jax.models.small_vgg import SmallVGG
    >>> head_name(SmallVGG(classes=10))
    'Dense_0'
    """
    return model.bind({}).head.name
