"""Evaluates a run on a split."""

import logging
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from cifar_jax import files
from cifar_jax.data import pipeline
from cifar_jax.data.arrays import Arrays
from cifar_jax.errors import UserError
from cifar_jax.experiment import preprocessing
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import classifier as classifiers
from cifar_jax.inference import predictions
from cifar_jax.machine import keep_freed_memory, use_compilation_cache

log = logging.getLogger('cifar_jax')


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
    workdir = Workdir(folder)
    keep_freed_memory()
    classifier = classifiers.load(workdir, checkpoint)
    use_compilation_cache()
    config = classifier.config.copy_and_resolve_references()
    kind, _, _ = config.data.source.partition(':')
    if data_dir and kind in ('folder', 'archive'):
        config.data.source = f'{kind}:{data_dir}'
    elif data_dir:
        config.data.dir = data_dir
    data = pipeline.prepare(config.data, classifier.normalizer)
    arrays = getattr(data, split)
    if arrays is None:
        raise UserError(f'{folder} was trained without a validation split: use --split test.')
    digests = data.digests()
    _refuse_other_images(workdir, data, split, digests)
    predicted = predictions.of(workdir, classifier, split, arrays)
    return Evaluated(workdir, classifier, data, split, predicted)


def _refuse_other_images(
    workdir: Workdir, data: pipeline.Prepared, split: str, digests: Mapping[str, str]
) -> None:
    stored = preprocessing.read(workdir)
    preprocessing.refuse_other_classes(workdir, stored, data.classes)
    changed = preprocessing.differing(stored, digests)
    if split in changed:
        raise UserError(
            f'The {split} images or labels are not those that the run in {workdir.path} began '
            'with: restore the data, or name where they are now with --data-dir.'
        )
    for part in changed:
        log.warning('%s: the %s images or labels have changed since it began', workdir.path, part)


def evaluate(
    folder: pathlib.Path, split: str, checkpoint: str = 'chosen', data_dir: str | None = None
) -> dict[str, Any]:
    """Returns split, images, loss, accuracy, top5 and sha256, and adds them to summary.json.

    See `predict` for the arguments and errors.
    """
    workdir, _, _, _, predicted = predict(folder, split, checkpoint, data_dir)
    result = {
        'split': split,
        'images': len(predicted.labels),
        **predictions.mean_metrics(predicted),
        'sha256': predicted.sha256,
    }
    summary = files.read_json(workdir.summary) if workdir.summary.exists() else {}
    if summary.get('sha256') == result['sha256']:
        with predictions.may_be_read_only(workdir):
            files.write_json(workdir.summary, summary | {split: result})
    return result
