"""Checks the keys of a config for training, checkpoints and logs."""

from ml_collections import ConfigDict

from cifar_jax.checks import require, require_choice
from cifar_jax.training import durations

MONITORS = ('accuracy', 'loss')
LARGEST_BATCH = 10**6  # images that are evaluated at once
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
    require(1 <= size <= LARGEST_BATCH, 'eval_batch_size', size, f'be from 1 to {LARGEST_BATCH}')
    durations.check('checkpoint.every', config.checkpoint.every, above_zero=True)
    require(config.log.every >= 1, 'log.every', config.log.every, 'be 1 or more')
    durations.check('log.pictures', config.log.pictures)
