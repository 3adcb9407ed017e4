"""Checks the keys of a config for training, checkpoints and logs."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from cifar_jax.checks import require, require_choice
from cifar_jax.training import durations

MONITORS = ('accuracy', 'loss')
LARGEST_BATCH = 10**6  # images that are evaluated at once
# Images that are evaluated at once by default: at most so many, with at most so many pixels.
_EVALUATED = 500
_PIXELS = _EVALUATED * 64 * 64
SELECTIONS = ('last', 'best')


def check(config: ConfigDict) -> None:
    """Checks `seed`, `train`, `eval_batch_size`, `checkpoint` and `log` of a config.

    Raises:
      UserError: a value is invalid.
    """
    train = config.train
    # JAX's keys and scikit-learn's draws use 32 bits: larger seeds would repeat smaller ones.
    require(0 <= config.seed < 2**32, 'seed', config.seed, 'be from 0 to 2**32 - 1')
    durations.check('train.length', train.length, above_zero=True)
    require(train.batch_size >= 1, 'train.batch_size', train.batch_size, 'be 1 or more')
    parts = train.accumulate
    divides = 1 <= parts <= train.batch_size and train.batch_size % parts == 0
    rule = f'divide config.train.batch_size={train.batch_size} evenly'
    require(divides, 'train.accumulate', parts, rule)
    rule = 'be 1 or more, or 0 never to stop early'
    require(train.patience >= 0, 'train.patience', train.patience, rule)
    require_choice('train.monitor', train.monitor, MONITORS)
    require_choice('train.select', train.select, SELECTIONS)
    size = config.eval_batch_size
    rule = f'be from 1 to {LARGEST_BATCH}, or 0 for a number that fits the size of the images'
    require(0 <= size <= LARGEST_BATCH, 'eval_batch_size', size, rule)
    durations.check('checkpoint.every', config.checkpoint.every, above_zero=True)
    require(config.log.every >= 1, 'log.every', config.log.every, 'be 1 or more')
    durations.check('log.pictures', config.log.pictures)


def with_evaluation_batch(config: ConfigDict, image_shape: Sequence[int]) -> ConfigDict:
    """Returns a copy of a config with the number of images to evaluate at once.

    By default, that is 500 images of up to 64x64 pixels, and fewer of larger ones, for which the
    memory of a network's activations grows: 40 of 224x224.

    Args:
      image_shape: [h w c] of the images, unless `config.model.input_size` replaces h and w.
    """
    config = config.copy_and_resolve_references()
    size = config.model.get('input_size', 0)
    height, width = (size, size) if size else image_shape[:2]
    fitting = min(_EVALUATED, max(1, _PIXELS // (height * width)))
    config.eval_batch_size = config.eval_batch_size or fitting
    return config
