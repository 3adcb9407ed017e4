"""Checks of a model's options before anything is built, so that errors name the option."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from cifar_jax.errors import UserError, nearest

NO_OPTIONS = ('classes', 'dtype', 'parent', 'name')
CHOICES = {
    'batch_norm': ('none', 'before', 'after'),
    'dropblock_gamma': ('published', 'ghiasi'),
    'dropblock_schedule': ('constant', 'linear'),
}
# Two options that need as many entries as each other.
SAME_LENGTH = {
    'blocks': 'widths',
    'convs': 'widths',
    'dropouts': 'widths',
    'kernels': 'widths',
    'modules': 'widths',
}
MULTIPLES = {('InceptionNet', 'widths'): 16}


def tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options with every list, as JSON and configs have them, made a tuple."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}


def defaults(model: type[nn.Module]) -> dict[str, Any]:
    """Returns the options that a model has, with their defaults."""
    fields = dataclasses.fields(model)  # type: ignore[arg-type]
    return {field.name: field.default for field in fields if field.name not in NO_OPTIONS}


def check_options(name: str, model: type[nn.Module], options: Mapping[str, Any]) -> None:
    """Raises UserError for an option that `model` lacks or a value that it cannot have."""
    known = defaults(model)
    for option, value in options.items():
        if option not in known:
            raise UserError(f"{name} has no option '{option}': {nearest(option, known)}")
        problem = _problem(name, option, value, known[option])
        if problem:
            raise UserError(f'{name}: {option}={value!r} {problem}')
    merged = {**known, **tuples(options)}
    for option, other in SAME_LENGTH.items():
        if option in known and len(merged[option]) != len(merged[other]):
            raise UserError(
                f'{name}: {option}={merged[option]!r} and {other}={merged[other]!r} must have '
                'as many entries'
            )
    if len(merged.get('dropblock_sizes', ())) > len(merged['widths']):
        raise UserError(f'{name}: dropblock_sizes can have at most as many entries as widths')


def _problem(name: str, option: str, value: Any, default: Any) -> str:
    """Returns what is wrong with a value, judged by its option's default, or ''."""
    if option in CHOICES:
        choices = CHOICES[option]
        return '' if value in choices else f'is no choice: {nearest(str(value), choices)}'
    if isinstance(default, bool):
        return '' if isinstance(value, bool) else 'must be True or False'
    if isinstance(default, tuple):
        if not isinstance(value, (list, tuple)) or (not value and option != 'dropblock_sizes'):
            return f'must be a list, such as {default!r}'
        problems = (_problem(name, option, item, default[0]) for item in value)
        return next(filter(None, problems), '')
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f'must be a number, such as {default!r}'
    if isinstance(default, float):
        return '' if 0 <= value < 1 else 'must be at least 0 and below 1'
    multiple = MULTIPLES.get((name, option), 1)
    if not isinstance(value, int) or value < 1 or value % multiple:
        return f'must be made of whole numbers above 0{_of(multiple)}'
    return ''


def _of(multiple: int) -> str:
    return f', multiples of {multiple}' if multiple > 1 else ''
