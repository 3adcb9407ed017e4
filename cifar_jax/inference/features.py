"""What a classifier's blocks make of images."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PyTree, UInt8

from cifar_jax.inference.classifier import Classifier
from cifar_jax.inference.predictions import over_batches
from cifar_jax.models import blocks


def feature_maps(
    classifier: Classifier, images: UInt8[np.ndarray, 'n height width channels']
) -> dict[str, Float32[np.ndarray, 'n rows columns features']]:
    """Returns the maps of each block that convolves, in the order of computation.

    They are those that `blocks.Block.maps` names, of evaluation: nothing is dropped, and batch norm
    uses its moving statistics. A network without a convolution has none.
    """
    found = [block for block in blocks.of(classifier.model, images.shape[1:]) if block.convolves]
    if not found:
        return {}
    wanted = {('__call__', (block.maps,)) for block in found}

    def compute(
        variables: Mapping[str, PyTree], inputs: Float[Array, 'batch height width channels']
    ) -> dict[str, Float32[Array, 'batch rows columns features']]:
        _, captured = classifier.model.apply(
            variables,
            inputs,
            train=False,
            capture_intermediates=lambda module, method: (method, module.path) in wanted,
            mutable=['intermediates'],
        )
        outputs = captured['intermediates']
        return {
            block.name: outputs[block.maps]['__call__'][0].astype(jnp.float32) for block in found
        }

    maps = over_batches(classifier, compute, len(images))(images)
    return {block.name: maps[block.name] for block in found}
