"""Initial weights of a run: files of them, and matching them by name with a model."""

import fnmatch
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

from cifar_jax import files
from cifar_jax.checks import require, require_home
from cifar_jax.errors import UserError, nearest

FILE = 'initial.npz'  # in a workdir: the variables before the first step
INITIAL = 'initial'
CHECKPOINTS = (INITIAL, 'chosen', 'best', 'latest')
_MAX_NAMES = 5  # in a message


class Source(NamedTuple):
    """Weights from elsewhere, by name: 'params/stem/kernel', 'batch_stats/stem_norm/mean'."""

    where: str  # for messages
    arrays: Mapping[str, np.ndarray]


class Match(NamedTuple):
    """The arrays that a model takes from a source; missing ones are drawn from the seed."""

    arrays: dict[str, np.ndarray]  # by name in the model
    account: list[str]  # lines that account for each tensor of both sides


def save(path: pathlib.Path, variables: Mapping[str, PyTree]) -> None:
    """Writes variables to an .npz file atomically; names are paths, 'params/Conv_0/kernel'."""
    files.write_arrays(path, named(variables))


def named(variables: Mapping[str, PyTree]) -> dict[str, Any]:
    """Returns the leaves of variables by their paths, such as 'params/Conv_0/kernel'."""
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {path_name(path): leaf for path, leaf in leaves}


def path_name(path: tuple[Any, ...]) -> str:
    """Returns a path in variables, from `jax.tree_util`, as text: 'params/Conv_0/kernel'."""
    return '/'.join(key.key for key in path)


def check(config: ConfigDict) -> None:
    """Checks `config.init_from`, `config.init_rename` and `config.init_skip`; opens no file.

    Raises:
      UserError: a value is impossible, or without effect because there is no `init_from`.
    """
    require_home('init_from', config.init_from)
    texts = all(isinstance(pattern, str) for pattern in config.init_skip)
    require(
        texts, 'init_skip', config.init_skip, "be a list of patterns, such as ('params/head/*',)"
    )
    pairs = all(
        isinstance(pair, tuple | list) and [type(text) for text in pair] == [str, str]
        for pair in config.init_rename
    )
    rule = "be a list of pairs of prefixes, such as (('params/backbone/', 'params/'),)"
    require(pairs, 'init_rename', config.init_rename, rule)
    for key in ('init_skip', 'init_rename'):
        require(
            not config[key] or bool(config.init_from), key, config[key], 'be () without init_from'
        )


def parts(init_from: str) -> tuple[pathlib.Path, str]:
    """Returns the path and the checkpoint that `config.init_from` names.

    >>> parts('runs/senet:chosen')[1], parts('runs/senet')[1]
    ('chosen', 'initial')
    """
    # Split from the right, since a Windows path has a colon after its drive.
    path, _, checkpoint = init_from.rpartition(':')
    if path and checkpoint in CHECKPOINTS:
        return pathlib.Path(path).expanduser(), checkpoint
    return pathlib.Path(init_from).expanduser(), INITIAL


def read(init_from: str) -> Source:
    """Returns the weights of an .npz file, or those that the run of a workdir began with.

    Raises:
      UserError: there is no such file, or it is damaged.
    """
    path, _ = parts(init_from)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        workdir, colon, checkpoint = init_from.rpartition(':')
        if colon and pathlib.Path(workdir).expanduser().is_dir():
            raise UserError(
                f"config.init_from: '{checkpoint}' is not a checkpoint of {workdir}: "
                f'{nearest(checkpoint, CHECKPOINTS)}'
            )
        raise UserError(
            f'config.init_from={init_from}: there is no {file}: name the workdir of a run that has '
            f'begun, or its {FILE}.'
        )
    try:
        return Source(str(file), files.read_arrays(file))
    except files.FileError as error:
        raise UserError(f'config.init_from: {error} You can also name another run.') from None


