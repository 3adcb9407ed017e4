"""Checks of a model's options before it is built.

`check_types` judges each option by its field: a `Literal` type lists the choices, and otherwise the
default says the type. What else a model demands, its method `check` says with the functions below.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from cifar_jax.errors import UserError, nearest

_NO_OPTIONS = ('classes', 'dtype', 'parent', 'name')


def tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options with every list, as JSON and configs have them, made a tuple."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}


def defaults(model: type[nn.Module]) -> dict[str, Any]:
    """Returns the options of a model's class, with their defaults."""
    return {name: field.default for name, field in _fields(model).items()}


def check_types(model: type[nn.Module], options: Mapping[str, Any]) -> None:
    """Checks that a model has these options, and that their values are of the right type.

    Raises:
      UserError: one is unknown, or its value is of another type than its default, is not among the
        choices of its `Literal` type, or is a whole number below 1.
    """
    fields = _fields(model)
    for option, value in options.items():
        if option not in fields:
            raise UserError(f"{model.__name__} has no option '{option}': {nearest(option, fields)}")
        problem = _problem(value, fields[option])
        if problem:
            raise UserError(f'config.model.{option}={value!r} {problem}.')


def require(model: nn.Module, condition: bool, option: str, demand: str) -> None:
    """Raises UserError with a demand such as 'must be a multiple of 16', unless it is met."""
    if not condition:
        raise UserError(f'config.model.{option}={getattr(model, option)!r} {demand}.')


def check_rates(model: nn.Module, *options: str) -> None:
    """Raises UserError unless these options, numbers or lists of numbers, lie in [0, 1)."""
    for option in options:
        value = getattr(model, option)
        rates = value if isinstance(value, tuple) else (value,)
        inside = all(0 <= rate < 1 for rate in rates)
        require(model, inside, option, 'must be at least 0 and below 1')


def check_lengths(model: nn.Module, option: str, *others: str) -> None:
    """Raises UserError unless these lists have equally many entries, and at least one."""
    value = getattr(model, option)
    require(model, bool(value), option, 'must have at least one entry')
    for other in others:
        same = len(getattr(model, other)) == len(value)
        require(model, same, other, f'must have as many entries as {option}={value!r}')


def _fields(model: type[nn.Module]) -> dict[str, dataclasses.Field]:
    fields = dataclasses.fields(model)  # type: ignore[arg-type]
    return {field.name: field for field in fields if field.name not in _NO_OPTIONS}


def _problem(value: Any, field: dataclasses.Field) -> str:
    """Returns what is wrong with the type of an option's value, or ''."""
    if typing.get_origin(field.type) is typing.Literal:
        choices = typing.get_args(field.type)
        return '' if value in choices else f'is not a choice: {nearest(str(value), choices)}'
    default = field.default
    if not isinstance(default, tuple):
        return _number_problem(value, default)
    if not isinstance(value, (list, tuple)):
        return f'must be a list, such as {default!r}'
    problems = (_number_problem(item, default[0]) for item in value if default)
    return next((f'has an entry that {problem}' for problem in problems if problem), '')


def _number_problem(value: Any, default: Any) -> str:
    if isinstance(default, bool):
        return '' if isinstance(value, bool) else 'must be True or False'
    if not isinstance(default, (int, float)):
        return ''
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return f'must be a number, such as {default!r}'
    if isinstance(default, int) and (not isinstance(value, int) or value < 1):
        return 'must be a whole number above 0'
    return ''
