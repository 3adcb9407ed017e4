"""S4's plain CNN with DropBlock on CIFAR-10, with S4's own recipe.

    python -m cifar_jax.main --config configs/plain_cnn.py

Recipe: Adam at 1e-2 with L2 in the gradient, ten times less at each sixth of 100 epochs, no
augmentation.
Expected: 79.3 % on validation and 79.4 % on test after the 10 epochs of `:short`; S4 published
78.3 % on validation for the full 100. About 880 images/s on one core of an AMD EPYC (Zen 5).

`:augmented` adds S4's augmentation, with which S4 saw 79.0 % on validation; `:ours` is the same
network under Nesterov SGD, a one-cycle rate, flips and shifted crops, 60 epochs; neither is
measured yet. `:short` is ten epochs under a one-cycle rate, for the comparison at an equal budget
of time. `:digits` is narrower and trains on scikit-learn's digits without any download; `:smoke`
takes seconds; so do `:augmented_digits`, `:augmented_smoke` and their like.
"""

from ml_collections import ConfigDict

from cifar_jax.experiment import variants
from cifar_jax.experiment.defaults import get_defaults

VARIANTS = ('short', *variants.with_small(('augmented', 'ours')))


def get_config(variant: str = '') -> ConfigDict:
    """Returns the config of a variant; '' is the full run on CIFAR-10."""
    recipe, small = variants.parts(variant)
    config = get_defaults()
    config.model.name = 'PlainCNN'
    if recipe == 'ours':
        variants.one_cycle_sgd(config)
        config.train.length = '60 epochs'
    else:
        variants.adam_in_steps(config)
    if recipe == 'augmented':
        variants.turned_and_coloured(config)
    if recipe == 'short' or small == 'digits':
        config.schedule.name = 'one_cycle'
        config.schedule.rate = 3e-3
        config.train.length = '10 epochs'
    if small:
        config.model.widths = (8, 16, 32, 64, 64)
        config.model.hidden = 200
    return variants.apply(config, small)
