"""Parameter groups of `config.optimizer.groups`, which are selected by path patterns.

A group is a dict with a `pattern` and the settings of the parameters that it matches:

    rate               factor of the scheduled rate
    weight_decay, l2   replaces that of the optimizer; 0.0 for none
    frozen             if True, the parameters keep their values
    frozen_until       a duration, after which the parameters are trained; before, they keep their
                       values, and the optimizer has no moments of them
    frozen_statistics  if True, batch norm uses its moving statistics in training and keeps them

A pattern must match the whole path, such as 'stage1_block1/conv1/kernel', and is case-sensitive:
`*` matches any characters including '/', `?` matches one, `[ab]` matches a or b. A parameter
belongs to the first group that matches it, and a batch norm to the first group that matches its
moving mean, 'stem_norm/mean'.
"""

import contextlib
import difflib
import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jaxtyping import PyTree
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cifar_jax.checks import require
from cifar_jax.errors import UserError, nearest
from cifar_jax.models.intercept import with_frozen_statistics
from cifar_jax.training import durations
from cifar_jax.training.weights import path_name

Group = Mapping[str, Any]

REST = 'rest'  # label of the parameters in no group
_DECAYS = ('l2', 'weight_decay')
_FLAGS = ('frozen', 'frozen_statistics')
_KEYS = ('pattern', 'rate', *_DECAYS, 'frozen_until', *_FLAGS)


def check(groups: Sequence[Any], optimizer: str) -> None:
    """Checks the groups of a config without its model.

    Args:
      optimizer: its name; only adamw has `weight_decay`, and the others have `l2`.

    Raises:
      UserError: a key is unknown, or a value is invalid or has no effect.
    """
    for number, group in enumerate(groups):
        key = f'optimizer.groups[{number}]'
        if not isinstance(group, Mapping):
            require(False, key, group, "be a dict, such as {'pattern': 'stem*', 'rate': 0.1}")
        for name in group:
            if name not in _KEYS:
                raise UserError(f"config.{key} has no key '{name}': {nearest(name, _KEYS)}")
        pattern = group.get('pattern')
        require(isinstance(pattern, str) and bool(pattern), f'{key}.pattern', pattern, 'be a text')
        for name in group:
            _check_value(f'{key}.{name}', name, group[name])
        useless = 'l2' if optimizer == 'adamw' else 'weight_decay'
        if useless in group:
            (instead,) = {*_DECAYS} - {useless}
            raise UserError(
                f'config.{key}.{useless} has no effect with {optimizer}: set {instead} instead.'
            )
        changes = {*group} & {'rate', *_DECAYS, 'frozen_until'}
        if group.get('frozen') and changes:
            raise UserError(
                f'config.{key} is frozen, and so {min(changes)} has no effect: leave one of them '
                'out.'
            )


def _check_value(key: str, name: str, value: Any) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if name == 'rate':
        good = number and 0 < value < math.inf
        require(good, key, value, 'be a number above 0; frozen=True trains nothing')
    elif name in _DECAYS:
        require(number and 0 <= value < math.inf, key, value, 'be a number of 0 or more')
    elif name == 'frozen_until':
        durations.check(key, value, above_zero=True)
    elif name in _FLAGS:
        require(isinstance(value, bool), key, value, 'be True or False')


def labels(groups: Sequence[Group], params: PyTree) -> PyTree:
    """Returns a tree like the parameters': the number of each one's group as text, or 'rest'."""
    return jax.tree_util.tree_map_with_path(lambda path, _: _label(groups, path_name(path)), params)


def statistics_are_frozen(groups: Sequence[Group]) -> Callable[[str], bool]:
    """Returns a function from the path of a batch norm to whether its statistics are frozen."""

    def frozen(path: str) -> bool:
        label = _label(groups, f'{path}/mean')
        return label != REST and groups[int(label)].get('frozen_statistics', False)

    return frozen


def frozen_statistics(groups: Sequence[Group]) -> contextlib.AbstractContextManager[None]:
    """Returns a context in which batch norms of groups with `frozen_statistics` keep theirs."""
    if not any(group.get('frozen_statistics', False) for group in groups):
        return contextlib.nullcontext()
    return with_frozen_statistics(statistics_are_frozen(groups))


