"""Feature maps of a classifier's blocks."""

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
    """Returns the feature maps of each block with a convolution, in the order of computation.

    The maps are the outputs of the modules `blocks.Block.maps`, in evaluation mode. A network
    without a convolution has none.
    """
    convolutional = [
        block for block in blocks.of(classifier.model, images.shape[1:]) if block.convolves
    ]
    if not convolutional:
        return {}
    methods = {('__call__', (block.maps,)) for block in convolutional}

    def compute(
        variables: Mapping[str, PyTree], inputs: Float[Array, 'batch height width channels']
    ) -> dict[str, Float32[Array, 'batch rows columns features']]:
        _, captured = classifier.model.apply(
            variables,
            inputs,
            train=False,
            capture_intermediates=lambda module, method: (method, module.path) in methods,
        )
        outputs = captured['intermediates']
        return {
            block.name: outputs[block.maps]['__call__'][0].astype(jnp.float32)
            for block in convolutional
        }

    maps = over_batches(classifier, compute, len(images))(images)
    return {block.name: maps[block.name] for block in convolutional}
