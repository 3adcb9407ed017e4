"""Generates docs/results.md: the results published by S0 to S4, and ours for comparison."""

import pathlib
import shlex
import statistics
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cifar_jax.experiment.console import duration
from cifar_jax.experiment.records import SPLITS, Run, percent, spread
from tables.kept import arguments, parsed, table

PUBLISHED = pathlib.Path(__file__).with_name('published.toml')
MEASURED = 'ours >epochs >time_per_run >images/s seeds processor command'
COLUMNS = f'experiment published {MEASURED}'
HEAD = """# Results

The results of five earlier projects, and what this project measured for the same networks and
recipes. Written by `python scripts/results.py` from [results](../results) and
[published.toml](../scripts/tables/published.toml): edit those, not this page.

## Sources

All five are in Spanish; other pages call them S0 to S4.

- S0: Roberto Benatuil Valera, "Implementación de Clasificador de Imágenes desde Cero", project
  IMT3120, repository CNN-from-scratch; the year is not known.
- S1: Luis Antonio Ortega Andrés, "Redes Neuronales Convolucionales", 29 November 2019.
- S2: "Clasificador de Imágenes", three classifiers for CIFAR-100; author and year are not known.
- S3: "Clasificación de imágenes: CIFAR-10 dataset", final work, 5 May 2021; the author
  is not named.
- S4: "CIFAR10-CNN-PyTorch"; author and year are not known.

## How to read the tables

- Numbers are accuracies, with the cross-entropy in parentheses. They are means and standard
  deviations over the seeds, of the weights that a run reports.
- Training accuracy is measured during the epoch, with dropout and augmentation.
- Times are those of all epochs, including validation. Images/s are those of the median epoch.
- A command `configs/senet.py` stands for `python -m cifar_jax.main --config configs/senet.py`;
  `python -m cifar_jax.evaluate --workdir ...` then evaluates the run on the test images, once.
- `python scripts/reproduce.py senet` repeats the run in results/senet, and says whether the weights
  have the same SHA-256, or on another kind of machine, whether the accuracies agree.
- `python -m cifar_jax.compare results/A results/B` compares two runs, with a significance test if
  both have their predictions for the test images in results/, as newer runs do.

"""
OTHERS = """## Other runs

Studies ([studies.md](studies.md)) and variations, for which no number was published.

"""
Row = Mapping[str, Any]
Cells = tuple[object, ...]


def systems() -> list[dict[str, Any]]:
    """Returns the systems of published.toml, each with its rows."""
    return tomllib.loads(PUBLISHED.read_text())['system']


def key(command: str) -> str:
    """Returns the key in `kept.groups` for a command of published.toml.

    >>> key('configs/senet.py --config.seed=3')
    '--config configs/senet.py'
    """
    return arguments(*parsed(['--config', *shlex.split(command)]))


def commands() -> Iterator[str]:
    """Yields every command of published.toml."""
    for system in systems():
        for row in system['row']:
            yield from (part['command'] for part in (row, *row.get('beside', ())))


def page(groups: Mapping[str, Sequence[Run]]) -> str:
    """Returns docs/results.md for the runs that `kept.groups` returns."""
    parts = [HEAD]
    for system in systems():
        rows = [cells for row in system['row'] for cells in lines(row, groups)]
        parts.append(f'## {system["name"]}\n\n{system["data"].strip()}\n\n')
        parts.append(f'{table(COLUMNS, rows)}\n\n')
    answers = {key(command) for command in commands()}
    others = [
        (*_ours(runs), _code(command)) for command, runs in groups.items() if command not in answers
    ]
    if others:
        parts.append(f'{OTHERS}{table(MEASURED, others)}\n')
    return ''.join(parts).rstrip('\n') + '\n'


def lines(row: Row, groups: Mapping[str, Sequence[Run]]) -> Iterator[Cells]:
    """Yields the rows for a published result and for our own recipes."""
    published = row.get('published', {})
    claims = [*_claims(published), *filter(None, [row.get('note')])]
    splits = SPLITS if {'training', 'training_loss'} & published.keys() else SPLITS[:-1]
    yield (row['experiment'], '<br>'.join(claims) or 'no accuracy', *_measured(row, groups, splits))
    for recipe in row.get('beside', ()):
        yield (f'- {recipe["recipe"]}', '', *_measured(recipe, groups, splits))


def _claims(published: Mapping[str, str]) -> Iterator[str]:
    for split in SPLITS:
        accuracy, loss = published.get(split), published.get(f'{split}_loss')
        if accuracy:
            yield f'{split} {accuracy} %' + (f' ({loss})' if loss else '')
        elif loss:
            yield f'{split} loss {loss}'


def _measured(part: Row, groups: Mapping[str, Sequence[Run]], splits: Sequence[str]) -> Cells:
    command = key(part['command'])
    if command not in groups:
        return ('not run yet', '', '', '', '', '', _code(command))
    return (*_ours(groups[command], splits), _code(command))


def _ours(runs: Sequence[Run], splits: Sequence[str] = SPLITS[:-1]) -> Cells:
    """Returns accuracies and losses, epochs, time, images/s, seeds and processors of a group."""
    accuracies = {split: percent(runs, split, 'accuracy', 2) for split in splits}
    epochs = sorted({len(run.lines) for run in runs})
    return (
        '<br>'.join(
            f'{split} {accuracy} ({spread([run.metric(split, "loss") for run in runs], 2)})'
            for split, accuracy in accuracies.items()
            if accuracy
        ),
        ' to '.join(map(str, epochs[:1] + epochs[1:][-1:])),
        duration(statistics.mean(run.summary['seconds'] for run in runs)),
        f'{statistics.mean(run.images_per_second for run in runs):,.0f}',
        ', '.join(map(str, sorted(run.config['seed'] for run in runs))),
        '; '.join(sorted({run.machine for run in runs})),
    )


def _code(command: str) -> str:
    return f'`{command.removeprefix("--config ")}`'
