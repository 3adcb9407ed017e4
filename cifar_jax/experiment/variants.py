"""Recipes that several configs share, and the small variants that every config has."""

from collections.abc import Sequence

from ml_collections import ConfigDict

SMALL = ('digits', 'smoke')
# Means and standard deviations of RGB pixels in [0, 1]: those of `models.pretrained.catalogue`,
# which needs JAX.
_PREPROCESSING = {
    'EfficientNetLite0': ((127 / 255,) * 3, (128 / 255,) * 3),
    'EfficientNetB0': ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    'ResNet50': ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3),
}


def with_small(experiments: Sequence[str]) -> tuple[str, ...]:
    """Returns 'digits' and 'smoke', and each experiment with and without them.

    >>> with_small(('ours',))
    ('digits', 'smoke', 'ours', 'ours_digits', 'ours_smoke')
    """
    names = (name for e in experiments for name in (e, *(f'{e}_{small}' for small in SMALL)))
    return (*SMALL, *names)


def parts(variant: str) -> tuple[str, str]:
    """Splits the name of a variant into its experiment and 'digits' or 'smoke', or ''.

    >>> parts('base_a_smoke'), parts('smoke'), parts('base_a')
    (('base_a', 'smoke'), ('', 'smoke'), ('base_a', ''))
    """
    experiment, _, small = variant.rpartition('_')
    return (experiment, small) if small in SMALL else (variant, '')


def one_cycle_sgd(config: ConfigDict) -> None:
    """Sets Nesterov SGD, a one-cycle rate, flips, shifted crops and label smoothing."""
    config.data.augment = (
        dict(name='flip'),
        dict(name='translate', pixels=4, mode='reflect'),
    )
    config.loss.label_smoothing = 0.1
    config.optimizer.l2 = 5e-4
    config.schedule.name = 'one_cycle'
    config.schedule.rate = 0.2
    config.schedule.start = 0.1


def inverse_time_sgd(config: ConfigDict) -> None:
    """Sets S1's recipe: SGD at 0.01, with inverse-time decay in every step."""
    config.schedule.name = 'inverse_time'
    config.schedule.rate = 0.01
    config.schedule.decay = 1e-6


def adam_in_steps(config: ConfigDict) -> None:
    """Sets S4's recipe: Adam with L2 in the gradient, a tenth of the rate every 15 epochs."""
    config.data.normalize = 'given'
    config.optimizer.name = 'adam'
    config.optimizer.l2 = 1e-4
    config.schedule.name = 'step'
    config.schedule.rate = 1e-2
    config.schedule.decay = 0.1
    # After the 0-based epochs 14, 29, 44, 59, 74 and 89.
    config.schedule.at = tuple(f'{epochs} epochs' for epochs in range(14, 90, 15))
    config.train.length = '100 epochs'


def turned_and_coloured(config: ConfigDict) -> None:
    """Sets S4's augmentation: flips, rotations by up to 15 degrees, shifted crops and colours.

    S4 does not report the sizes of crops and colour changes: here, 4 pixels and `color`'s defaults.
    """
    config.data.augment = (
        dict(name='flip'),
        dict(name='rotate', degrees=15),
        dict(name='translate', pixels=4, mode='zero'),
        dict(name='color'),
    )


def pretrained(config: ConfigDict, model: str) -> None:
    """Sets a network with published weights, and the constants of its preprocessing."""
    config.model.name = model
    config.init_from = 'imagenet'
    config.data.normalize = 'given'
    config.data.mean, config.data.std = _PREPROCESSING[model]


def narrow_efficientnet(config: ConfigDict) -> None:
    """Sets an EfficientNetLite0 of two narrow blocks, which is drawn from the seed."""
    config.init_from = ''
    config.model = ConfigDict(
        dict(
            name='EfficientNetLite0',
            stem=8,
            widths=(8, 16),
            blocks=(1, 1),
            kernels=(3, 5),
            strides=(1, 2),
            expansions=(1, 2),
            top=32,
        )
    )


def apply(config: ConfigDict, variant: str) -> ConfigDict:
    """Returns the config, changed in place if the variant is 'digits' or 'smoke'."""
    if variant in SMALL:
        config.data.source = 'digits'
        config.data.classes = 0
        # A mirrored digit is not a digit.
        config.data.augment = tuple(
            a for a in config.data.augment if a['name'] not in ('flip', 'alternating_flip')
        )
    if variant == 'digits':
        config.train.length = '8 epochs'
        config.train.batch_size = min(config.train.batch_size, 64)
    if variant == 'smoke':
        config.train.length = '6 steps'
        config.train.batch_size = 32
        config.schedule.warmup = ''
        config.log.pictures = ''
    return config
