"""The record of a run, read from its files, for reports, comparisons, sweeps and tables."""

import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.files import FileError
from cifar_jax.training import history, numpy_trainer
from cifar_jax.training.history import Line, is_number
from cifar_jax.training.trainers import trainer_of

SPLITS = ('test', 'validation', 'training')
_IN_SUMMARY = {'validation': 'val', 'training': 'train'}  # prefix of its metrics
_NUMBERS = ('rate', 'images_per_second', 'train_loss', 'train_accuracy')  # in every line


class Run(NamedTuple):
    """A run: its config.json, metrics.jsonl and summary.json."""

    workdir: Workdir
    config: ConfigDict
    command: str  # empty if it was not started by a command
    environment: Mapping[str, Any]
    lines: list[Line]
    summary: Mapping[str, Any]  # empty if it has not finished

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.config.seed

    @property
    def in_numpy(self) -> bool:
        """Whether it was trained in NumPy."""
        return trainer_of(self.config.model.name) is numpy_trainer

    @property
    def machine(self) -> str:
        """The processor, and the number of cores of the run."""
        cores = self.environment['cores']
        return f'{self.environment["processor"]}, {cores} core{"s" * (cores > 1)}'

    def metric(self, split: str, name: str) -> float | None:
        """Returns 'accuracy', 'loss' or 'top5' of a finished run on one of `SPLITS`.

        It belongs to the weights that the run reports; on 'training' it is the running mean over
        their epoch. None if it is unknown.
        """
        if split == 'test':
            return self.summary.get('test', {}).get(name)
        return self.summary.get(f'{_IN_SUMMARY[split]}_{name}')

    @property
    def validation(self) -> float | None:
        """Validation accuracy of the weights that the run would report now, or None."""
        chosen = history.chosen(self.lines, self.config.train) if self.lines else {}
        return chosen.get('val_accuracy')

    @property
    def test(self) -> float | None:
        """Test accuracy of the weights that the run reports, or None if not evaluated."""
        return self.metric('test', 'accuracy')

    @property
    def seconds(self) -> float:
        """Wall time of all epochs so far, with their validation."""
        return float(sum(line['seconds'] for line in self.lines))

    @property
    def images_per_second(self) -> float | None:
        """Training images/s in the median epoch (the faster one of two)."""
        speeds = [line['images_per_second'] for line in self.lines]
        return statistics.median_high(speeds) if speeds else None

    @property
    def top_speed(self) -> float | None:
        """Training images/s in the fastest epoch."""
        return max((line['images_per_second'] for line in self.lines), default=None)

    @property
    def seconds_to_best(self) -> float | None:
        """Wall time to the end of the best epoch; None without validation."""
        best = history.best(self.lines, self.config.train.monitor)
        if best is None:
            return None
        return sum(line['seconds'] for line in self.lines if line['epoch'] <= best['epoch'])


def read(folder: pathlib.Path) -> Run:
    """Reads a run from its workdir, or from a folder with its three text files.

    Raises:
      UserError: the folder is not a workdir, or a file is damaged or of another version.
    """
    workdir = Workdir(folder)
    config = workdirs.read_config(workdir)
    stored = workdirs.read_config_file(workdir)
    environment = stored.get('environment')
    if not isinstance(environment, dict):
        raise _damaged(workdir.config)
    lines = workdirs.read_metrics(workdir)
    for number, line in enumerate(lines, 1):
        if not _is_complete(line):
            raise _damaged(workdir.metrics, f' in line {number}')
    run = Run(workdir, config, str(stored.get('command', '')), environment, lines, {})
    summary = workdirs.read_summary(workdir)
    if not isinstance(summary.get('test', {}), dict):
        raise _damaged(workdir.summary)
    # A summary of fewer epochs was written before the run was extended.
    is_current = round(run.seconds, 1) == summary.get('seconds', round(run.seconds, 1))
    return run._replace(summary=summary if is_current else {})


def _is_complete(line: Line) -> bool:
    keys = set(_NUMBERS)
    if any(key.startswith('val_') for key in line):
        keys |= {'val_loss', 'val_accuracy'}
    return all(is_number(line.get(key)) for key in keys)


def _damaged(path: pathlib.Path, where: str = '') -> FileError:
    return FileError(path, f'is of another version of cifar_jax or damaged{where}')


def spread(values: Sequence[float | None], digits: int = 1) -> str:
    """Returns mean and sample standard deviation; '' where a value is missing.

    >>> spread([1.0, 2.0, 3.0]), spread([4.0], 2), spread([4.0, None])
    ('2.0 ± 1.0', '4.00', '')
    """
    numbers = [value for value in values if value is not None]
    if not numbers or len(numbers) < len(values):
        return ''
    deviation = f' ± {statistics.stdev(numbers):.{digits}f}' if len(numbers) > 1 else ''
    return f'{statistics.mean(numbers):.{digits}f}{deviation}'


def percent(runs: Sequence[Run], split: str, name: str = 'accuracy', digits: int = 1) -> str:
    """Returns mean and deviation of a metric in percent; '' unless all runs have it."""
    values = [run.metric(split, name) for run in runs]
    text = spread([None if value is None else 100 * value for value in values], digits)
    return f'{text} %' if text else ''
