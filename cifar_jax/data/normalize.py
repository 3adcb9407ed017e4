"""Normalisation: constants fitted on the training part and applied to all images."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, Float32, Int, Num
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from cifar_jax.checks import require, require_choice
from cifar_jax.data import records
from cifar_jax.data.records import Images
from cifar_jax.errors import UserError

METHODS = ('scale', 'given', 'channel', 'pixel', 'center', 'zca')


class Normalizer(NamedTuple):
    """Mean and deviation of pixels in [0, 1], float32 [1 1 c] or [h w c]; and ZCA's matrix.

    The matrix is symmetric, float32 [d d] for d = h w c, pixels in the order of `reshape`.
    """

    mean: np.ndarray
    std: np.ndarray
    whitening: np.ndarray | None = None


def fit(images: Images, config: ConfigDict) -> Normalizer:
    """Returns the normaliser that `config.data` asks for.

    Args:
      images: of the training part only: no other image may influence the inputs. uint8, read a few
        at a time where they are in files, or float32 for features in the place of pixels, which are
        scaled as they are, without 'zca'.
      config: `config.data`; `normalize` is 'scale' (pixels stay in [0, 1]), 'given' (`mean` and
        `std` of the config), 'channel' or 'pixel' (a mean and a population standard deviation for
        each channel, or each pixel of each channel), 'center' (a mean for each channel) or 'zca'
        (the same, then ZCA whitening with `zca_epsilon`). A deviation of 0 is replaced by 1.

    Raises:
      UserError: an unknown method, constants that do not fit the images, or a matrix for 'zca' that
        exceeds `memory_gb`.
    """
    check(config)
    channels = images.shape[-1]
    if config.normalize == 'scale':
        return _constants([0.0] * channels, [1.0] * channels)
    if config.normalize == 'given':
        if len(config.mean) not in (1, channels) or len(config.std) not in (1, channels):
            raise UserError(
                f'config.data.mean and std must have one number for each of {channels} channels, '
                f'or one for all; they have {len(config.mean)} and {len(config.std)}.'
            )
        return _constants(
            np.broadcast_to(config.mean, channels), np.broadcast_to(config.std, channels)
        )
    if isinstance(images, np.ndarray) and images.dtype == np.float32:
        return _of_features(images, config.normalize)
    if config.normalize == 'zca':
        _check_whitening_memory(images[0].size, config.memory_gb)
    total, squares = _moments(images)
    count = len(images)
    if config.normalize != 'pixel':
        count *= images.shape[1] * images.shape[2]
        total, squares = (x.sum(axis=(0, 1), keepdims=True) for x in (total, squares))
    # Python's integers are exact, so that the difference loses nothing and nothing overflows.
    total, squares = total.astype(object), squares.astype(object)
    variance = ((count * squares - total**2) / count**2).astype(np.float64)
    std = np.where(variance > 0, np.sqrt(variance) / 255, 1)
    mean = (total / count / 255).astype(np.float32)
    if config.normalize in ('center', 'zca'):
        std = np.ones_like(mean)
    whitening = _zca(images, mean, config.zca_epsilon) if config.normalize == 'zca' else None
    return Normalizer(mean, std.astype(np.float32), whitening)


def apply(
    normalizer: Normalizer, images: Float[Array, 'batch h w c']
) -> Float[Array, 'batch h w c']:
    """Returns (images - mean) / std of images in [0, 1], whitened if there is a matrix for it.

    The result has the dtype of the images.
    """
    mean, std = (jnp.asarray(x, images.dtype)[None] for x in (normalizer.mean, normalizer.std))
    scaled = (images - mean) / std
    if normalizer.whitening is None:
        return scaled
    whitening = jnp.asarray(normalizer.whitening, images.dtype)
    return (scaled.reshape(len(images), -1) @ whitening).reshape(images.shape)


def to_unit(images: Num[Array, 'batch h w c']) -> Float[Array, 'batch h w c']:
    """Returns pixels in [0, 1] as float32; features, which are float32, as they are."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


