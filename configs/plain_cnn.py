"""S4's plain CNN with DropBlock on CIFAR-10, with S4's own recipe.

    python -m cifar_jax.main --config configs/plain_cnn.py

Recipe: Adam at 1e-2 with L2 in the gradient, a tenth of the rate at each sixth of 100 epochs, no
augmentation.
Expected: 75.2 % on the test and on the validation images, in 80 minutes on one core of an AMD EPYC
(940 images/s). S4 reports 78.3 % on validation; docs/studies.md looks for the reason.
The 10 epochs of `:short` give 79.4 % on the test images.

Variants:
  short       10 epochs under a one-cycle rate, for the comparison of networks at an equal cost.
  augmented   With S4's augmentation; S4 reports 79.0 % on validation; not measured yet.
  ours        Nesterov SGD, a one-cycle rate, flips and shifted crops, 60 epochs: 86.9 % on the test
              images, in 50 minutes.
  digits, augmented_digits, ours_digits   A narrower network on scikit-learn's digits: no download.
  smoke, augmented_smoke, ours_smoke      The same for a few steps: seconds.
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
