"""Grad-CAM: heat maps of the image regions that increase the score of a class."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, PyTree, UInt8

from cifar_jax.inference.classifier import Classifier
from cifar_jax.inference.predictions import over_batches
from cifar_jax.models.blocks import Block
from cifar_jax.models.intercept import around_calls


class Cams(NamedTuple):
    """Heat maps of two classes for each image.

    The classes are the most probable one, and the true class or, if the prediction is correct, the
    second most probable one. The maps have the block's height and width, and are not negative.
    """

    classes: Int32[Array | np.ndarray, 'n 2']
    probabilities: Float32[Array | np.ndarray, 'n 2']
    maps: Float32[Array | np.ndarray, 'n 2 rows columns']


def cams(
    classifier: Classifier,
    block: Block,
    images: UInt8[np.ndarray, 'n height width channels'],
    labels: Int[np.ndarray, 'n'],
) -> Cams:
    """Returns relu(sum_k w_k A_k), where w_k is the mean over all positions of d logit / d A_k.

    A_k are the feature maps of a block; the logit is the one of each of the two classes.

    References:
      Selvaraju et al. 2017, Grad-CAM (arXiv:1610.02391), equations 1 and 2.
    """

    def compute(
        variables: Mapping[str, PyTree],
        inputs: Float[Array, 'batch height width channels'],
        labels: Int[Array, 'batch'],
    ) -> Cams:
        def run(added):
            outputs = {}

            def add(path, call, *args, **kwargs):
                outputs[path] = call(*args, **kwargs)
                return outputs[path] + added if path == block.maps else outputs[path]

            with around_calls(add):
                logits = classifier.model.apply(variables, inputs, train=False)
            return logits, outputs[block.maps]

        # The gradient for the maps equals the gradient for zeros that are added to them.
        zeros = jnp.zeros((len(inputs), *block.output), classifier.dtype)
        logits, pull, maps = jax.vjp(run, zeros, has_aux=True)
        classes = _two_classes(logits, labels)
        one_hot = jax.nn.one_hot(classes, logits.shape[-1])
        cams = [_weighted(maps, pull(one_hot[:, index])[0]) for index in range(2)]
        probabilities = jnp.take_along_axis(jax.nn.softmax(logits), classes, axis=-1)
        return Cams(classes, probabilities.astype(jnp.float32), jnp.stack(cams, axis=1))

    return over_batches(classifier, compute, len(images))(images, labels.astype(np.int32))


def _two_classes(
    logits: Float[Array, 'batch classes'], labels: Int32[Array, 'batch']
) -> Int32[Array, 'batch 2']:
    first, second = jax.lax.top_k(logits, 2)[1].T
    return jnp.stack([first, jnp.where(first == labels, second, labels)], axis=-1)


def _weighted(
    maps: Float[Array, 'batch rows columns features'],
    gradient: Float[Array, 'batch rows columns features'],
) -> Float32[Array, 'batch rows columns']:
    weights = jnp.mean(gradient.astype(jnp.float32), axis=(1, 2), keepdims=True)
    return jax.nn.relu(jnp.sum(weights * maps.astype(jnp.float32), axis=-1))
