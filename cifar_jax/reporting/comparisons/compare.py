"""Compares runs: a row for each config, and tests of their differences."""

import itertools
import json
import pathlib
import statistics
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from cifar_jax.experiment import preprocessing, records
from cifar_jax.experiment.records import Run
from cifar_jax.inference import predictions
from cifar_jax.reporting.comparisons import groups as grouping
from cifar_jax.reporting.comparisons import significance
from cifar_jax.reporting.comparisons.groups import Group, Size

# Keys that determine the images of a run, and which of them are for validation.
_IMAGES = ('data.source', 'data.labels', 'data.classes', 'data.fraction')
_SPLIT = ('data.validation', 'data.validation_fraction', 'data.split_seed')


class Spread(NamedTuple):
    """A mean over seeds, and the sample standard deviation if there are several."""

    mean: float
    deviation: float | None


class Row(NamedTuple):
    """A config, over its seeds; None where a value is unknown."""

    name: str
    model: str
    seeds: tuple[int, ...]
    size: Size | None
    images_per_second: float | None
    epochs: tuple[int, ...]  # of each seed
    validation: Spread | None  # accuracy
    test: Spread | None
    seconds_to_best: float | None


class Pair(NamedTuple):
    """Two rows on the same images: accuracies over all seeds, McNemar's test of the first ones."""

    first: str
    second: str
    images: int
    interval: significance.Interval
    mcnemar: significance.McNemar


class Difference(NamedTuple):
    """A key of the config, and its value in each row."""

    key: str
    values: tuple[str, ...]


class Comparison(NamedTuple):
    """The result of a comparison; `split` is the split of the pairs."""

    split: str
    groups: list[Group]
    rows: list[Row]
    pairs: list[Pair]
    differences: list[Difference]
    notes: list[str]


def compare(folders: Sequence[pathlib.Path], split: str = 'test') -> Comparison:
    """Returns the comparison of runs.

    Args:
      folders: workdirs, of finished or interrupted runs, or folders under results/.
      split: 'validation' or 'test': the images that pairs are compared on.

    Raises:
      UserError: a folder is not a workdir, or a file is damaged.
    """
    once = {folder.resolve(): folder for folder in folders}.values()
    notes = []
    if len(once) < len(folders):
        notes.append('A workdir that is given twice counts once.')
    groups = grouping.grouped([records.read(folder) for folder in once])
    pairs, missing = _pairs(groups, split)
    return Comparison(
        split,
        groups,
        [_row(group) for group in groups],
        pairs,
        _differences(groups),
        [*notes, *_notes(groups), *missing],
    )


def _row(group: Group) -> Row:
    first = group.runs[0]
    return Row(
        group.name,
        first.config.model.name,
        tuple(run.seed for run in group.runs),
        grouping.size(first),
        _mean(run.images_per_second for run in group.runs),
        tuple(run.lines[-1]['epoch'] if run.lines else 0 for run in group.runs),
        spread([run.validation for run in group.runs]),
        spread([run.test for run in group.runs]),
        _mean(run.seconds_to_best for run in group.runs),
    )


def spread(values: Sequence[float | None]) -> Spread | None:
    """Returns mean and sample standard deviation of the values that are not None."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return None
    deviation = statistics.stdev(numbers) if len(numbers) > 1 else None
    return Spread(statistics.mean(numbers), deviation)


def _mean(values: Iterator[float | None]) -> float | None:
    result = spread([*values])
    return result.mean if result else None


def _differences(groups: Sequence[Group]) -> list[Difference]:
    settings = [grouping.settings(group.runs[0]) for group in groups]
    keys = sorted(set().union(*settings))
    texts = {key: tuple(_text(config.get(key, '')) for config in settings) for key in keys}
    return [Difference(key, values) for key, values in texts.items() if len({*values}) > 1]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=dict)


def _notes(groups: Sequence[Group]) -> Iterator[str]:
    """Yields sentences that a reader must know to interpret the rows."""
    settings = [grouping.settings(group.runs[0]) for group in groups]
    images, split = (
        [key for key in keys if len({config[key] for config in settings}) > 1]
        for keys in (_IMAGES, _SPLIT)
    )
    if images:
        yield (
            'The rows are not on the same images, so their accuracies cannot be compared: they '
            f'differ in {_listed(images + split)}.'
        )
    elif split:
        yield (
            'The rows do not have the same validation images, so their validation accuracies '
            f'cannot be compared: they differ in {_listed(split)}.'
        )
    runs = [run for group in groups for run in group.runs]
    if not images and len({_test_digest(run) for run in runs} - {''}) > 1:
        yield (
            'The test images of the runs differ although their configs agree, so their test '
            'accuracies cannot be compared.'
        )
    machines = {tuple(run.environment.get(k) for k in ('processor', 'cores')) for run in runs}
    if len(machines) > 1:
        yield 'The runs are from different machines, so images/s and times cannot be compared.'
    for run in runs:
        done = run.lines[-1]['epoch'] if run.lines else 0
        if not run.summary:
            yield f'{run.workdir.path} has not finished: it is at epoch {done}.'
    for group in groups:
        tested = sum(run.test is not None for run in group.runs)
        if 0 < tested < len(group.runs):
            seeds = f'{tested} of its {len(group.runs)} seeds'
            yield f'The test accuracy of {group.name} is that of {seeds}.'


def _test_digest(run: Run) -> str:
    """Returns the digest of a run's test images and labels; '' in older runs."""
    if not run.workdir.preprocessing.exists():
        return ''
    return preprocessing.read_without_whitening(run.workdir).digests.get('test', '')


