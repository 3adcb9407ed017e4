"""S2's SimpleNet on CIFAR-100, with S2's own recipe.

    python -m cifar_jax.main --config configs/simple_net.py

Recipe: Adam at 1e-3, flips and shifts of up to 10 %. S2 does not report the batch size, the length,
the normalisation, the dropout rates and the activations: here they are 64, 30 epochs, per channel,
and the defaults of SimpleNet.
Expected: 58.6 % on the test images (S2 reports 48.3 %), in 1.5 hours on one core of an AMD EPYC
(Zen 4), with a second run on the other core.

Variants:
  ours        Nesterov SGD, a one-cycle rate, flips and shifted crops, 30 epochs; not measured yet.
  digits, ours_digits   A narrower network on scikit-learn's digits: no download.
  smoke, ours_smoke     The same for a few steps: seconds.
"""

from ml_collections import ConfigDict

from cifar_jax.experiment import variants
from cifar_jax.experiment.defaults import get_defaults

VARIANTS = variants.with_small(('ours',))


def get_config(variant: str = '') -> ConfigDict:
    """Returns the config of a variant; '' is the published recipe on CIFAR-100."""
    recipe, small = variants.parts(variant)
    config = get_defaults()
    config.model.name = 'SimpleNet'
    config.data.source = 'cifar100'
    if recipe == 'ours':
        variants.one_cycle_sgd(config)
        config.train.length = '30 epochs'
    else:
        config.data.augment = (
            dict(name='flip'),
            dict(name='shift', fraction=0.1, mode='nearest'),
        )
        config.optimizer.name = 'adam'
        config.schedule.rate = 1e-3
        config.train.batch_size = 64
        config.train.length = '30 epochs'
    if small:
        config.model.widths, config.model.hidden = (8, 16, 16, 32), (32, 32)
    return variants.apply(config, small)
