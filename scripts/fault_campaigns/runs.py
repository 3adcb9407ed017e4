"""The small runs that the campaigns disturb: a few seconds each, with all that a run can have."""

import json
import pathlib
from typing import Any, NamedTuple

from fault_campaigns import processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
_COMMON = (
    'data.fraction=0.3',
    'train.select=best',
    'log.every=1',
    'log.pictures=',
    'eval_batch_size=100',
)


class Kind(NamedTuple):
    """A config and its overrides."""

    name: str
    config: str
    overrides: tuple[str, ...]

    def arguments(self, workdir: pathlib.Path) -> list[str]:
        """Returns what `python -m cifar_jax.main` is given."""
        return [
            *('--config', str(ROOT / self.config), '--workdir', str(workdir), '--json'),
            *(f'--config.{text}' for text in (*_COMMON, *self.overrides)),
        ]


KINDS = (
    Kind(
        'average',
        'configs/small_vgg.py:digits',
        (
            'model.widths=(8, 8)',
            'train.length=5 epochs',
            'checkpoint.every=3 steps',
            'ema=0.9',
            'log.pictures=100%',
        ),
    ),
    Kind(
        'patience',
        'configs/small_vgg.py:digits',
        (
            'model.widths=(4, 4)',
            'train.length=30 epochs',
            'train.patience=2',
            'train.monitor=loss',
            'optimizer.name=sgd',
            'schedule.rate=0.3',
        ),
    ),
    Kind('numpy', 'configs/numpy_cnn.py:digits', ('train.length=5 epochs',)),
)


class Reference(NamedTuple):
    """An undisturbed run of a kind: its workdir, its summary and its time."""

    kind: Kind
    workdir: pathlib.Path
    summary: dict[str, Any]
    seconds: float

    @property
    def expected(self) -> dict[str, Any]:
        """What a disturbed run must end with."""
        keys = ('finished', 'step', 'sha256', 'val_accuracy', 'val_loss', 'train_loss')
        return {key: self.summary[key] for key in keys if key in self.summary}

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl without times."""
        return lines(self.workdir)


def reference(kind: Kind, folder: pathlib.Path) -> Reference:
    """Runs a kind from start to end, or reads the run that an earlier call left."""
    workdir = folder / kind.name / 'reference'
    outcome = processes.run('main', kind.arguments(workdir), folder / kind.name / 'output')
    if outcome.code:
        raise RuntimeError(f'{kind.name} does not run undisturbed:\n{outcome.errors}')
    seconds_path = folder / kind.name / 'seconds'
    if not seconds_path.exists():
        seconds_path.write_text(str(outcome.seconds))
    seconds = float(seconds_path.read_text())
    return Reference(kind, workdir, json.loads(outcome.last_line), seconds)


def lines(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the complete lines of metrics.jsonl without times, and so without checksums."""
    path = workdir / 'metrics.jsonl'
    written = path.read_text().split('\n')[:-1] if path.exists() else ()
    return [
        {
            key: value
            for key, value in json.loads(line).items()
            if 'second' not in key and key != 'checksum'
        }
        for line in written
    ]
