"""Config files, their variants, command-line overrides, and the check of all of it."""

import ast
import importlib.util
import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from cifar_jax.errors import UserError, nearest

# Their keys are the options of a model: which ones there are depends on the model's name.
_FREE = ('model',)


def load(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Returns the checked config of `FILE[:variant]` with `--config.key=value` overrides.

    Raises:
      UserError: the file, the variant or a key is not there, or a value is impossible.
    """
    path, variant = _parts(spec)
    config = _from_file(pathlib.Path(path), variant)
    for key, value in pairs(overrides):
        _override(config, key, value)
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


def variants(path: pathlib.Path) -> tuple[str, ...]:
    """Returns the names of the variants of a config file.

    Raises:
      UserError: the file is not there.
    """
    return tuple(getattr(_module(path), 'VARIANTS', ()))


def _module(path: pathlib.Path) -> Any:
    if not path.is_file():
        known = [str(p) for p in path.parent.glob('*.py')]
        raise UserError(f'No config file {path}: {nearest(str(path), known)}')
    module_spec = importlib.util.spec_from_file_location(f'config_{path.stem}', path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module


def _from_file(path: pathlib.Path, variant: str) -> ConfigDict:
    module = _module(path)
    known = getattr(module, 'VARIANTS', ())
    if variant and variant not in known:
        raise UserError(f"{path} has no variant '{variant}': {nearest(variant, known)}")
    return module.get_config(variant)


def pairs(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Splits `--config.a=1` and `--config.a 1` into names and texts.

    Raises:
      UserError: an argument is no override, or has no value.
    """
    found, rest = [], list(arguments)
    while rest:
        head = rest.pop(0)
        if not head.startswith('--config.'):
            raise UserError(f"Unknown argument '{head}': overrides look like --config.seed=1.")
        key, equals, value = head.removeprefix('--config.').partition('=')
        if not equals:
            if not rest or rest[0].startswith('--'):
                raise UserError(f'--config.{key} needs a value: write --config.{key}=VALUE.')
            value = rest.pop(0)
        found.append((key, value))
    return found


def _override(config: ConfigDict, key: str, text: str) -> None:
    *parents, leaf = key.split('.')
    node = config
    for part in parents:
        if part not in node or not isinstance(node[part], ConfigDict):
            _unknown(key, config)
        node = node[part]
    value = _parse(text)
    if leaf not in node:
        if tuple(parents) != _FREE:
            _unknown(key, config)
        node[leaf] = value
        return
    default = node[leaf]
    if isinstance(default, ConfigDict):
        raise UserError(f'--config.{key} is a group: set one of its keys, {", ".join(default)}.')
    if tuple(parents) == _FREE and leaf != 'name':
        with node.ignore_type():
            node[leaf] = value  # models.check knows the types
        return
    node[leaf] = _as_type(key, value, text, default)


def _parse(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {'true': True, 'false': False}.get(text.lower(), text)


def _as_type(key: str, value: object, text: str, default: object) -> object:
    if isinstance(default, str):
        return text
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        return tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is type(default):
        return value
    wanted = 'a list' if isinstance(default, tuple) else f'of type {type(default).__name__}'
    raise UserError(f'--config.{key}={text} is not {wanted}: its default is {default!r}.')


def flat(config: ConfigDict) -> dict[str, Any]:
    """Returns the config as one level of dotted keys; tuples stay values."""
    found = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            found.update({f'{key}.{inner}': v for inner, v in flat(value).items()})
        else:
            found[key] = value
    return found


def _unknown(key: str, config: ConfigDict) -> None:
    raise UserError(f"No config key '{key}': {nearest(key, flat(config))}")


def check(config: ConfigDict) -> None:
    """Refuses unknown names and impossible values before anything is loaded.

    Raises:
      UserError: one sentence with the key, its value and what would be valid.
    """
    # The owners of the keys load JAX, which neither --help nor a misspelt key needs.
    from cifar_jax import models
    from cifar_jax.data import augment, normalize, sources, splits
    from cifar_jax.ops import backend
    from cifar_jax.training import (
        limits,
        numpy_network,
        optimizers,
        parallel,
        precision,
        weights,
    )

    data = config.data
    sources.check(data)
    splits.check(data.validation, data.validation_fraction, data.split_seed)
    normalize.check(data)
    augment.check(data.augment)
    limits.check(config)
    optimizers.check(config)
    weights.check(config.init_from)
    precision.check(config.precision)
    parallel.check(config.mesh.devices)
    backend.check(config.ops.backend)
    if data.validation == 'none' and (config.train.patience or config.train.select == 'best'):
        raise UserError(
            'config.train.patience and select=best need validation images: '
            "set config.data.validation to 'stratified', 'last' or 'random'."
        )
    if config.model.name == numpy_network.MODEL:
        numpy_network.check(config, flat(config))
    else:
        models.check(config.model.name, {k: v for k, v in config.model.items() if k != 'name'})
