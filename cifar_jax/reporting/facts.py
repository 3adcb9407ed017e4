"""The data of a report: a run's metrics, settings and scores."""

import json
import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import console, records
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.experiment.records import Run
from cifar_jax.inference import evaluation, predictions
from cifar_jax.inference.evaluation import Evaluated
from cifar_jax.reporting import scores
from cifar_jax.training import history


class Report(NamedTuple):
    """The data that a report is made from."""

    run: Run
    evaluated: Evaluated
    confusion: Int[np.ndarray, 'classes classes']
    by_class: scores.ByClass
    reliability: scores.Reliability

    @property
    def config(self) -> ConfigDict:
        """The config of the run."""
        return self.run.config

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.evaluated.classifier.classes


class Setting(NamedTuple):
    """A key of the config, as text."""

    key: str
    value: str
    default: str  # empty if there is none


def read(folder: pathlib.Path, split: str, data_dir: str | None = None) -> Report:
    """Reads a run from its workdir, and computes or reads the predictions for a split.

    See `evaluation.predict` for the arguments and further errors.

    Raises:
      UserError: a file is damaged or of another version, or the network's outputs are not finite.
    """
    run = records.read(folder)
    evaluated = evaluation.predict(folder, split, data_dir=data_dir)
    predicted = evaluated.predictions
    if not np.isfinite(predicted.logits).all():
        raise UserError(
            f'The network in {folder} gives outputs that are not finite: train it again '
            'with a lower config.schedule.rate.'
        )
    of_classes = predicted.labels, predicted.classes, len(evaluated.classifier.classes)
    return Report(
        run,
        evaluated,
        scores.confusion(*of_classes),
        scores.by_class(*of_classes),
        scores.reliability(predicted.labels, predicted.probabilities),
    )


def headline(report: Report) -> dict[str, float]:
    """Returns loss, accuracy, top5 and ece of the split."""
    metrics = predictions.mean_metrics(report.evaluated.predictions)
    return {**metrics, 'ece': report.reliability.error}


def details(report: Report) -> dict[str, str]:
    """Returns the table below the headline: data, seed, epochs, time and speed, as text."""
    run, config, data = report.run, report.config, report.evaluated.data
    parts = {'training': data.train, 'validation': data.validation, 'test': data.test}
    table = {
        'data': f'{config.data.source}, {len(data.classes)} classes: '
        + ', '.join(f'{len(p.labels):,} {name}' for name, p in parts.items() if p is not None),
        'seed': str(config.seed),
        'epochs': _epochs(run, report.evaluated.classifier.step),
    }
    best = history.best(run.lines, config.train.monitor)
    if best:
        table['best epoch'] = (
            f'{best["epoch"]}: {best["val_accuracy"]:.2%} of the validation images, '
            f'loss {best["val_loss"]:.4f}'
        )
    if run.lines:
        table['wall time'] = console.duration(run.seconds)
        table['training images/s'] = f'{run.images_per_second:,.0f} in the median epoch'
    table['weights'] = f'step {report.evaluated.classifier.step:,}, sha256 '
    table['weights'] += report.evaluated.predictions.sha256[:16]
    return table


def _epochs(run: Run, step: int) -> str:
    epoch = next((line['epoch'] for line in run.lines if line['step'] == step), None)
    finished = str(len(run.lines)) if run.summary else f'{len(run.lines)} so far'
    length = run.config.train.length
    of = f', of {length}' if str(length) != f'{len(run.lines)} epochs' else ''
    return f'{finished}{of}' + (f'; weights of epoch {epoch}' if epoch else '')


def settings(report: Report) -> tuple[list[Setting], list[Setting]]:
    """Returns the settings of the config that differ from the defaults, and the others."""
    defaults = configs.flat(get_defaults())
    differing: list[Setting] = []
    others: list[Setting] = []
    for key, value in configs.flat(report.config).items():
        same = key in defaults and defaults[key] == value
        default = _text(defaults[key]) if key in defaults else ''
        (others if same else differing).append(Setting(key, _text(value), default))
    return differing, others


def _text(value: object) -> str:
    """Returns a value as JSON, and a string without quotation marks."""
    if isinstance(value, str):
        return value or "''"
    return json.dumps(value, default=dict)