def match(
    source: Source,
    shapes: Mapping[str, PyTree],
    *,
    heads: Sequence[str],
    rename: Iterable[tuple[str, str]] = (),
    skip: Sequence[str] = (),
) -> Match:
    """Returns what a model takes of a source.

    A tensor is loaded where both sides have it in the same shape and dtype. The head is left fresh
    where only its number of classes differs, and a module of `heads` where the source has none of
    its tensors, as published bodies do. Where it lacks one before the head, its head is of other
    features, and the head is left fresh as well.
    Everything else is refused, unless `skip` matches it: then it is left fresh here, and unused
    there.

    Args:
      shapes: the variables of the model, or their shapes.
      heads: the names of the model's head and of layers before it that a source may lack, see
        `models.image_model.head_names`.
      rename: prefixes of names in the source, and what the model has instead; the first that fits
        a name is taken.
      skip: patterns as in `training.groups`, of the model's names.

    Raises:
      UserError: what does not match, by name; or a prefix or pattern fits nothing.
    """
    model, original = named(shapes), _renamed(source, tuple(rename))
    names = sorted(model.keys() | original.keys())
    for pattern in skip:
        if not fnmatch.filter(names, pattern):
            raise UserError(
                f"config.init_skip: '{pattern}' matches nothing: {nearest(pattern, names)}"
            )
    arrays: dict[str, np.ndarray] = {}
    accounts: dict[str, list[str]] = {'loaded': [], 'renamed': [], 'left fresh': [], 'unused': []}
    refused = []
    head = f'params/{heads[0]}/'
    absent = [
        prefix
        for prefix in (f'params/{name}/' for name in heads)
        if not any(name.startswith(prefix) for name in original)
    ]
    of_other_features = any(prefix != head for prefix in absent)
    for name in names:
        expected = model.get(name)
        given = source.arrays[original[name]] if name in original else None
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in skip):
            accounts['unused' if expected is None else 'left fresh'].append(name)
        elif name.startswith(head) and given is not None and of_other_features:
            accounts['left fresh'].append(f'{name} (of other features there)')
        elif given is not None and fits(given, expected):
            arrays[name] = given
            same = name == original[name]
            accounts['loaded' if same else 'renamed'].append(
                name if same else f'{original[name]} -> {name}'
            )
        elif name.startswith(head) and (classes := _other_classes(expected, given)):
            accounts['left fresh'].append(f'{name} ({classes})')
        elif name.startswith(tuple(absent)):
            accounts['left fresh'].append(f'{name} (absent there)')
        else:
            refused.append(difference(name, given, expected))
    if refused:
        raise UserError(_refusal(source, refused))
    return Match(arrays, [_line(status, lines) for status, lines in accounts.items() if lines])


def fill(arrays: Mapping[str, Any], drawn: Mapping[str, PyTree]) -> Mapping[str, PyTree]:
    """Returns variables with these arrays, by name, in the place of those drawn."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: arrays.get(path_name(path), leaf), dict(drawn)
    )


def fill_all(
    path: pathlib.Path, arrays: Mapping[str, Any], shapes: Mapping[str, PyTree], model: str
) -> Mapping[str, PyTree]:
    """Returns variables with the arrays of a file, which has to have all of them and no others.

    Args:
      path, model: of the file, and what it should hold, for messages.

    Raises:
      UserError: an array is missing, unknown, or of another shape or dtype.
    """
    expected = named(shapes)
    different = [
        difference(name, arrays.get(name), expected.get(name))
        for name in sorted(expected.keys() | arrays.keys())
        if not fits(arrays.get(name), expected.get(name))
    ]
    if different:
        raise UserError(f'{path} is not {model}: {first_few(different, 3)}; name another file.')
    return fill(arrays, shapes)


def _renamed(source: Source, rename: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Returns the names of a source after renaming, each with its name in the source."""
    original: dict[str, str] = {}
    for name in source.arrays:
        fitting = ((old, new) for old, new in rename if name.startswith(old))
        old, new = next(fitting, ('', ''))
        renamed = new + name.removeprefix(old)
        if renamed in original:
            raise UserError(
                f'config.init_rename: {name} and {original[renamed]} of {source.where} would both '
                f'be {renamed}.'
            )
        original[renamed] = name
    for old, _ in rename:
        if not any(name.startswith(old) for name in source.arrays):
            raise UserError(
                f"config.init_rename: no tensor of {source.where} begins with '{old}': "
                f'{nearest(old, source.arrays)}'
            )
    return original


def _other_classes(expected: Any, given: Any) -> str:
    """Returns how the numbers of classes of a head's tensor differ, or '' if other things do."""
    if expected is None or given is None or expected.dtype != given.dtype:
        return ''
    if len(expected.shape) != len(given.shape) or expected.shape[:-1] != given.shape[:-1]:
        return ''
    return f'{given.shape[-1]} classes there, {expected.shape[-1]} here'


def _refusal(source: Source, refused: list[str]) -> str:
    return (
        f'config.init_from: {source.where} is of another network: '
        f'{first_few(refused, _MAX_NAMES)}. Rename them with config.init_rename, or '
        'skip them with config.init_skip.'
    )


def _line(status: str, lines: list[str]) -> str:
    return f'{len(lines)} {status}: {", ".join(lines)}'


def fits(given: Any, expected: Any) -> bool:
    """Returns whether an array of a source can take the place of one of the model."""
    return given is not None and expected is not None and _kind(given) == _kind(expected)


def difference(name: str, given: Any, expected: Any) -> str:
    """Returns how an array of a source differs from that of the model; None is absent."""
    return f'{name} is {_kind(given)} there and {_kind(expected)} here'


def first_few(texts: Sequence[str], count: int) -> str:
    """Returns the first `count` texts, and how many more there are."""
    more = f', and {len(texts) - count} more' if len(texts) > count else ''
    return '; '.join(texts[:count]) + more


def _kind(leaf: Any) -> str:
    return 'absent' if leaf is None else f'{np.dtype(leaf.dtype)}{list(leaf.shape)}'
