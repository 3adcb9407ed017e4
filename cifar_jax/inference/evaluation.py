"""Evaluates a run on a split of its own data, or on other data."""

import contextlib
import logging
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from cifar_jax.data import kept_features, paths, pipeline
from cifar_jax.data.arrays import Arrays
from cifar_jax.errors import UserError
from cifar_jax.experiment import preprocessing
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import classifier as classifiers
from cifar_jax.inference import other_data, predictions
from cifar_jax.machine import keep_freed_memory, use_compilation_cache

log = logging.getLogger('cifar_jax')

# Options of `main` in errors of `cifar_jax.data`, and what to name instead.
_OPTIONS = {
    '--config.data.dir=': '--data-dir ',
    '--config.data.dir': '--data-dir',
    'config.data.dir=': '--data-dir ',
    ', or skip such files with --config.data.damaged=skip': '',
    'raise it with --config.data.memory_gb, or choose': 'choose',
    ' or --config.data.image_size': '',
}
_OWN = {  # for the data of the run
    f"write --config.data.source='{kind}:PATH'": 'name where it is now with --data-dir PATH'
    for kind in paths.ON_DISK
} | {'config.data.source=': '--data-dir '}
_OTHER = {'--config.data.source=': '--data ', 'config.data.source=': '--data '}


class Evaluated(NamedTuple):
    """A run, its data, and its predictions for a split."""

    workdir: Workdir
    classifier: classifiers.Classifier
    data: pipeline.Prepared
    split: str
    predictions: predictions.Predictions

    @property
    def arrays(self) -> Arrays:
        """The images of the split."""
        return getattr(self.data, self.split)


def predict(
    folder: pathlib.Path, split: str, checkpoint: str = 'chosen', data_dir: str | None = None
) -> Evaluated:
    """Computes the predictions of a run for a split, or reads them if the workdir has them.

    Args:
      split: 'train' (the training part), 'validation' or 'test'.
      checkpoint: as for `classifier.load`.
      data_dir: where the data set, folder or archive is, if it has moved since the training.

    Raises:
      UserError: the workdir, the data or the split does not exist, or the classes, images or labels
        differ from those at the start of the run.
    """
    workdir, classifier = _load(folder, checkpoint)
    config = classifier.config.copy_and_resolve_references().data
    kind, _, _ = config.source.partition(':')
    if data_dir and kind in paths.ON_DISK:
        config.source = f'{kind}:{data_dir}'
    elif data_dir:
        config.dir = data_dir
    with _advice(_OWN):
        data = pipeline.prepare(config, classifier.normalizer)
    return _predict(workdir, classifier, data, split)


def _load(folder: pathlib.Path, checkpoint: str) -> tuple[Workdir, classifiers.Classifier]:
    workdir = Workdir(folder)
    keep_freed_memory()
    classifier = classifiers.load(workdir, checkpoint)
    use_compilation_cache()
    return workdir, classifier


@contextlib.contextmanager
def _advice(options: Mapping[str, str]) -> Iterator[None]:
    """Replaces options of `main` in errors by those of the commands that evaluate a run."""
    try:
        yield
    except UserError as error:
        message = str(error)
        for theirs, ours in {**options, **_OPTIONS}.items():
            message = message.replace(theirs, ours)
        if '--config.' in message:
            message = f'{message.rpartition(": ")[0]}.'
        raise UserError(message) from error


def _predict(
    workdir: Workdir, classifier: classifiers.Classifier, data: pipeline.Prepared, split: str
) -> Evaluated:
    arrays = getattr(data, split)
    if arrays is None:
        raise UserError(f'{workdir.path} was trained without a validation split: use --split test.')
    _refuse_other_images(workdir, data, split)
    predicted = predictions.of(workdir, classifier, split, arrays)
    return Evaluated(workdir, classifier, data, split, predicted)


def _refuse_other_images(workdir: Workdir, data: pipeline.Prepared, split: str) -> None:
    stored = preprocessing.read(workdir)
    preprocessing.refuse_other_classes(workdir, stored, data.classes)
    changed = preprocessing.differing(stored, data.digests())
    if split in changed:
        raise UserError(
            f'The {split} images or labels are not those that the run in {workdir.path} began '
            'with: restore the data, or name where they are now with --data-dir.'
        )
    for part in changed:
        log.warning('%s: the %s images or labels have changed since it began', workdir.path, part)


