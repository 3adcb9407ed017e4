"""The metrics of a workdir on a split."""

import pathlib
from typing import Any, NamedTuple

from cifar_jax import files
from cifar_jax.data import pipeline
from cifar_jax.data.arrays import Arrays
from cifar_jax.errors import UserError
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import classifier as classifiers
from cifar_jax.inference import predictions
from cifar_jax.machine import keep_freed_memory, use_compilation_cache


class Evaluated(NamedTuple):
    """A run, its data, and what it says of a split of them."""

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
    """Returns a run with what it says of each image of a split, which is kept in the workdir.

    Args:
      split: 'train' (the training part), 'validation' or 'test'.
      checkpoint: as `classifier.load` takes it.
      data_dir: of the data set, where it is no longer the config's.

    Raises:
      UserError: the workdir, the data or the split is not there.
    """
    workdir = Workdir(folder)
    keep_freed_memory()
    classifier = classifiers.load(workdir, checkpoint)
    use_compilation_cache()
    config = classifier.config.copy_and_resolve_references()
    if data_dir:
        config.data.dir = data_dir
    data = pipeline.prepare(config.data, classifier.normalizer)
    arrays = getattr(data, split)
    if arrays is None:
        raise UserError(f'{folder} was trained without a validation split: use --split test.')
    found = predictions.of(workdir, classifier, split, arrays)
    return Evaluated(workdir, classifier, data, split, found)


def evaluate(
    folder: pathlib.Path, split: str, checkpoint: str = 'chosen', data_dir: str | None = None
) -> dict[str, Any]:
    """Returns split, images, loss, accuracy, top5 and sha256, and adds them to summary.json.

    Args and errors are those of `predict`.
    """
    workdir, _, _, _, found = predict(folder, split, checkpoint, data_dir)
    result = {
        'split': split,
        'images': len(found.labels),
        **predictions.mean_metrics(found),
        'sha256': found.sha256,
    }
    summary = files.read_json(workdir.summary) if workdir.summary.exists() else {}
    if summary.get('sha256') == result['sha256']:
        files.write_json(workdir.summary, summary | {split: result})
    return result
