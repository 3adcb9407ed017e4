"""A model's variables as one .npz file, which holds arrays and no code."""

import pathlib
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from cifar_jax.checks import require_home
from cifar_jax.errors import UserError

FILE = 'initial.npz'  # in a workdir: the variables before the first step
_DAMAGED = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error)


def save(path: pathlib.Path, variables: Mapping[str, PyTree]) -> None:
    """Writes variables to a file in one step; names are paths, 'params/Conv_0/kernel'."""
    draft = path.with_suffix('.tmp')
    with draft.open('wb') as file:
        arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in _named(variables)}
        np.savez(file, **arrays)
    draft.replace(path)


def check(init_from: str) -> None:
    """Raises UserError where the path of `config.init_from` begins with an unknown user's home."""
    require_home('init_from', init_from)


def load(path: pathlib.Path, shapes: Mapping[str, PyTree]) -> Mapping[str, PyTree]:
    """Returns the variables of a file, or of the file in a workdir.

    Args:
      shapes: the variables of the model that they are for, as `jax.eval_shape` gives them.

    Raises:
      UserError: there is no such file, it is damaged, or it is of another network.
    """
    path = path.expanduser()
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f'--config.init_from={path}: there is no {file}: name the workdir of a run that has '
            f'begun, or its {FILE}.'
        )
    try:
        with file.open('rb') as stream, np.load(stream, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except (*_DAMAGED, AttributeError) as error:  # a lone .npy file is no archive
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f'--config.init_from: {file} is damaged or no .npz file ({reason}): restore it, or '
            'name another run.'
        ) from None
    wanted = dict(_named(shapes))
    for name in sorted(wanted.keys() | found.keys()):
        here, there = _kind(wanted.get(name)), _kind(found.get(name))
        if here != there:
            raise UserError(
                f'--config.init_from: {file} is of another network: {name} is {there} there and '
                f'{here} here.'
            )
    return jax.tree_util.tree_map_with_path(lambda path, _: found[_name(path)], shapes)


def _named(tree: PyTree) -> list[tuple[str, Any]]:
    return [(_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _name(path: tuple[Any, ...]) -> str:
    return '/'.join(key.key for key in path)


def _kind(leaf: Any) -> str:
    return 'absent' if leaf is None else f'{np.dtype(leaf.dtype)}{list(leaf.shape)}'
