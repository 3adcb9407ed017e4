"""RESULTS.md: every number that S0 to S4 published, and ours beside it."""

import pathlib
import shlex
import statistics
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cifar_jax.experiment.console import duration
from cifar_jax.experiment.records import SPLITS, Run, arguments, parsed, percent, spread, table

PUBLISHED = pathlib.Path(__file__).with_name('published.toml')
MEASURED = 'ours >epochs >time_a_run >images/s seeds processor command'
COLUMNS = f'experiment published {MEASURED}'
HEAD = """# Results

Every number that S0 to S4 published, and what this project measured for it; written by
`python scripts/results.py` from [results](results) and
[published.toml](scripts/tables/published.toml), so edit those instead. Numbers are accuracies,
cross-entropies in parentheses, means and standard deviations over the seeds, of the weights that a
run reports. Training accuracy is that of the epoch as it went, with dropout and augmentation; a
time is that of all epochs with their validation. Each command starts with
`python -m cifar_jax.main --config`, then `python -m cifar_jax.evaluate --workdir ...` looks at the
test images once.

"""
OTHERS = """## Other runs

Studies ([docs/studies.md](docs/studies.md)) and variations, which answer no published number.

"""
Row = Mapping[str, Any]
Cells = tuple[object, ...]


def systems() -> list[dict[str, Any]]:
    """Returns the systems of published.toml, each with its rows."""
    return tomllib.loads(PUBLISHED.read_text())['system']


def key(command: str) -> str:
    """Returns a command of published.toml as `runs.groups` knows it.

    >>> key('configs/senet.py --config.seed=3')
    '--config configs/senet.py'
    """
    return arguments(*parsed(['--config', *shlex.split(command)]))


def commands() -> Iterator[str]:
    """Yields every command of published.toml."""
    for system in systems():
        for row in system['row']:
            yield from (
                part['command'] for part in (row, *row.get('beside', ())) if _has_command(part)
            )


def _has_command(part: Row) -> bool:
    return not part.get('later')


def page(groups: Mapping[str, Sequence[Run]]) -> str:
    """Returns RESULTS.md for the runs that there are, as `runs.groups` has them."""
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
    """Yields the cells of a published row, and of our own recipes beside it."""
    published = row.get('published', {})
    claims = [*_claims(published), *filter(None, [row.get('note')])]
    splits = SPLITS if {'training', 'training_loss'} & published.keys() else SPLITS[:-1]
    yield (row['experiment'], '<br>'.join(claims) or 'no accuracy', *_measured(row, groups, splits))
    for own in row.get('beside', ()):
        yield (f'- {own["recipe"]}', '', *_measured(own, groups, splits))


def _claims(published: Mapping[str, str]) -> Iterator[str]:
    for split in SPLITS:
        accuracy, loss = published.get(split), published.get(f'{split}_loss')
        if accuracy:
            yield f'{split} {accuracy} %' + (f' ({loss})' if loss else '')
        elif loss:
            yield f'{split} loss {loss}'


def _measured(part: Row, groups: Mapping[str, Sequence[Run]], splits: Sequence[str]) -> Cells:
    if not _has_command(part):
        return ('later', '', '', '', '', '', '')
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
        f'{statistics.mean(run.speed for run in runs):,.0f}',
        ', '.join(map(str, sorted(run.config['seed'] for run in runs))),
        '; '.join(sorted({run.machine for run in runs})),
    )


def _code(command: str) -> str:
    return f'`{command.removeprefix("--config ")}`'
