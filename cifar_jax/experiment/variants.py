"""What several configs share: a recipe, and the variants that every config has."""

from ml_collections import ConfigDict


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
    if variant in ('digits', 'smoke'):
        config.data.source = 'digits'
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
