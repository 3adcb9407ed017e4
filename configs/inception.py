"""InceptionNet, modules of four branches, on CIFAR-10.

    python -m cifar_jax.main --config configs/inception.py

Recipe: Nesterov SGD, one-cycle rate, flips and shifted crops, label smoothing, 30 epochs.
Expected: 92.3 % on the test images, in 1.7 hours on one core of an AMD EPYC (Zen 4), with a second
run on the other core; 89.1 % after the 10 epochs of `:short`, in 30 minutes.

Variants:
  short       10 epochs, for the comparison of networks at an equal cost.
  published   S4's recipe and augmentation; S4 reports 54.8 to 70.7 % on validation for a
              network of this name whose sizes were never published; not measured yet.
  digits, published_digits   A narrower network on scikit-learn's digits: no download.
  smoke, published_smoke     The same for a few steps: seconds.
"""

from ml_collections import ConfigDict

from cifar_jax.experiment import variants
from cifar_jax.experiment.defaults import get_defaults

VARIANTS = ('short', *variants.with_small(('published',)))


def get_config(variant: str = '') -> ConfigDict:
    """Returns the config of a variant; '' is the full run on CIFAR-10."""
    recipe, small = variants.parts(variant)
    config = get_defaults()
    config.model.name = 'InceptionNet'
    if recipe == 'published':
        variants.adam_in_steps(config)
        variants.turned_and_coloured(config)
    else:
        variants.one_cycle_sgd(config)
        config.train.length = '10 epochs' if recipe == 'short' else '30 epochs'
    if small:
        config.model.stem, config.model.widths = (8, 16), (32, 64)
    return variants.apply(config, small)
