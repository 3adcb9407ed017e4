"""The runs of a sweep: every config with every combination of values and every seed."""

import hashlib
import itertools
import pathlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir

Pair = tuple[str, str]  # a key of the config and its value as text
_LONGEST = 120  # characters of a name: file systems allow 255 bytes
_CLOSES = {'(': ')', '[': ']', '{': '}'}


class Task(NamedTuple):
    """A run: its checked config, and its command line."""

    workdir: Workdir
    group: str  # the workdir's name without the seed
    spec: str  # FILE[:variant]
    overrides: tuple[Pair, ...]
    seed: int
    config: ConfigDict

    @property
    def name(self) -> str:
        """The name of its workdir."""
        return self.workdir.path.name

    @property
    def log(self) -> pathlib.Path:
        """The file for the output of its processes."""
        return self.workdir.path.with_name(f'{self.name}.log')

    @property
    def arguments(self) -> list[str]:
        """The arguments of `python -m cifar_jax.main`."""
        pairs = [*self.overrides, ('seed', str(self.seed))]
        return [
            *('--config', self.spec, '--workdir', str(self.workdir.path)),
            *(f'--config.{key}={text}' for key, text in pairs),
        ]


def tasks(
    out: pathlib.Path,
    specs: Sequence[str],
    seeds: Sequence[int],
    settings: Sequence[str] = (),
    grids: Sequence[str] = (),
) -> list[Task]:
    """Returns the runs, ordered by seed, each with its own workdir in `out`.

    Args:
      specs: FILE[:variant] each.
      settings: 'key=value', for all runs.
      grids: 'key=value,value,...': every combination is a run.

    Raises:
      UserError: a file, variant, key or value is invalid, or two runs are the same.
    """
    axes = [[pair] for pair in map(_pair, settings)]
    for key, text in map(_pair, grids):
        axes.append([(key, value) for value in values(text)])
    keys = [axis[0][0] for axis in axes]
    for key, count in Counter(keys).items():
        if count > 1:
            raise UserError(f'{key} is set {count} times: give all its values in one --grid.')
    if 'seed' in keys:
        raise UserError('--set and --grid cannot set the seed: write --seeds 0,1,2.')
    all_tasks = [
        _task(out, spec, overrides, seed, fixed=len(settings))
        for seed in seeds
        for spec in specs
        for overrides in itertools.product(*axes)
    ]
    return _distinct(all_tasks)


def values(text: str) -> list[str]:
    """Splits a text at its commas, except inside brackets and quotation marks.

    Raises:
      UserError: a bracket or quotation mark is not closed, or a value is empty.

    >>> values('(32,),(32, 64)'), values("8 epochs,16 epochs")
    (['(32,)', '(32, 64)'], ['8 epochs', '16 epochs'])
    """
    parts, open_ = [''], ''
    for character in text:
        if open_ and character == open_[-1]:
            open_ = open_[:-1]
        elif not open_.endswith(('"', "'")) and (character in _CLOSES or character in '"\''):
            open_ += _CLOSES.get(character, character)
        if character == ',' and not open_:
            parts.append('')
        else:
            parts[-1] += character
    if open_:
        raise UserError(f"'{text}' lacks a closing {open_[-1]}.")
    parts = [value.strip() for value in parts]
    if not all(parts):
        raise UserError(f"'{text}' has an empty value: separate values by one comma.")
    return parts


def _pair(text: str) -> Pair:
    key, equals, value = text.removeprefix('--config.').partition('=')
    if not key or not equals:
        raise UserError(f"'{text}' sets nothing: write key=value, such as schedule.rate=0.1.")
    return key, value


def _task(out: pathlib.Path, spec: str, overrides: tuple[Pair, ...], seed: int, fixed: int) -> Task:
    """Returns a run; its first `fixed` overrides are common to all runs."""
    pairs = (*overrides, ('seed', str(seed)))
    config = configs.load(spec, [f'--config.{key}={text}' for key, text in pairs])
    leaves = Counter(key.rpartition('.')[2] for key in configs.flat(config))
    parts = [
        f'{leaf if leaves[leaf] == 1 else key}={_safe(text)}'
        for key, text in overrides
        for leaf in [key.rpartition('.')[2]]
    ]
    group = '-'.join((configs.name(spec), *parts))
    if len(group) > _LONGEST:
        ending = f'-{_digest(spec, overrides)}'
        older = group[:_LONGEST] + ending
        # What differs between the runs comes first, so that it is not cut off.
        group = '-'.join((configs.name(spec), *parts[fixed:], *parts[:fixed]))[:_LONGEST] + ending
        if any(out.glob(f'{older}-seed*')):  # continues a sweep of an older version
            group = older
    workdir = Workdir(out / f'{group}-seed{seed}')
    workdirs.check_path(workdir)
    return Task(workdir, group, spec, overrides, seed, config)


def _safe(text: str) -> str:
    return re.sub(r'[^\w.+-]+', '_', text).strip('_')


def _digest(spec: str, overrides: tuple[Pair, ...]) -> str:
    return hashlib.sha256(repr((spec, overrides)).encode()).hexdigest()[:8]


def _distinct(all_tasks: list[Task]) -> list[Task]:
    """Appends a digest to names that differ only in characters that no file name can have."""
    for (spec, _, _), count in Counter((t.spec, t.overrides, t.seed) for t in all_tasks).items():
        if count > 1:
            raise UserError(f'A run of {spec} is {count} times in the sweep: name values once.')
    counts = Counter(task.name.lower() for task in all_tasks)
    return [task if counts[task.name.lower()] == 1 else _with_digest(task) for task in all_tasks]


def _with_digest(task: Task) -> Task:
    group = f'{task.group}-{_digest(task.spec, task.overrides)}'
    workdir = Workdir(task.workdir.path.with_name(f'{group}-seed{task.seed}'))
    return task._replace(group=group, workdir=workdir)
