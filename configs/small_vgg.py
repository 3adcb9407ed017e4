"""S3's small VGG on CIFAR-10, with S3's own recipe.

    python -m cifar_jax.main --config configs/small_vgg.py

Recipe: Adam at 1e-3, batches of 80, 8 epochs, no augmentation, the last fifth for validation.
Expected: 75.6 +- 0.5 % on the test images (three seeds; S3 reports 76.42 % of one run), in six
minutes on one idle core of an AMD EPYC (Zen 4).

Variants:
  ours        Nesterov SGD, a one-cycle rate, flips and shifted crops, 60 epochs; not measured yet.
  digits, ours_digits   The same network on scikit-learn's digits: no download.
  smoke, ours_smoke     The same for a few steps: seconds.
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
