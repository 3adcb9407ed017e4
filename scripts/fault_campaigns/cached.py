"""One file of the data cache, or of the set that it is made from, is damaged.

A command then gives the right numbers, since the cache is created again, or refuses in a sentence.
"""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
from typing import Any, NamedTuple

from cifar_jax.data import cache
from fault_campaigns import damage, inputs, prepare, processes
from fault_campaigns.judge import Verdict, judge

_OWN, _OTHER = (pathlib.Path(name, '1.0.0') for name in prepare.NAMES)


class Reference(NamedTuple):
    """Two prepared sets with their caches, and a run on the first of them.

    expected: for each command, what it says.
    """

    data: pathlib.Path
    workdir: pathlib.Path
    expected: dict[str, dict[str, Any]]


def reference(folder: pathlib.Path) -> Reference:
    """Prepares the sets and trains, or reads what an earlier call left."""
    data, kept = folder / 'data', folder / 'expected.json'
    _preload()
    if not kept.exists():
        shutil.rmtree(folder, ignore_errors=True)
        data.mkdir(parents=True)
        words = [sys.executable, prepare.__file__, str(data)]
        subprocess.run(words, check=True, capture_output=True)
        for name in reversed(prepare.NAMES):  # the last run is the one on the first set
            shutil.rmtree(folder / 'workdir', ignore_errors=True)
            outcome = processes.run('main', _training(folder, data, name), folder / 'output')
            trained = json.loads(outcome.last_line)
        outcome = processes.run('evaluate', _evaluating(folder, data), folder / 'output')
        expected = {
            'main': {key: trained[key] for key in ('sha256', 'val_accuracy', 'val_loss')},
            'evaluate': json.loads(outcome.last_line),
        }
        kept.write_text(json.dumps(expected))
    return Reference(data, folder / 'workdir', json.loads(kept.read_text()))


def case(reference: Reference, scratch: pathlib.Path, seed: int) -> Verdict:
    """Damages one file of a copy of the prepared set and its cache, and runs one command."""
    generator = random.Random(seed)
    shutil.rmtree(scratch, ignore_errors=True)
    data = scratch / 'data'
    shutil.copytree(reference.data, data)
    # The set itself is read where it has no cache.
    if generator.random() < 0.3:
        shutil.rmtree(data / _OWN / cache.FOLDER)
    files = sorted(
        path for path in (data / _OWN).rglob('*') if path.is_file() or path.name == cache.FOLDER
    )
    cached = [path for path in files if cache.FOLDER in path.parts]
    path = generator.choice(cached or files)
    name = path.relative_to(data / _OWN)
    damages = (_another,) if path.name == cache.FOLDER else (*damage.DAMAGES, pipe, _another)
    chosen = generator.choice(damages)
    chosen(path, generator)
    command = generator.choice(('main', 'evaluate'))
    if command == 'main':
        arguments = _training(scratch, data, prepare.NAMES[0])
    else:
        shutil.copytree(reference.workdir, scratch / 'workdir')
        shutil.rmtree(scratch / 'workdir/predictions')
        arguments = _evaluating(scratch, data)
    outcome = processes.run(command, arguments, scratch / 'output')
    verdict = judge(outcome, reference.expected[command])
    # A cache is created again: here a warning does not excuse other numbers.
    kind = 'silently wrong' if verdict.kind == 'said' else verdict.kind
    detail = f'{command} after {chosen.__name__} of {name}: {verdict.detail or "fine"}'
    return Verdict(kind, detail)


def pipe(path: pathlib.Path, generator: random.Random) -> None:
    """Puts a pipe, which nobody writes to, in the place of a file."""
    path.unlink()
    os.mkfifo(path)


def _another(path: pathlib.Path, generator: random.Random) -> None:
    """Replaces a file, or the whole cache, by that of the other set."""
    parts = path.parts
    root = pathlib.Path(*parts[: parts.index(_OWN.parts[0])])
    inside = path.relative_to(root / _OWN)
    other = root / _OTHER / str(inside).replace(prepare.NAMES[0], prepare.NAMES[1])
    if path.is_dir():
        shutil.rmtree(path)
        shutil.copytree(other, path)
    else:
        shutil.copy(other, path)


def _training(scratch: pathlib.Path, data: pathlib.Path, name: str) -> list[str]:
    more = f'--config.data.dir={data}', '--config.train.batch_size=8'
    return inputs.training(scratch, f'tfds:{name}', *more)


def _evaluating(scratch: pathlib.Path, data: pathlib.Path) -> list[str]:
    return ['--workdir', str(scratch / 'workdir'), '--data-dir', str(data), '--json']


def _preload() -> None:
    """Imports what decodes a set, once; nothing of TensorFlow is started but in the children."""
    import tensorflow
    import tensorflow_datasets

    del tensorflow, tensorflow_datasets
