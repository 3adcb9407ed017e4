"""The runs under results/, grouped by command."""

import pathlib
import shlex
from collections.abc import Iterable, Sequence

from cifar_jax import main
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import records
from cifar_jax.experiment.records import Run

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'results'
_COMMAND = ['python', '-m', 'cifar_jax.main']
Overrides = tuple[tuple[str, str], ...]  # keys and values as text


def read(folder: pathlib.Path) -> Run:
    """Reads the finished run in a workdir or a folder of results/.

    Raises:
      UserError: the folder is not a run, the run is damaged or not finished, or it was not started
        by a command.
    """
    run = records.read(folder)
    if not run.summary.get('finished') or not run.lines:
        raise UserError(f'{folder} is not finished: run its command again to resume it.')
    if not run.command:
        raise UserError(
            f'{run.workdir.config} has no command, by which runs in results/ are identified.'
        )
    return run


def read_all(results: pathlib.Path = RESULTS) -> list[Run]:
    """Reads all runs in a folder of results, sorted by name.

    Raises:
      UserError: a run cannot be read, see `read`.
    """
    return [read(path) for path in sorted(results.iterdir()) if path.is_dir()]


def groups(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Groups runs by their arguments without the seed.

    Raises:
      UserError: two runs have the same arguments and seed.
    """
    by_arguments: dict[str, list[Run]] = {}
    for run in runs:
        members = by_arguments.setdefault(arguments(*parts(run)), [])
        for other in members:
            if other.seed == run.seed:
                raise UserError(
                    f'{other.workdir.path} and {run.workdir.path} have the same command and seed: '
                    'remove one.'
                )
        members.append(run)
    return by_arguments


def parts(run: Run) -> tuple[str, Overrides]:
    """Returns FILE[:variant] of a run's command, and its overrides without the seed."""
    return parsed(shlex.split(run.command)[len(_COMMAND) :])


def parsed(words: Sequence[str]) -> tuple[str, Overrides]:
    """Returns the config and the overrides, without the seed, of the arguments of `main`.

    >>> parsed(['--config', 'a.py:b', '--workdir=w', '--config.seed=1', '--config.ema', '0.9'])
    ('a.py:b', (('ema', '0.9'),))
    """
    args, rest = main.parser().parse_known_args(words)
    return args.config, tuple(pair for pair in configs.pairs(rest) if pair[0] != 'seed')


def arguments(spec: str, overrides: Iterable[tuple[str, str]]) -> str:
    """Returns the command-line arguments for a config and its overrides.

    >>> arguments('configs/senet.py', [('train.length', '9 epochs')])
    "--config configs/senet.py '--config.train.length=9 epochs'"
    """
    return shlex.join(['--config', spec, *(f'--config.{key}={text}' for key, text in overrides)])


def command(run: Run) -> str:
    """Returns a command that repeats a run, with its seed and without its workdir."""
    spec, overrides = parts(run)
    seed = [('seed', str(run.seed))] if run.seed else []
    return f'{" ".join(_COMMAND)} {arguments(spec, (*overrides, *seed))}'


def table(columns: str, rows: Iterable[Sequence[object]]) -> str:
    """Returns a table in Markdown; columns whose names begin with '>' are right-aligned.

    >>> print(table('name >size', [('a', 1)]))
    | name | size |
    | --- | ---: |
    | a | 1 |
    """
    names = [name.replace('_', ' ') for name in columns.split()]
    lines = [
        [name.removeprefix('>') for name in names],
        ['---:' if name.startswith('>') else '---' for name in names],
        *([str(cell).replace('|', '\\|') for cell in row] for row in rows),
    ]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
