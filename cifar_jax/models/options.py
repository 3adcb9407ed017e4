"""Checks of a model's options before it is built.

`check_types` checks each option by its field: a `Literal` type lists the choices, otherwise the
default value determines the type. A model's method `check` adds its own rules with the functions
below.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from cifar_jax.checks import require, require_choice
from cifar_jax.errors import UserError, nearest

_NO_OPTIONS = ('classes', 'dtype', 'parent', 'name')


def tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options with lists, as they come from JSON and configs, converted to tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}


def defaults(model: type[nn.Module]) -> dict[str, Any]:
    """Returns the options of a model's class, with their defaults."""
    return {name: field.default for name, field in _fields(model).items()}


def check_types(model: type[nn.Module], options: Mapping[str, Any]) -> None:
    """Checks that a model has these options, and that their values are of the right type.

    Raises:
      UserError: an option is unknown, or its value has another type than the default, is not one of
        the choices of its `Literal` type, or is an integer below 1.
    """
    fields = _fields(model)
    for option, value in options.items():
        if option not in fields:
            raise UserError(f"{model.__name__} has no option '{option}': {nearest(option, fields)}")
        _check_type(f'model.{option}', value, fields[option])


def demand(model: nn.Module, condition: bool, option: str, rule: str) -> None:
    """Raises UserError with a rule such as 'be a multiple of 16', unless the condition holds."""
    require(condition, f'model.{option}', getattr(model, option), rule)


def check_rates(model: nn.Module, *options: str) -> None:
    """Raises UserError unless these options, numbers or lists of numbers, lie in [0, 1)."""
    for option in options:
        value = getattr(model, option)
        rates = value if isinstance(value, tuple) else (value,)
        demand(model, all(0 <= rate < 1 for rate in rates), option, 'be at least 0 and below 1')


def check_at_most(model: nn.Module, option: str, largest: int) -> None:
    """Raises UserError if this option, a number, is above its largest value."""
    demand(model, getattr(model, option) <= largest, option, f'be at most {largest}')


def check_lengths(model: nn.Module, option: str, *others: str) -> None:
    """Raises UserError unless these lists have the same length, at least 1."""
    value = getattr(model, option)
    demand(model, bool(value), option, 'have at least one entry')
    for other in others:
        equal = len(getattr(model, other)) == len(value)
        demand(model, equal, other, f'have as many entries as config.model.{option}={value!r}')


def _fields(model: type[nn.Module]) -> dict[str, dataclasses.Field]:
    fields = dataclasses.fields(model)  # type: ignore[arg-type]
    return {field.name: field for field in fields if field.name not in _NO_OPTIONS}


def _check_type(key: str, value: Any, field: dataclasses.Field) -> None:
    default = field.default
    if typing.get_origin(field.type) is typing.Literal:
        require_choice(key, value, typing.get_args(field.type))
    elif isinstance(default, tuple):
        require(isinstance(value, (list, tuple)), key, value, f'be a list, such as {default!r}')
        # Of an empty list, the annotation alone has the type of the entries: tuple[int, ...].
        example = default[0] if default else typing.get_args(field.type)[0](1)
        for entry in value:
            _check_scalar(key, value, entry, example)
    else:
        _check_scalar(key, value, value, default)


def _check_scalar(key: str, value: Any, entry: Any, default: Any) -> None:
    """Checks a value, or one entry of a list, against the default of its option."""
    prefix = 'be' if entry is value else 'be a list whose entries are each'
    if isinstance(default, bool):
        require(isinstance(entry, bool), key, value, f'{prefix} True or False')
    elif isinstance(default, (int, float)):
        number = isinstance(entry, (int, float)) and not isinstance(entry, bool)
        finite = number and math.isfinite(entry)
        require(finite, key, value, f'{prefix} a number, such as {default!r}')
        if isinstance(default, int):
            positive = isinstance(entry, int) and entry > 0
            require(positive, key, value, f'{prefix} a whole number above 0')
