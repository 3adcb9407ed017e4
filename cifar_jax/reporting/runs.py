"""What the text files of runs say, and which runs are seeds of one experiment."""

import math
import pathlib
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cifar_jax import files
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import preprocessing
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.models import summary as model_summary
from cifar_jax.training import history
from cifar_jax.training.history import Line
from cifar_jax.training.trainers import trainer_of

# What a kept run without preprocessing.json was trained on: the classes of its source, at 32x32x3.
_CLASSES = {'cifar10': 10, 'cifar100': 100, 'digits': 10}
_NUMBERS = (
    *('epoch', 'step', 'rate', 'seconds', 'images_per_second'),
    *('train_loss', 'train_accuracy'),
)


class Run(NamedTuple):
    """A run, finished or not, or what is kept of it: config.json, metrics.jsonl, summary.json."""

    workdir: Workdir
    config: ConfigDict
    command: str  # empty: it was not started by a command
    environment: Mapping[str, Any]
    lines: list[Line]
    summary: Mapping[str, Any]  # empty: it has not finished

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.config.seed

    @property
    def validation(self) -> float | None:
        """Validation accuracy of the weights that the run reports, as far as it has come."""
        chosen = history.chosen(self.lines, self.config.train) if self.lines else {}
        return chosen.get('val_accuracy')

    @property
    def test(self) -> float | None:
        """Test accuracy of the weights that the run reports, where it was evaluated."""
        return self.summary.get('test', {}).get('accuracy')

    @property
    def images_per_second(self) -> float | None:
        """Images a second of training in the median epoch."""
        speeds = [line['images_per_second'] for line in self.lines]
        return statistics.median_high(speeds) if speeds else None

    @property
    def seconds_to_best(self) -> float | None:
        """Wall time to the end of the best epoch by what the run monitors; None: no validation."""
        best = history.best(self.lines, self.config.train.monitor)
        if best is None:
            return None
        return sum(line['seconds'] for line in self.lines if line['epoch'] <= best['epoch'])


class Group(NamedTuple):
    """Runs that differ in their seeds alone, in the order of these."""

    name: str
    runs: tuple[Run, ...]


def read(folder: pathlib.Path) -> Run:
    """Returns the run in a workdir, or in a folder that keeps its three text files.

    Raises:
      UserError: the folder is no workdir, or a file is damaged or of another version.
    """
    workdir = Workdir(folder)
    config = workdirs.read_config(workdir)
    stored = files.read_json(workdir.config)
    environment = stored.get('environment')
    if not isinstance(environment, dict):
        raise _damaged(workdir.config)
    lines = workdirs.read_metrics(workdir)
    for number, line in enumerate(lines, 1):
        if not _is_whole(line):
            raise _damaged(workdir.metrics, f' in line {number}')
    summary = files.read_json(workdir.summary) if workdir.summary.exists() else {}
    if not isinstance(summary.get('test', {}), dict):
        raise _damaged(workdir.summary)
    command = str(stored.get('command', ''))
    return Run(workdir, config, command, environment, lines, summary)


def _is_whole(line: Line) -> bool:
    keys = set(_NUMBERS)
    if any(key.startswith('val_') for key in line):
        keys |= {'val_loss', 'val_accuracy'}
    return all(history.is_number(line.get(key)) for key in keys)


def _damaged(path: pathlib.Path, where: str = '') -> UserError:
    return UserError(
        f'{path} is of another version of cifar_jax or damaged{where}: restore it or train anew.'
    )


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Returns runs of one config and several seeds together, in the order of the first of each.

    Configs are equal if they differ in the seed, and in what changes no number, alone. A second
    run of one seed is no further seed: it begins a group of its own.
    """
    found: list[tuple[dict[str, Any], list[Run]]] = []
    for run in runs:
        own = {
            key: value
            for key, value in settings(run).items()
            if not workdirs.changes_no_number(key)
        }
        for others, members in found:
            if others == own and all(run.seed != member.seed for member in members):
                members.append(run)
                break
        else:
            found.append((own, [run]))
    together = [sorted(members, key=lambda run: run.seed) for _, members in found]
    names = [_name(members) for members in together]
    return [
        Group(name if names.count(name) == 1 else str(members[0].workdir.path), tuple(members))
        for name, members in zip(names, together, strict=True)
    ]


def settings(run: Run) -> dict[str, Any]:
    """Returns the keys of a config but for the seed, one level deep.

    A key that the run's version did not have yet has its default.
    """
    values = configs.flat(get_defaults()) | configs.flat(run.config)
    del values['seed']
    return values


def _name(runs: Sequence[Run]) -> str:
    """Returns the name of the folder, without the number of the seed where there are several."""
    names = [run.workdir.path.resolve().name for run in runs]
    stems = {re.sub(r'[-_.]?(seed|s)?[-_.]?\d+$', '', name) for name in names}
    return stems.pop() if len(runs) > 1 and len(stems) == 1 and '' not in stems else names[0]


class Size(NamedTuple):
    """A model's trained parameters, and the FLOPs of its forward pass for one image."""

    parameters: int
    flops: int


def size(run: Run) -> Size | None:
    """Returns the size of a run's model; None where nothing says what images it was trained on.

    FLOPs are those of convolutions and dense layers; a multiply-add is two.
    """
    known = _classes_and_shape(run)
    if known is None:
        return None
    classes, image_shape = known
    model = trainer_of(run.config.model.name).model(run.config, classes, jnp.float32)
    variables, rows = model_summary.trace(model, image_shape)
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables['params']))
    return Size(parameters, 2 * rows[-1].multiply_adds)


def _classes_and_shape(run: Run) -> tuple[int, tuple[int, ...]] | None:
    if run.workdir.preprocessing.exists():
        stored = preprocessing.read(run.workdir)
        return len(stored.classes), stored.image_shape
    data = run.config.data
    if data.source not in _CLASSES:
        return None
    all_classes = 20 if data.labels == 'coarse' else _CLASSES[data.source]
    side = data.get('image_size') or 32
    return data.classes or all_classes, (side, side, 3)
