"""S1's networks on 25 classes of CIFAR-100, each experiment under S1's own recipe.

    python -m cifar_jax.main --config configs/cifar100_25.py:improved_bn_before_a

    variant                 network and augmentation      test accuracy published and ours (seed 0)
    base                    BaseNet                       35.48 %  37.88 %
    base_a                  with augmentation (a)         43.20 %  46.48 %
    base_b                  with augmentation (b)         43.04 %  42.12 %
    improved_a              ImprovedNet                   61.08 %  59.76 %
    improved_bn_before_a    batch norm before the ReLU    69.68 %  68.92 %; also of ''
    improved_bn_after_a     batch norm after it           68.44 %  72.36 %
    improved_bn_after_b     the same, augmentation (b)    67.64 %  68.92 %
    base_ours               BaseNet, a better recipe      none     50.32 %
    improved_ours, improved_bn_before_ours, improved_bn_after_ours
                            the same for ImprovedNet      none     not measured yet

Data: the first 25 classes, 12,500 training images of which a stratified tenth (split_seed) is for
validation, and 2,500 test images. (a): mean and standard deviation per channel, flips, shifts up to
10 %; (b): ZCA whitening, flips. Never published, and so our choice: which classes, which draw, the
batch of 32, the 30 epochs without augmentation, and pixels in [0, 1] for `base`.

Runs of one network and one seed begin with the same weights; to begin with those of another run,
`--config.init_from=WORKDIR`. Every variant has `_digits` (no download) and `_smoke` (seconds):
`:base_a_digits`; `:digits` and `:smoke` are those of ''.
"""

from ml_collections import ConfigDict

from cifar_jax.experiment import variants
from cifar_jax.experiment.defaults import get_defaults

NETWORKS = {
    'base': dict(name='BaseNet'),
    'improved': dict(name='ImprovedNet'),
    'improved_bn_before': dict(name='ImprovedNet', batch_norm='before'),
    'improved_bn_after': dict(name='ImprovedNet', batch_norm='after'),
}
EXPERIMENTS = (
    *('base', 'base_a', 'base_b', 'improved_a'),
    *('improved_bn_before_a', 'improved_bn_after_a', 'improved_bn_after_b'),
    *(f'{network}_ours' for network in NETWORKS),
)
VARIANTS = variants.with_small(EXPERIMENTS)


def get_config(variant: str = '') -> ConfigDict:
    """Returns the config of a variant."""
    experiment, small = variants.parts(variant)
    experiment = experiment or 'improved_bn_before_a'
    network = experiment.removesuffix('_a').removesuffix('_b').removesuffix('_ours')
    recipe = experiment.removeprefix(network).removeprefix('_')
    config = get_defaults()
    config.model.update(NETWORKS[network])
    config.data.source = 'cifar100'
    config.data.classes = 25
    config.data.validation_fraction = 0.1
    if recipe == 'ours':
        variants.one_cycle_sgd(config)
        config.train.length = '60 epochs'
    else:
        _published(config, recipe)
    if small and network != 'base':
        config.model.widths, config.model.hidden = (8, 16), 64
    return variants.apply(config, small)


def _published(config: ConfigDict, augmentation: str) -> None:
    config.schedule.name = 'inverse_time'
    config.schedule.rate = 0.01
    config.schedule.decay = 1e-6
    config.train.batch_size = 32
    config.data.normalize = {'': 'scale', 'a': 'channel', 'b': 'zca'}[augmentation]
    if not augmentation:
        config.train.length = '30 epochs'
        return
    config.data.augment = (dict(name='flip'),)
    if augmentation == 'a':
        config.data.augment += (dict(name='shift', fraction=0.1, mode='nearest'),)
    config.train.length = '100 epochs'
    config.train.patience = 10
    config.train.select = 'best'
