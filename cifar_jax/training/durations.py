"""Converts durations in a config (steps, epochs or a percentage of the run) to steps."""

import re

from cifar_jax.checks import require
from cifar_jax.errors import UserError

_DURATION = re.compile(r'([0-9]*\.?[0-9]+)\s*(steps?|epochs?|%)?')
# Steps are counted in int32 on the device.
_MOST_STEPS = 2**31 - 1
_MOST_EPOCHS = 1_000_000
_EXAMPLES = "'500 steps', '8 epochs', '0.5 epochs' or '10%'"


def steps(duration: int | str, *, steps_per_epoch: int, total_steps: int | None) -> int:
    """Converts a duration to a number of steps, rounded to the nearest integer.

    A duration above zero is at least one step, so that what it enables stays enabled in a short
    run. The empty string is 0 steps.

    Args:
        duration: an int or digits (steps), 'N steps', 'N epochs' or 'N%' of the run.
        steps_per_epoch: steps in one pass over the training images.
        total_steps: steps in the run; None when converting the length of the run itself.

    Raises:
        UserError: the duration is not of this form, is a fraction of a step, above 100 %, a
            percentage as the length of the run, or more steps than can be counted.

    >>> steps('0.5 epochs', steps_per_epoch=300, total_steps=None)
    150
    >>> steps('10%', steps_per_epoch=300, total_steps=4000)
    400
    """
    text = str(duration).strip()
    if not text:
        return 0
    shown = text if len(text) <= 40 else f'{text[:40]}...'
    match = _DURATION.fullmatch(text)
    if match is None:
        raise UserError(f"'{shown}' is not a duration: write {_EXAMPLES}.")
    number, unit = float(match[1]), (match[2] or 'steps').rstrip('s')
    if unit == 'step' and not number.is_integer():
        raise UserError(f"'{shown}' is not a whole number of steps: write {_EXAMPLES}.")
    if unit == '%' and total_steps is None:
        raise UserError(
            f"'{shown}' is a percentage of the run, which cannot be the length of the run: "
            "write '500 steps' or '8 epochs'."
        )
    if unit == '%' and number > 100:
        raise UserError(f"'{shown}' is more than the whole run: write {_EXAMPLES}.")
    if unit == 'epoch' and number > _MOST_EPOCHS:
        raise UserError(f"'{shown}' is too long: a run has at most {_MOST_EPOCHS:,} epochs.")
    unit_steps = {'step': 1.0, 'epoch': steps_per_epoch, '%': (total_steps or 0) / 100}[unit]
    exact = number * unit_steps
    if exact > _MOST_STEPS:
        raise UserError(f"'{shown}' is too long: a run has at most {_MOST_STEPS:,} steps.")
    return max(1, round(exact)) if exact > 0 else 0


def check(key: str, duration: int | str, *, above_zero: bool = False) -> None:
    """Checks a duration of the config before the data are known.

    Args:
        key: its dotted name; 'train.length' cannot be a percentage.
        above_zero: whether 0 is invalid.

    Raises:
        UserError: it is not a duration, too long, or 0 although it must be above 0.
    """
    total = None if key == 'train.length' else 100
    try:
        length = steps(duration, steps_per_epoch=1000, total_steps=total)
    except UserError as error:
        raise UserError(f'config.{key}: {error}') from None
    require(length > 0 or not above_zero, key, duration, "be above 0, such as '1 epochs'")
