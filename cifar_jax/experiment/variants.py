"""What several configs share: a recipe, and the variants that every config has."""

from collections.abc import Sequence

from ml_collections import ConfigDict

SMALL = ('digits', 'smoke')


def with_small(experiments: Sequence[str]) -> tuple[str, ...]:
    """Returns 'digits' and 'smoke', and every experiment in full and as these.

    >>> with_small(('ours',))
    ('digits', 'smoke', 'ours', 'ours_digits', 'ours_smoke')
    """
    own = (name for e in experiments for name in (e, *(f'{e}_{small}' for small in SMALL)))
    return (*SMALL, *own)


def parts(variant: str) -> tuple[str, str]:
    """Returns the experiment of a variant and the small variant of it; '' where there is none.

    >>> parts('base_a_smoke'), parts('smoke'), parts('base_a')
    (('base_a', 'smoke'), ('', 'smoke'), ('base_a', ''))
    """
    experiment, _, small = variant.rpartition('_')
    return (experiment, small) if small in SMALL else (variant, '')


def one_cycle_sgd(config: ConfigDict) -> None:
    """Nesterov SGD under a one-cycle rate, with flips, shifted crops and smoothed labels."""
    config.data.augment = (
        dict(name='flip'),
        dict(name='translate', pixels=4, mode='reflect'),
    )
    config.loss.label_smoothing = 0.1
    config.optimizer.l2 = 5e-4
    config.schedule.name = 'one_cycle'
    config.schedule.rate = 0.2
    config.schedule.start = 0.1


def apply(config: ConfigDict, variant: str) -> ConfigDict:
    """Returns the config, changed in place for 'digits' or 'smoke'; others change nothing here."""
    if variant in SMALL:
        config.data.source = 'digits'
        config.data.classes = 0
        # A mirrored digit is none.
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
    return config