def require_matches(groups: Sequence[Group], variables: Mapping[str, PyTree]) -> None:
    """Checks that every group has an effect on a model with these variables, or their shapes.

    Raises:
      UserError: a pattern matches nothing, or only parameters of earlier groups, or all parameters
        are frozen.
    """
    params, statistics = (_names(variables.get(kind, {})) for kind in ('params', 'batch_stats'))
    for number, group in enumerate(groups):
        key, pattern = f'config.optimizer.groups[{number}]', group['pattern']
        names = [*params, *(statistics if group.get('frozen_statistics') else ())]
        matched = fnmatch.filter(names, pattern)
        if not matched:
            similar = ', '.join(difflib.get_close_matches(pattern, names, n=3, cutoff=0.0))
            raise UserError(f"{key} matches nothing with '{pattern}'; similar names: {similar}.")
        if all(_label(groups, name) != str(number) for name in matched):
            raise UserError(
                f"{key} has no effect: all that '{pattern}' matches, such as {matched[0]}, belongs "
                'to groups before it; change their order.'
            )
        if group.get('frozen_statistics') and not fnmatch.filter(statistics, pattern):
            raise UserError(
                f"{key} sets frozen_statistics, and '{pattern}' matches no statistics of batch "
                f'norm: {_some(statistics)}.'
            )
    if params and all(_trained(groups, _label(groups, name)) is False for name in params):
        raise UserError(
            'config.optimizer.groups freezes every parameter, so there is nothing to train: leave '
            'one group or parameter out.'
        )


def require_starts(
    groups: Sequence[Group], steps: Callable[[int | str], int], total_steps: int
) -> None:
    """Checks that every group that is frozen at first is trained later.

    Args:
      steps: converts a duration to steps.
      total_steps: of the run.

    Raises:
      UserError: the run ends before.
    """
    for number, group in enumerate(groups):
        first = steps(group.get('frozen_until', ''))
        if first >= total_steps:
            raise UserError(
                f"config.optimizer.groups[{number}].frozen_until is '{group['frozen_until']}', "
                f'{first} steps, and the run has {total_steps}: shorten it, lengthen '
                'config.train.length, or write frozen=True.'
            )


def trained(groups: Sequence[Group], params: PyTree) -> PyTree:
    """Returns a tree like the parameters': whether each one is trained, and not frozen."""
    return jax.tree.map(lambda label: _trained(groups, label), labels(groups, params))


def table(groups: Sequence[Group], variables: Mapping[str, PyTree]) -> str:
    """Returns a table of the groups and their sizes, which a run prints before its first step."""
    lines = Table(box=box.SIMPLE, title='Parameter groups')
    for heading in ('pattern', 'settings'):
        lines.add_column(heading)
    for heading in ('tensors', 'parameters'):
        lines.add_column(heading, justify='right')
    named = list(
        zip(_names(variables['params']), jax.tree.leaves(variables['params']), strict=True)
    )
    for label in [*map(str, range(len(groups))), REST]:
        leaves = [leaf for name, leaf in named if _label(groups, name) == label]
        group = groups[int(label)] if label != REST else {'pattern': 'all others'}
        changes = (f'{key}={value}' for key, value in group.items() if key != 'pattern')
        size = sum(leaf.size for leaf in leaves)
        lines.add_row(Text(group['pattern']), ', '.join(changes), f'{len(leaves):,}', f'{size:,}')
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(lines)
    return capture.get().rstrip()


def _label(groups: Sequence[Group], name: str) -> str:
    matches = (fnmatch.fnmatchcase(name, group['pattern']) for group in groups)
    return next((str(number) for number, match in enumerate(matches) if match), REST)


def _trained(groups: Sequence[Group], label: str) -> bool:
    return label == REST or not groups[int(label)].get('frozen', False)


def _names(tree: PyTree) -> list[str]:
    return [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def _some(names: list[str]) -> str:
    return f'this model has {names[0]} and others' if names else 'this model has none'
