"""The two tables of the README: CIFAR-10's networks, and S0's experiments in NumPy."""

import re
import statistics
from collections.abc import Mapping, Sequence

from cifar_jax.experiment.records import Run, percent, table

Groups = Mapping[str, Sequence[Run]]


def networks(groups: Groups) -> str:
    """Returns a line for each command that trained on CIFAR-10 in JAX."""
    columns = 'command >epochs >validation >test >top_5 >wall_time >images/s >seeds processor'
    rows = [
        (
            f'`{command}`',
            ' '.join(str(len(run.lines)) for run in runs),
            percent(runs, 'validation', 'accuracy', 2),
            percent(runs, 'test', 'accuracy', 2),
            percent(runs, 'test', 'top5', 2),
            f'{statistics.mean(run.summary["seconds"] for run in runs) / 60:.0f} min',
            f'{statistics.mean(run.speed for run in runs):.0f}',
            len(runs),
            runs[0].machine,
        )
        for command, runs in groups.items()
        if runs[0].config['data']['source'] == 'cifar10' and not runs[0].in_numpy
    ]
    return table(columns, rows)


def in_numpy(groups: Groups) -> str:
    """Returns a line for each command that trained in NumPy."""
    columns = 'command >rate >images_a_step >epochs >validation >test >images/s >seeds'
    rows = [
        (
            f'`{command}`',
            f'{runs[0].config["schedule"]["rate"]:g}',
            runs[0].config['train']['batch_size'],
            ' '.join(str(len(run.lines)) for run in runs),
            percent(runs, 'validation'),
            percent(runs, 'test'),
            f'{statistics.mean(run.top_speed for run in runs):,.0f}',
            len(runs),
        )
        for command, runs in groups.items()
        if runs[0].in_numpy
    ]
    return table(columns, rows)


def between(name: str, table: str, text: str) -> str:
    """Returns a page with a table in place of what stands between the two marks of a name."""
    first, last = f'<!-- {name} -->', f'<!-- end of {name} -->'
    new = f'{first}\n\n{table}\n\n{last}'
    return re.sub(f'{re.escape(first)}.*{re.escape(last)}', lambda _: new, text, flags=re.DOTALL)
