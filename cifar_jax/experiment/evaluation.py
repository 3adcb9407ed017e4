"""The metrics of a workdir on a split."""

import pathlib
from typing import Any

from cifar_jax.data import pipeline
from cifar_jax.errors import UserError
from cifar_jax.experiment import classifier as classifiers
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.environment import keep_freed_memory, use_compilation_cache
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.ops import backend
from cifar_jax.training import evaluation
from cifar_jax.training import state as states


def evaluate(
    folder: pathlib.Path, split: str, checkpoint: str = 'chosen', data_dir: str | None = None
) -> dict[str, Any]:
    """Returns split, images, loss, accuracy, top5 and sha256, and adds them to summary.json.

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
    metrics_of = evaluation.make_evaluate(
        classifier.model,
        classifier.normalizer,
        classifier.dtype,
        classifier.mesh,
        config.eval_batch_size,
    )
    with backend.use(config.ops.backend):
        found = metrics_of(classifier.variables, evaluation.on_device(arrays, classifier.mesh))
    result = {
        'split': split,
        'images': len(arrays.labels),
        **found,
        'sha256': states.sha256(classifier.variables),
    }
    summary = workdirs.read_json(workdir.summary) if workdir.summary.exists() else {}
    if summary.get('sha256') == result['sha256']:
        workdirs.write_json(workdir.summary, summary | {split: result})
    return result
