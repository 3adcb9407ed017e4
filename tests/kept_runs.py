"""Creates folders with the files of runs, without training."""

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from cifar_jax import files
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.experiment.workdir import Workdir

ENVIRONMENT = {'processor': 'Abacus 2000', 'cores': 2}
SHA256 = 'ab' * 32


def line(epoch: int, accuracy: float | None, seconds: float = 10.0) -> dict[str, Any]:
    """An epoch of metrics.jsonl; without validation where there is no accuracy."""
    validation = {'val_loss': 2.0 - epoch / 10, 'val_accuracy': accuracy, 'val_top5': 1.0}
    return {
        'epoch': epoch,
        'step': 10 * epoch,
        'rate': 0.1,
        'train_loss': 1 / epoch,
        'train_accuracy': 0.5,
        'train_top5': 0.9,
        **(validation if accuracy is not None else {}),
        'images_per_second': 100.0 + epoch,
        'seconds': seconds,
    }


def make(
    folder: pathlib.Path,
    accuracies: Sequence[float | None] = (0.4, 0.6, 0.5),
    *,
    test: float | None = None,
    finished: bool = True,
    environment: dict[str, Any] = ENVIRONMENT,
    seconds: float = 10.0,
    **overrides: object,
) -> pathlib.Path:
    """Writes config.json, metrics.jsonl and summary.json; `data__source` is config.data.source."""
    config = get_defaults()
    config.data.source = 'digits'
    config.model.name = 'BaseNet'
    for key, value in overrides.items():
        *groups, leaf = key.split('__')
        node = config
        for group in groups:
            node = node[group]
        node[leaf] = value
    workdir = Workdir(folder)
    stored = {'config': json.loads(config.to_json_best_effort()), 'environment': environment}
    files.write_json(workdir.config, stored | {'command': ''})
    lines = [line(epoch, accuracy, seconds) for epoch, accuracy in enumerate(accuracies, 1)]
    workdirs.write_metrics(workdir, lines)
    if finished:
        summary = {'finished': True, 'sha256': SHA256}
        if test is not None:
            summary['test'] = {'split': 'test', 'accuracy': test, 'sha256': SHA256}
        workdirs.write_summary(workdir, summary)
    return folder


def keep_predictions(
    folder: pathlib.Path,
    labels: np.ndarray,
    classes: np.ndarray,
    split: str = 'test',
    sha256: str = SHA256,
    data: str = '',
) -> None:
    """Writes predictions of a class for each image.

    Args:
      data: the digest of the images and labels; by default that of the labels alone.
    """
    logits = np.eye(10, dtype=np.float32)[classes]
    data = data or hashlib.sha256(labels.tobytes()).hexdigest()
    arrays = {'labels': labels, 'logits': logits, 'sha256': sha256, 'data': data}
    arrays['preprocessing'] = 'cd' * 32
    files.write_arrays(Workdir(folder).predictions(split), arrays)
