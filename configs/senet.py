"""SENet, a residual network with squeeze and excitation, on CIFAR-10.

    python -m cifar_jax.main --config configs/senet.py

Recipe: Nesterov SGD, one-cycle rate, flips and shifted crops, label smoothing, 30 epochs.
Expected: 91.9 % on the test images, in 63 minutes on one core of an AMD EPYC that does nothing else
(330 images/s), and 88.1 % after the 10 epochs of `:short`; one seed each.

Variants:
  short       10 epochs, for the comparison of networks at an equal cost.
  published   S4's recipe and augmentation; S4 reports 84.6 to 85.4 % on validation for a
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
    config.model.name = 'SENet'
    if recipe == 'published':
        variants.adam_in_steps(config)
        variants.turned_and_coloured(config)
    else:
        variants.one_cycle_sgd(config)
        config.train.length = '10 epochs' if recipe == 'short' else '30 epochs'
    if small:
        config.model.widths = (8, 16, 32, 64)
    return variants.apply(config, small)