def check(config: ConfigDict) -> None:
    """Raises UserError for an unknown method or impossible constants in `config.data`."""
    require_choice('data.normalize', config.normalize, METHODS)
    tiny, largest = (float(x) for x in (np.finfo(np.float32).tiny, np.finfo(np.float32).max))
    for key, low, rule in (('mean', -largest, ''), ('std', tiny, ' above 0')):
        numbers = tuple(config[key])
        possible = all(isinstance(x, float | int) and low <= x <= largest for x in numbers)
        rule = f'be a list of finite numbers{rule}, one for each channel or one for all'
        require(bool(numbers) and possible, f'data.{key}', numbers, rule)
    epsilon = config.zca_epsilon
    require(0 < epsilon < math.inf, 'data.zca_epsilon', epsilon, 'be above 0, such as 1e-6')


def _of_features(features: Float32[np.ndarray, 'n h w c'], method: str) -> Normalizer:
    if method == 'zca':
        raise UserError('config.data.normalize=zca is for pixels: features can have channel.')
    axes = 0 if method == 'pixel' else (0, 1, 2)
    mean = features.mean(axes, dtype=np.float64, keepdims=True)[0]
    std = features.std(axes, dtype=np.float64, keepdims=True)[0]
    std = np.where((std > 0) & (method != 'center'), std, 1)
    return Normalizer(mean.astype(np.float32), std.astype(np.float32))


def _constants(mean: ArrayLike, std: ArrayLike) -> Normalizer:
    return Normalizer(*(np.asarray(x, np.float32).reshape(1, 1, -1) for x in (mean, std)))


def _check_whitening_memory(pixels: int, memory_gb: float) -> None:
    size = 8 * pixels**2 / 2**30
    if size > memory_gb:
        raise UserError(
            f"ZCA's float64 matrix of {pixels:,} x {pixels:,} takes {size:.3g} GB, more than the "
            f'{memory_gb:g} GB allowed: choose a smaller --config.data.image_size or another '
            '--config.data.normalize, or raise --config.data.memory_gb.'
        )


def _zca(
    images: Images, mean: Float[np.ndarray, '1 1 c'], epsilon: float
) -> Float[np.ndarray, 'd d']:
    r"""Returns the whitening matrix of pixels in [0, 1] from which `mean` is subtracted.

    .. math:: U (\Lambda + \epsilon)^{-1/2} U^T, \quad U \Lambda U^T = \frac{1}{n} \sum_i x_i x_i^T

    As in Keras' `ImageDataGenerator`, the moments are about the mean of the channel.

    References:
      Krizhevsky, 2009, Learning Multiple Layers of Features from Tiny Images, appendix A.
    """
    pixels = images[0].size
    products, total = np.zeros((pixels, pixels)), np.zeros(pixels, np.int64)
    # Sums of products of whole numbers below 2^53 are exact, in whatever order.
    for chunk in records.chunks(images, 4096):
        rows = chunk.reshape(-1, pixels).astype(np.float64)
        products += rows.T @ rows
        total += chunk.sum(axis=0, dtype=np.int64).reshape(-1)
    centre = 255 * np.broadcast_to(mean.astype(np.float64), images.shape[1:]).reshape(-1)
    moved = np.outer(total / len(images), centre)
    moments = products / len(images) - moved - moved.T + np.outer(centre, centre)
    values, vectors = scipy.linalg.eigh(moments / 255**2, overwrite_a=True, driver='evd')
    # Rounding can leave a value of 0 a little below it.
    scale = 1 / np.sqrt(np.maximum(values, 0) + epsilon)
    return ((vectors * scale) @ vectors.T).astype(np.float32)


def _moments(
    images: Images,
) -> tuple[Int[np.ndarray, 'h w c'], Int[np.ndarray, 'h w c']]:
    """Returns the sums of the pixels and of their squares over all images, exact.

    A chunk is as many images as uint32 can hold the squares of, and a small temporary.
    """
    total, squares = (np.zeros(images.shape[1:], np.int64) for _ in range(2))
    for chunk in records.chunks(images, 256):
        pixels = chunk.astype(np.uint32)
        total += pixels.sum(axis=0, dtype=np.int64)
        squares += np.square(pixels).sum(axis=0, dtype=np.int64)
    return total, squares