def evaluate(
    folder: pathlib.Path,
    split: str | None = None,
    checkpoint: str = 'chosen',
    data_dir: str | None = None,
    source: str | None = None,
) -> dict[str, Any]:
    """Returns split, images, loss, accuracy, top5 and sha256, and adds them to summary.json.

    If `source` has the run's own images, as their digests tell, they are evaluated as those of the
    config. Otherwise the result and the predictions are kept apart: in summary.json under 'other',
    the source and the split, and with the additional key `source`.

    Args:
      split: as for `predict`, by default 'test'; for other data as for `other_data.load`.
      source: a source as in `config.data.source`; None is that of the run.

    See `predict` for the other arguments and errors, and `other_data.load` for those of other data.
    """
    if source is not None:
        return _evaluate_source(folder, split, checkpoint, data_dir, source)
    if split == 'all':
        raise UserError('--split all is for other data than those of the run, which --data names.')
    evaluated = predict(folder, split or 'test', checkpoint, data_dir)
    return _keep(evaluated)


def _evaluate_source(
    folder: pathlib.Path, split: str | None, checkpoint: str, data_dir: str | None, source: str
) -> dict[str, Any]:
    workdir, classifier = _load(folder, checkpoint)
    config = classifier.config.copy_and_resolve_references().data
    config.source = paths.absolute(source)
    config.dir = data_dir or config.dir
    own = _own_data(workdir, classifier, config, split or 'test')
    if own is None:
        image_shape = None
        if not kept_features.are_source(source):
            classifier, image_shape = classifiers.of_images(workdir, classifier)
            config.resize = classifier.config.data.resize
        return _evaluate_other(workdir, classifier, config, split, image_shape)
    return _keep(_predict(workdir, classifier, own, split or 'test'))


def _keep(evaluated: Evaluated) -> dict[str, Any]:
    """Returns the result for a split of the run's own data, and adds it to summary.json."""
    result = _result(evaluated.split, evaluated.predictions)
    _add_to_summary(evaluated.workdir, result['sha256'], {evaluated.split: result})
    return result


def _own_data(
    workdir: Workdir, classifier: classifiers.Classifier, config: ConfigDict, split: str
) -> pipeline.Prepared | None:
    """Returns the data of a source if the split has the images and labels of the run's own."""
    stored = preprocessing.read(workdir)
    kinds = (source.partition(':')[0] for source in (classifier.config.data.source, config.source))
    if split not in stored.digests or len({*kinds}) > 1:
        return None
    level = log.level
    log.setLevel(logging.WARNING)  # a test part that is drawn here is perhaps not evaluated
    try:
        data = pipeline.prepare(config, classifier.normalizer)
    except UserError:
        return None
    finally:
        log.setLevel(level)
    same = data.classes == stored.classes
    return data if same and split not in preprocessing.differing(stored, data.digests()) else None


def _evaluate_other(
    workdir: Workdir,
    classifier: classifiers.Classifier,
    config: ConfigDict,
    split: str | None,
    image_shape: tuple[int, ...] | None,
) -> dict[str, Any]:
    with _advice(_OTHER):
        other = other_data.load(workdir, config, split, image_shape)
    log.info('%s is not a split of the data of the run: its result is kept apart.', other.source)
    if not preprocessing.read(workdir).digests:
        log.info('Older runs such as this one have no digests, by which to recognise their data.')
    present, classes = len(np.unique(other.arrays.labels)), len(classifier.classes)
    if present < classes:
        log.info('%s has images of %d of the %d classes.', other.source, present, classes)
    predicted = predictions.of(workdir, classifier, other.name, other.arrays)
    result = {'source': other.source, **_result(other.split, predicted)}
    before = workdirs.read_summary(workdir).get('other', {})
    by_split = before.get(other.source, {}) | {other.split: result}
    _add_to_summary(workdir, result['sha256'], {'other': before | {other.source: by_split}})
    return result


def _result(split: str, predicted: predictions.Predictions) -> dict[str, Any]:
    return {
        'split': split,
        'images': len(predicted.labels),
        **predictions.mean_metrics(predicted),
        'sha256': predicted.sha256,
    }


def _add_to_summary(workdir: Workdir, sha256: str, results: dict[str, Any]) -> None:
    """Adds results to summary.json if it is that of the same weights."""
    summary = workdirs.read_summary(workdir)
    if summary.get('sha256') == sha256:
        with predictions.may_be_unwritable(workdir, 'results'):
            workdirs.write_summary(workdir, summary | results)
