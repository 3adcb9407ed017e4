"""The runs of the NumPy backend in results/, grouped over their seeds."""

import json
import pathlib
import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

RESULTS = pathlib.Path(__file__).resolve().parent.parent / 'results'
HEAD = (
    '| command | rate | images a step | epochs | validation | test | images/s | seeds |\n'
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |'
)


class Run(NamedTuple):
    """A finished run: config.json, metrics.jsonl and summary.json."""

    command: str
    config: dict[str, Any]
    environment: dict[str, Any]
    lines: list[dict[str, Any]]
    summary: dict[str, Any]

    @property
    def speed(self) -> float:
        """Images a second of training in the fastest epoch, which is what S0 published."""
        return max(line['images_per_second'] for line in self.lines)

    @property
    def blocks(self) -> int:
        """How many convolutions there are."""
        return sum(layer[0] == 'conv' for layer in self.config['model']['layers'])


def groups() -> dict[str, list[Run]]:
    """Returns the runs by their command without the seed, in the order of their names."""
    found: dict[str, list[Run]] = {}
    for run in _runs():
        words = run.command.removeprefix('python -m cifar_jax.main ').split()
        command = ' '.join(word for word in words if not word.startswith('--config.seed='))
        found.setdefault(command, []).append(run)
    return found


def _runs() -> Iterator[Run]:
    for path in sorted(RESULTS.glob('*/config.json')):
        stored = json.loads(path.read_text())
        if stored['config']['model']['name'] == 'Network':
            lines = (path.parent / 'metrics.jsonl').read_text().splitlines()
            summary = json.loads((path.parent / 'summary.json').read_text())
            yield Run(
                stored['command'],
                stored['config'],
                stored['environment'],
                [json.loads(line) for line in lines],
                summary,
            )


def table() -> str:
    """Returns a line for each command: means and standard deviations over the seeds."""
    return '\n'.join([HEAD, *(_row(command, runs) for command, runs in groups().items())])


def _row(command: str, runs: list[Run]) -> str:
    config = runs[0].config
    cells = (
        f'`{command}`',
        f'{config["schedule"]["rate"]:g}',
        config['train']['batch_size'],
        ' '.join(str(len(run.lines)) for run in runs),
        spread([100 * run.summary['val_accuracy'] for run in runs]) + ' %',
        spread([100 * run.summary['test']['accuracy'] for run in runs]) + ' %',
        f'{statistics.mean(run.speed for run in runs):,.0f}',
        len(runs),
    )
    return f'| {" | ".join(map(str, cells))} |'


def spread(values: list[float]) -> str:
    """Returns mean and sample standard deviation.

    >>> spread([1.0, 2.0, 3.0])
    '2.0 ± 1.0'
    """
    deviation = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.1f}{deviation}'
