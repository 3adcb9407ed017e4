"""InceptionNet, modules of four branches, on CIFAR-10.

    python -m cifar_jax.main --config configs/inception.py

Recipe: Nesterov SGD, one-cycle rate, flips and shifted crops, label smoothing.
Expected: 89.4 % on validation and 89.1 % on test after the 10 epochs of `:short`; the full 30 are
not measured yet. About 240 images/s on one core of an AMD EPYC (Zen 5).

`:short` is ten epochs, for the comparison at an equal budget of time; `:digits` is narrower and
trains on scikit-learn's digits without any download; `:smoke` takes seconds.
"""

from ml_collections import ConfigDict

from cifar_jax.experiment import variants
from cifar_jax.experiment.defaults import get_defaults

VARIANTS = ('short', 'digits', 'smoke')


def get_config(variant: str = '') -> ConfigDict:
    """Returns the config of a variant; '' is the full run on CIFAR-10."""
    config = get_defaults()
    config.model.name = 'InceptionNet'
    variants.one_cycle_sgd(config)
    config.train.length = '10 epochs' if variant == 'short' else '30 epochs'
    if variant in ('digits', 'smoke'):
        config.model.stem, config.model.widths = (8, 16), (32, 64)
    return variants.apply(config, variant)
