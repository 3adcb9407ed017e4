"""Reads config files, and reports mistakes in them with file and line."""

import ast
import contextlib
import importlib.util
import inspect
import pathlib
import traceback
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from cifar_jax.errors import UserError, first_line, nearest


def read(path: pathlib.Path, variant: str) -> ConfigDict:
    """Returns the config that the `get_config` of a file returns, its keys not yet checked.

    Raises:
      UserError: the file or the variant does not exist, or the file has a mistake.
    """
    module = _module(path)
    names = _variants(path, module)
    if variant and variant not in names:
        raise UserError(f"{path} has no variant '{variant}': {nearest(variant, names)}")
    get_config = _get_config(path, module)
    with mistakes_in(path):
        config = get_config(variant)
    if not isinstance(config, ConfigDict) or isinstance(config, FrozenConfigDict):
        raise UserError(
            f'{_place(path)}: get_config must return a ConfigDict, such as that of '
            f'get_defaults(), and not {config!r:.80}.'
        )
    with mistakes_in(path):  # A reference in it may have no value.
        return config.unlock()


def variants(path: pathlib.Path) -> tuple[str, ...]:
    """Returns the names of the variants of a config file.

    Raises:
      UserError: the file does not exist, or has a mistake.
    """
    return _variants(path, _module(path))


def place_of(path: pathlib.Path, key: str) -> str:
    """Returns the file and the line that sets a key, or else that of `get_config`."""
    lines = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Assign) and any(
            ast.unparse(target).endswith(f'.{key}') for target in node.targets
        ):
            lines.append(node.lineno)
    return f'{path}, line {max(lines)}' if lines else _place(path)


@contextlib.contextmanager
def mistakes_in(path: pathlib.Path) -> Iterator[None]:
    """Turns what the code of a config file raises into a sentence with the line that raised it."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, SyntaxError) and error.filename:
            place, what = f'{error.filename}, line {error.lineno}', error.msg
        else:
            frames = traceback.extract_tb(error.__traceback__)
            # The importer makes the path of a module absolute.
            names = (str(path), str(path.absolute()))
            lines = [frame.lineno for frame in frames if frame.filename in names]
            place = f'{path}, line {lines[-1]}' if lines else str(path)
            what = first_line(error)
        raise UserError(f'{place}: {type(error).__name__}: {what.removesuffix(".")}.') from None


def _place(path: pathlib.Path) -> str:
    """Returns the file and the line of its `get_config`."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef) and node.name == 'get_config':
            return f'{path}, line {node.lineno}'
    return str(path)


def _module(path: pathlib.Path) -> ModuleType:
    if not path.is_file():
        files = [str(p) for p in path.parent.glob('*.py')]
        hint = nearest(str(path), files) if files else 'its folder has no .py file.'
        raise UserError(f'No config file {path}: {hint}')
    if path.suffix != '.py':
        raise UserError(f'{path} cannot be a config file: its name must end in .py.')
    spec = importlib.util.spec_from_file_location('config', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mistakes_in(path):
        spec.loader.exec_module(module)
    return module


def _get_config(path: pathlib.Path, module: ModuleType) -> Any:
    get_config = getattr(module, 'get_config', None)
    if not callable(get_config):
        raise UserError(f"{path} has no function get_config: write def get_config(variant=''): ...")
    try:
        inspect.signature(get_config).bind('')
    except TypeError:
        raise UserError(
            f'{_place(path)}: get_config must take the name of a variant and nothing else: write '
            "def get_config(variant=''): ..."
        ) from None
    return get_config


def _variants(path: pathlib.Path, module: ModuleType) -> tuple[str, ...]:
    names = getattr(module, 'VARIANTS', ())
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: VARIANTS must be a list of names, such as ('digits', 'smoke').")
    return tuple(names)
