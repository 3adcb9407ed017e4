"""The metrics of a workdir on a split."""

import pathlib
from typing import Any

from cifar_jax.data import pipeline
from cifar_jax.errors import UserError
from cifar_jax.experiment import classifier as classifiers
from cifar_jax.experiment import predictions
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.environment import keep_freed_memory, use_compilation_cache
from cifar_jax.experiment.workdir import Workdir


def evaluate(
    folder: pathlib.Path, split: str, checkpoint: str = 'chosen', data_dir: str | None = None
) -> dict[str, Any]:
    """Returns split, images, loss, accuracy, top5 and sha256, and adds them to summary.json.

    What the classifier says of each image is kept in the workdir, for reports and comparisons.

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
    arrays = getattr(pipeline.prepare(config.data, classifier.normalizer), split)
    if arrays is None:
        raise UserError(f'{folder} was trained without a validation split: use --split test.')
    found = predictions.of(workdir, classifier, split, arrays)
    result = {
        'split': split,
        'images': len(arrays.labels),
        **predictions.mean_metrics(found),
        'sha256': found.sha256,
    }
    summary = workdirs.read_json(workdir.summary) if workdir.summary.exists() else {}
    if summary.get('sha256') == result['sha256']:
        workdirs.write_json(workdir.summary, summary | {split: result})
    return result
