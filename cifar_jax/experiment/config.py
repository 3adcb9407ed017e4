"""The config of a run: a file, its variant and overrides, and the check of every value."""

import ast
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from cifar_jax.checks import require
from cifar_jax.errors import UserError, nearest
from cifar_jax.experiment import config_files
from cifar_jax.experiment.defaults import get_defaults

_TYPES = {bool: 'True or False', int: 'a whole number', float: 'a number', tuple: 'a list'}


def load(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Returns the checked config of `FILE[:variant]` with `--config.key=value` overrides.

    Raises:
      UserError: the file, the variant or a key does not exist, or a value is impossible.
    """
    text, variant = _parts(spec)
    path = pathlib.Path(text)
    config = config_files.read(path, variant)
    values = flat(config)
    for key, value in values.items():
        try:
            _set(config, key, value)
        except UserError as error:
            raise UserError(f'{config_files.place_of(path, key)}: {error}') from None
    for key in _defaults():
        if key not in values:
            raise UserError(f'{path} lacks {key}: get_config must begin with get_defaults().')
    for key, override in pairs(overrides):
        _set(config, key, _parsed(key, override))
    check(config)
    return config.lock()


def name(spec: str) -> str:
    """Returns a name for the runs of `configs/senet.py:digits`: 'senet-digits'."""
    path, variant = _parts(spec)
    return '-'.join(filter(None, (pathlib.Path(path).stem, variant)))


def _parts(spec: str) -> tuple[str, str]:
    # From the right: a Windows path has a colon behind its drive.
    path, colon, variant = spec.rpartition(':')
    return (path, variant) if colon and path[1:] else (spec, '')


def pairs(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Splits `--config.a=1` and `--config.a 1` into names and texts.

    Raises:
      UserError: an argument is not an override, or has no value.
    """
    overrides, rest = [], list(arguments)
    while rest:
        head = rest.pop(0)
        if not head.startswith('--config.'):
            raise UserError(f"Unknown argument '{head}': overrides look like --config.seed=1.")
        key, equals, value = head.removeprefix('--config.').partition('=')
        if not equals:
            if not rest or rest[0].startswith('--'):
                raise UserError(f'--config.{key} needs a value: write --config.{key}=VALUE.')
            value = rest.pop(0)
        overrides.append((key, value))
    return overrides


@functools.cache
def _defaults() -> dict[str, Any]:
    return flat(get_defaults())


def _parsed(key: str, text: str) -> object:
    """Returns the value of an override; that of a key for text is the text."""
    if isinstance(_defaults().get(key), str):
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {'true': True, 'false': False}.get(text.lower(), text)


def _set(config: ConfigDict, key: str, value: object) -> None:
    """Sets a key to a value of the type that its default has.

    Raises:
      UserError: there is no such key, or the value is of another type.
    """
    *parents, leaf = key.split('.')
    defaults = _defaults()
    if parents == ['model'] and leaf != 'name':
        typed = value  # models.check knows the options of each model, and their types.
    elif key in defaults:
        typed = _typed(key, value, defaults[key])
    else:
        inside = [name for name in defaults if name.startswith(f'{key}.')]
        if inside:
            raise UserError(f'config.{key} is a group: set one of its keys, {", ".join(inside)}.')
        raise UserError(f"No config key '{key}': {nearest(key, defaults)}")
    group = config
    for parent in parents:
        group = group[parent]
    if leaf not in group or group[leaf] is not typed:
        with group.ignore_type():
            group[leaf] = typed


def _typed(key: str, value: Any, default: Any) -> Any:
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        return tuple(value)
    if isinstance(default, float) and type(value) is int and abs(value) < 2**64:
        value = float(value)
    rule = f'be {_TYPES.get(type(default), "text")}, such as {default!r}'
    same = isinstance(value, bool) == isinstance(default, bool)
    require(same and isinstance(value, type(default)), key, value, rule)
    return value


def check_types(config: ConfigDict) -> None:
    """Checks that the values of known keys have the types of their defaults.

    Raises:
      UserError: the key, its value and its type.
    """
    for key, value in flat(config).items():
        if key in _defaults():
            _typed(key, value, _defaults()[key])


def flat(config: ConfigDict) -> dict[str, Any]:
    """Returns the config as one level of dotted keys; tuples stay values."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            values |= {f'{key}.{inner}': v for inner, v in flat(value).items()}
        else:
            values[str(key)] = value
    return values


def check(config: ConfigDict) -> None:
    """Refuses unknown names and impossible values before anything is loaded.

    Raises:
      UserError: one sentence with the key, its value and what would be valid.
    """
    # The owners of the keys load JAX, which neither --help nor a misspelt key needs.
    from cifar_jax.data import augment, normalize, sources, splits
    from cifar_jax.ops import backend
    from cifar_jax.training import (
        limits,
        optimizers,
        parallel,
        precision,
        weights,
    )
    from cifar_jax.training.trainers import trainer_of

    data = config.data
    sources.check(data)
    splits.check(data.validation, data.validation_fraction, data.split_seed)
    normalize.check(data)
    augment.check(data.augment)
    limits.check(config)
    optimizers.check(config)
    weights.check(config)
    precision.check(config.precision)
    parallel.check(config.mesh.devices)
    backend.check(**config.ops)
    if data.validation == 'none' and (config.train.patience or config.train.select == 'best'):
        raise UserError(
            'config.train.patience and select=best need validation images: '
            "set config.data.validation to 'stratified', 'last' or 'random'."
        )
    trainer_of(config.model.name).check(config, flat(config))