def _pairs(groups: Sequence[Group], split: str) -> tuple[list[Pair], list[str]]:
    """Returns the pairs of groups that can be compared image by image, and why others cannot."""
    if len(groups) < 2:
        return [], []
    results: dict[str, tuple[str, list[np.ndarray]]] = {}
    missing: list[Run] = []
    for group in groups:
        stored = [predictions.of_reported_weights(run, split) for run in group.runs]
        missing += [run for run, item in zip(group.runs, stored, strict=True) if item is None]
        available = [item for item in stored if item is not None]
        if len(available) == len(stored):
            results[group.name] = (
                available[0].data,
                [item.classes == item.labels for item in available],
            )
    pairs, others = [], []
    for first, second in itertools.combinations(results, 2):
        (images, ours), (their_images, theirs) = results[first], results[second]
        if images == their_images:
            pairs.append(_pair(first, second, ours, theirs))
        else:
            others.append(f'{first} and {second}')
    notes = list(_without_predictions(missing, split))
    if others:
        notes.append(f'The {split} images are not the same for {_listed(others)}: no test of them.')
    return pairs, notes


def _pair(
    first: str,
    second: str,
    ours: Sequence[Bool[np.ndarray, 'images']],
    theirs: Sequence[Bool[np.ndarray, 'images']],
) -> Pair:
    interval = significance.bootstrap(np.mean(ours, axis=0), np.mean(theirs, axis=0))
    return Pair(first, second, len(ours[0]), interval, significance.mcnemar(ours[0], theirs[0]))


def _without_predictions(missing: Sequence[Run], split: str) -> Iterator[str]:
    """Yields sentences on how to compute missing predictions."""
    lost = [str(run.workdir.path) for run in missing if not run.workdir.checkpoints.is_dir()]
    if lost:
        verb = 'keeps' if len(lost) == 1 else 'keep'
        yield (
            f'No test of {_listed(lost)}, which {verb} neither predictions of the {split} images '
            'nor a checkpoint to make them from.'
        )
    for run in missing:
        if run.workdir.checkpoints.is_dir():
            option = '' if split == 'test' else f' --split {split}'
            yield (
                f'No test of {run.workdir.path}, which keeps no predictions of the {split} images: '
                f'python -m cifar_jax.evaluate --workdir {run.workdir.path}{option}'
            )


def _listed(names: Sequence[str]) -> str:
    """Joins names as in a sentence.

    >>> _listed(['a', 'b', 'c'])
    'a, b and c'
    """
    return ' and '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Returns the rows as flat dictionaries of numbers, with fractions in [0, 1]."""
    return [
        {
            'run': row.name,
            'model': row.model,
            'seeds': [*row.seeds],
            'parameters': row.size.parameters if row.size else None,
            'flops_per_image': row.size.flops if row.size else None,
            'images_per_second': row.images_per_second,
            'epochs': [*row.epochs],
            'validation_accuracy': row.validation.mean if row.validation else None,
            'validation_deviation': row.validation.deviation if row.validation else None,
            'test_accuracy': row.test.mean if row.test else None,
            'test_deviation': row.test.deviation if row.test else None,
            'seconds_to_best': row.seconds_to_best,
        }
        for row in comparison.rows
    ]
