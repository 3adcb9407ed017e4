"""S2's ComplexNet, a VGG-16, on CIFAR-100, with S2's own recipe.

    python -m cifar_jax.main --config configs/complex_net.py

Recipe: SGD from 0.1 with momentum 0.9, exponential decay, L2, flips, shifts of up to 10 % and
rotations of up to 15 degrees. S2 does not report the rest: here it is Nesterov's momentum, batches
of 128, 100 epochs, half the rate every 20 epochs, L2 of 5e-4, dropout of 0.3 to 0.5, and pixels
normalised per channel.
Expected: S2 reports 62.9 % on the test images; accuracy and time are not measured here yet.

Variants:
  ours        A one-cycle rate, half the dropout, flips and shifted crops, 60 epochs; not measured
              yet.
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
    config.model.name = 'ComplexNet'
    config.data.source = 'cifar100'
    if recipe == 'ours':
        variants.one_cycle_sgd(config)
        config.model.dropouts = (0.15, 0.2, 0.2, 0.2, 0.2)
        config.train.length = '60 epochs'
    else:
        config.data.augment = (
            dict(name='flip'),
            dict(name='shift', fraction=0.1, mode='nearest'),
            dict(name='rotate', degrees=15, mode='nearest'),
        )
        config.optimizer.l2 = 5e-4
        config.schedule.name = 'exponential'
        config.schedule.rate = 0.1
        config.schedule.decay = 0.5
        config.schedule.every = '20 epochs'
        config.train.length = '100 epochs'
    if small:
        config.model.widths, config.model.convs = (8, 16, 32), (2, 2, 3)
        config.model.dropouts = config.model.get('dropouts', (0.3, 0.4, 0.4))[:3]
        config.model.hidden = 32
    return variants.apply(config, small)
