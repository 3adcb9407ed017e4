"""S4's plain CNN with DropBlock on CIFAR-10, with S4's own recipe.

    python -m cifar_jax.main --config configs/plain_cnn.py

Recipe: Adam at 1e-2 with L2 in the gradient, ten times less at each sixth of 100 epochs, no
augmentation.
Expected: 79.3 % on validation and 79.4 % on test after the 10 epochs of `:short`; S4 published
78.3 % on validation for the full 100. About 880 images/s on one core of an AMD EPYC (Zen 5).

`:short` is ten epochs under a one-cycle rate, for the comparison at an equal budget of time;
`:digits` is narrower and trains on scikit-learn's digits without any download; `:smoke` takes
seconds.
"""

from ml_collections import ConfigDict

from cifar_jax.experiment import variants
from cifar_jax.experiment.defaults import get_defaults

VARIANTS = ('short', 'digits', 'smoke')


def get_config(variant: str = '') -> ConfigDict:
    """Returns the config of a variant; '' is the full run on CIFAR-10."""
    config = get_defaults()
    config.model.name = 'PlainCNN'
    config.data.normalize = 'given'
    config.optimizer.name = 'adam'
    config.optimizer.l2 = 1e-4
    config.schedule.name = 'step'
    config.schedule.rate = 1e-2
    config.schedule.decay = 0.1
    # After the 0-based epochs 14, 29, 44, 59, 74 and 89.
    config.schedule.at = tuple(f'{epochs} epochs' for epochs in range(14, 90, 15))
    config.train.length = '100 epochs'
    if variant in ('short', 'digits'):
        config.schedule.name = 'one_cycle'
        config.schedule.rate = 3e-3
        config.train.length = '10 epochs'
    if variant in ('digits', 'smoke'):
        config.model.widths = (8, 16, 32, 64, 64)
        config.model.hidden = 200
    return variants.apply(config, variant)
