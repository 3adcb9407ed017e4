"""S1's networks on 25 classes of CIFAR-100, each experiment with S1's own recipe.

    python -m cifar_jax.main --config configs/cifar100_25.py:improved_bn_before_a

Test accuracy as S1 reports it and as measured here (seed 0); time on one core of an AMD EPYC:

    variant                 network and augmentation       S1       here     time
    base                    BaseNet                        35.48 %  37.88 %    55 s
    base_a                  with augmentation (a)          43.20 %  46.48 %    2 min
    base_b                  with augmentation (b)          43.04 %  42.12 %   10 min
    improved_a              ImprovedNet, (a)               61.08 %  59.76 %   23 min
    improved_bn_before_a    batch norm before the ReLU     69.68 %  68.92 %   34 min  the default
    improved_bn_after_a     batch norm after the ReLU      68.44 %  72.36 %  107 min
    improved_bn_after_b     the same, (b)                  67.64 %  68.92 %   46 min
    base_ours               BaseNet, a better recipe                50.32 %    8 min
    improved_ours           the same for ImprovedNet                75.56 %   10 min
    improved_bn_before_ours, improved_bn_after_ours
                            with batch norm                         not measured yet

Data: the first 25 classes, 12,500 training images, a stratified tenth of which (split_seed) is for
validation, and 2,500 test images. (a): mean and standard deviation per channel, flips, shifts of up
to 10 %; (b): ZCA whitening, flips. S1 does not report which classes, which split, the batch size
(32 here), the length without augmentation (30 epochs) and the range of pixels for `base` ([0, 1]).

Runs of one network and one seed start from the same weights; `--config.init_from=WORKDIR` starts
from those of another run. Every variant has a `_digits` (no download) and a `_smoke` form
(seconds), such as `:base_a_digits`; `:digits` and `:smoke` are those of the default.
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
        if network == 'improved':  # without batch norm, it stays at chance with 0.2
            config.schedule.rate = 0.05
        config.train.length = '60 epochs'
    else:
        _published(config, recipe)
    if small and network != 'base':
        config.model.widths, config.model.hidden = (8, 16), 64
    return variants.apply(config, small)


def _published(config: ConfigDict, augmentation: str) -> None:
    variants.inverse_time_sgd(config)
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
