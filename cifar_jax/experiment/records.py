"""Finished runs, read from their folders and grouped over their seeds."""

import json
import pathlib
import shlex
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cifar_jax import files
from cifar_jax import main as training
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.training import numpy_trainer
from cifar_jax.training.trainers import trainer_of

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'results'
SPLITS = ('test', 'validation', 'training')
_IN_SUMMARY = {'validation': 'val', 'training': 'train'}  # as a prefix
_STORED = {'command', 'config', 'environment'}
_COMMAND = ['python', '-m', 'cifar_jax.main']


class Run(NamedTuple):
    """A finished run: what its config.json, metrics.jsonl and summary.json say."""

    folder: pathlib.Path
    spec: str  # FILE[:variant]
    overrides: tuple[tuple[str, str], ...]  # keys and values as typed, without the seed
    config: dict[str, Any]
    environment: dict[str, Any]
    lines: list[dict[str, Any]]
    summary: dict[str, Any]

    @property
    def arguments(self) -> str:
        """What is typed behind `python -m cifar_jax.main`, without the seed and the workdir."""
        return arguments(self.spec, self.overrides)

    @property
    def in_numpy(self) -> bool:
        """Whether NumPy alone trained it."""
        return trainer_of(self.config['model']['name']) is numpy_trainer

    def metric(self, split: str, name: str) -> float | None:
        """Returns 'accuracy', 'loss' or 'top5' on one of `SPLITS`; None where it is not there.

        Training's are those of the epoch as it went.
        """
        if split == 'test':
            return self.summary.get('test', {}).get(name)
        return self.summary.get(f'{_IN_SUMMARY[split]}_{name}')

    @property
    def speed(self) -> float:
        """Images a second of training in the median epoch."""
        return sorted(line['images_per_second'] for line in self.lines)[len(self.lines) // 2]

    @property
    def top_speed(self) -> float:
        """Images a second of training in the fastest epoch, which is what S0 published."""
        return max(line['images_per_second'] for line in self.lines)

    @property
    def machine(self) -> str:
        """The processor and how many of its cores the run had."""
        cores = self.environment['cores']
        return f'{self.environment["processor"]}, {cores} core{"s" * (cores > 1)}'


def arguments(spec: str, overrides: Iterable[tuple[str, str]]) -> str:
    """Returns what is typed for a config and its overrides.

    >>> arguments('configs/senet.py', [('train.length', '9 epochs')])
    "--config configs/senet.py '--config.train.length=9 epochs'"
    """
    return shlex.join(['--config', spec, *(f'--config.{key}={text}' for key, text in overrides)])


def parsed(words: Sequence[str]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Returns the config and the overrides, without the seed, of the arguments of `main`.

    >>> parsed(['--config', 'a.py:b', '--workdir=w', '--config.seed=1', '--config.ema', '0.9'])
    ('a.py:b', (('ema', '0.9'),))
    """
    args, rest = training.parser().parse_known_args(words)
    return args.config, tuple(pair for pair in configs.pairs(rest) if pair[0] != 'seed')


def read(folder: pathlib.Path) -> Run:
    """Returns the finished run of a workdir, or of a folder of results/.

    Raises:
      UserError: it is no run, damaged, or not finished.
    """
    workdir = Workdir(folder)
    stored, summary = (files.read_json(path) for path in (workdir.config, workdir.summary))
    try:
        lines = [json.loads(line) for line in workdir.metrics.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f'{workdir.metrics} cannot be read ({error}): restore it.') from None
    if not isinstance(stored, dict) or not stored.keys() >= _STORED:
        raise UserError(f'{workdir.config} is damaged: it lacks {", ".join(sorted(_STORED))}.')
    if not isinstance(summary, dict) or not summary.get('finished') or not lines:
        raise UserError(f'{folder} is not finished: start its command again, it goes on.')
    spec, overrides = parsed(shlex.split(stored['command'])[len(_COMMAND) :])
    return Run(folder, spec, overrides, stored['config'], stored['environment'], lines, summary)


def read_all(results: pathlib.Path = RESULTS) -> list[Run]:
    """Returns all runs of a folder of results, in the order of their names.

    Raises:
      UserError: one of them cannot be read, see `read`.
    """
    return [read(path) for path in sorted(results.iterdir()) if path.is_dir()]


def groups(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Returns the runs by their arguments without the seed, in the order of the first of each.

    Raises:
      UserError: a seed has run twice, which would count twice in a mean.
    """
    found: dict[str, list[Run]] = {}
    for run in runs:
        members = found.setdefault(run.arguments, [])
        for other in members:
            if other.config['seed'] == run.config['seed']:
                raise UserError(
                    f'{other.folder} and {run.folder} are one command with one seed: remove one.'
                )
        members.append(run)
    return found


def command(run: Run) -> str:
    """Returns a command that repeats a run, with its seed and without its workdir."""
    seed = [('seed', str(run.config['seed']))] if run.config['seed'] else []
    return f'{" ".join(_COMMAND)} {arguments(run.spec, (*run.overrides, *seed))}'


def spread(values: Sequence[float | None], digits: int = 1) -> str:
    """Returns mean and sample standard deviation; '' where a value is missing.

    >>> spread([1.0, 2.0, 3.0]), spread([4.0], 2), spread([4.0, None])
    ('2.0 ± 1.0', '4.00', '')
    """
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return ''
    deviation = f' ± {statistics.stdev(known):.{digits}f}' if len(known) > 1 else ''
    return f'{statistics.mean(known):.{digits}f}{deviation}'


def percent(runs: Sequence[Run], split: str, name: str = 'accuracy', digits: int = 1) -> str:
    """Returns mean and deviation of a share in percent; '' unless all runs have it."""
    values = [run.metric(split, name) for run in runs]
    shown = spread([None if value is None else 100 * value for value in values], digits)
    return f'{shown} %' if shown else ''


def table(columns: str, rows: Iterable[Sequence[object]]) -> str:
    """Returns a table in Markdown; columns that begin with '>' are set to the right.

    >>> print(table('name >size', [('a', 1)]))
    | name | size |
    | --- | ---: |
    | a | 1 |
    """
    names = [name.replace('_', ' ') for name in columns.split()]
    lines = [
        [name.removeprefix('>') for name in names],
        ['---:' if name.startswith('>') else '---' for name in names],
        *([str(cell).replace('|', '\\|') for cell in row] for row in rows),
    ]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
