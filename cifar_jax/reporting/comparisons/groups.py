"""Groups runs by config, and computes the sizes of their models."""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cifar_jax.experiment import config as configs
from cifar_jax.experiment import preprocessing
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.experiment.records import Run
from cifar_jax.models import summary as model_summary
from cifar_jax.training.trainers import trainer_of

# Classes of the sources of older runs without preprocessing.json, whose images are 32x32x3.
_CLASSES = {'cifar10': 10, 'cifar100': 100, 'digits': 10}


class Group(NamedTuple):
    """Runs that differ only in their seeds, sorted by them."""

    name: str
    runs: tuple[Run, ...]


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Returns runs of one config and several seeds together, in the order of the first of each.

    Configs are equal if they differ only in the seed and in what changes no number. A second run of
    one seed begins a new group.
    """
    groups: list[tuple[dict[str, Any], list[Run]]] = []
    for run in runs:
        config = {
            key: value for key, value in settings(run).items() if not workdirs.keeps_results(key)
        }
        for others, members in groups:
            if others == config and all(run.seed != member.seed for member in members):
                members.append(run)
                break
        else:
            groups.append((config, [run]))
    together = [sorted(members, key=lambda run: run.seed) for _, members in groups]
    names = [_name(members) for members in together]
    return [
        Group(name if names.count(name) == 1 else str(members[0].workdir.path), tuple(members))
        for name, members in zip(names, together, strict=True)
    ]


def settings(run: Run) -> dict[str, Any]:
    """Returns the flat config without the seed; keys that are newer than a run have defaults."""
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
    """Returns the size of a run's model; None where the size of its images is unknown.

    FLOPs are those of convolutions and dense layers; a multiply-add is two.
    """
    classes_and_shape = _classes_and_shape(run)
    if classes_and_shape is None:
        return None
    classes, image_shape = classes_and_shape
    model = trainer_of(run.config.model.name).model(run.config, classes, jnp.float32)
    variables, rows = model_summary.trace(model, image_shape)
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables['params']))
    return Size(parameters, 2 * rows[-1].multiply_adds)


def _classes_and_shape(run: Run) -> tuple[int, tuple[int, ...]] | None:
    if run.workdir.preprocessing.exists():
        stored = preprocessing.read_without_whitening(run.workdir)
        return len(stored.classes), stored.image_shape
    data = run.config.data
    if data.source not in _CLASSES:
        return None
    all_classes = 20 if data.labels == 'coarse' else _CLASSES[data.source]
    side = data.get('image_size') or 32
    return data.classes or all_classes, (side, side, 3)
