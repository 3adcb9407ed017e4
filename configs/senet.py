"""SENet, a residual network with squeeze and excitation, on CIFAR-10.

    python -m cifar_jax.main --config configs/senet.py

Recipe: Nesterov SGD, one-cycle rate, flips and shifted crops, label smoothing.
Expected: 88.3 % on validation and 88.1 % on test after the 10 epochs of `:short`; the full 30 are
not measured yet. About 335 images/s on one core of an AMD EPYC (Zen 5).

`:published` is S4's own recipe with its augmentation, with which S4 saw 84.6 to 85.4 % on
validation for a network of this name whose sizes were never published; not measured yet. `:short`
is ten epochs, for the comparison at an equal budget of time. `:digits` and `:published_digits` are
narrower and train on scikit-learn's digits without any download; `:smoke` and `:published_smoke`
take seconds.
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
