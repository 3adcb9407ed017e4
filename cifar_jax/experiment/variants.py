"""The variants that every config has: `:digits` without a download, `:smoke` in seconds."""

from ml_collections import ConfigDict


def apply(config: ConfigDict, variant: str) -> ConfigDict:
    """Returns the config, changed in place for 'digits' or 'smoke'; '' changes nothing."""
    if variant in ('digits', 'smoke'):
        config.data.source = 'digits'
    if variant == 'smoke':
        config.train.length = '6 steps'
        config.train.batch_size = 32
        config.schedule.warmup = ''
    return config
