"""S3's small VGG with its own recipe: Adam, batch 80, 8 epochs, no augmentation.

    python -m cifar_jax.main --config configs/small_vgg.py

Expected: 77.2 % on the test images (seed 0; S3 published 76.42 %), at 285 s an epoch on one core of
an otherwise idle AMD EPYC (Zen 3).

`:ours` is the same network under Nesterov SGD, a one-cycle rate, flips and shifted crops, 60
epochs, not measured yet. `:digits` and `:ours_digits` train on scikit-learn's digits without any
download, `:smoke` and `:ours_smoke` in seconds.
"""

from ml_collections import ConfigDict

from cifar_jax.experiment import variants
from cifar_jax.experiment.defaults import get_defaults

VARIANTS = variants.with_small(('ours',))


def get_config(variant: str = '') -> ConfigDict:
    """Returns the config of a variant; '' is the full run on CIFAR-10."""
    recipe, small = variants.parts(variant)
    config = get_defaults()
    config.model.name = 'SmallVGG'
    config.data.validation = 'last'
    if recipe == 'ours':
        variants.one_cycle_sgd(config)
        config.train.length = '60 epochs'
    else:
        config.data.normalize = 'scale'
        config.optimizer.name = 'adam'
        config.schedule.rate = 1e-3
        config.train.batch_size = 80
        config.train.length = '8 epochs'
    return variants.apply(config, small)
