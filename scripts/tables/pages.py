"""The generated tables in README.md, docs/cifar10.md, docs/numpy.md and docs/transfer.md."""

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence

from cifar_jax import files
from cifar_jax.experiment.records import Run, percent
from tables import kept
from tables.kept import table

_PROBES = {'linear': 'logistic regression', 'neighbours': 'nearest neighbours'}
Groups = Mapping[str, Sequence[Run]]


def headline(groups: Groups) -> str:
    """Returns a row per network on CIFAR-10, for the command with the best validation accuracy.

    Choosing the best test accuracy would be selection on the test images.
    """
    best: dict[str, tuple[str, Sequence[Run]]] = {}
    for command, runs in _on_cifar10(groups):
        config = runs[0].config
        name = config['model']['name'] + (', pretrained' if config.get('init_from') else '')
        if name not in best or _validation(runs) > _validation(best[name][1]):
            best[name] = command, runs
    columns = 'network >epochs >test_accuracy >training_time >seeds processor command'
    rows = [
        (
            name,
            _epochs(runs),
            percent(runs, 'test', 'accuracy', 2),
            _minutes(runs),
            len(runs),
            runs[0].machine,
            f'`{command}`',
        )
        for name, (command, runs) in sorted(best.items(), key=lambda item: _validation(item[1][1]))
    ]
    return table(columns, rows)


def networks(groups: Groups) -> str:
    """Returns a row per command that trained on CIFAR-10 in JAX."""
    columns = 'command >epochs >validation >test >top_5 >wall_time >images/s >seeds processor'
    rows = [
        (
            f'`{command}`',
            _epochs(runs),
            percent(runs, 'validation', 'accuracy', 2),
            percent(runs, 'test', 'accuracy', 2),
            percent(runs, 'test', 'top5', 2),
            _minutes(runs),
            f'{statistics.mean(run.images_per_second for run in runs):.0f}',
            len(runs),
            runs[0].machine,
        )
        for command, runs in _on_cifar10(groups)
    ]
    return table(columns, rows)


def in_numpy(groups: Groups) -> str:
    """Returns a row per command that trained in NumPy."""
    columns = 'command >rate >batch_size >epochs >validation >test >images/s >seeds'
    rows = [
        (
            f'`{command}`',
            f'{runs[0].config["schedule"]["rate"]:g}',
            runs[0].config['train']['batch_size'],
            _epochs(runs),
            percent(runs, 'validation'),
            percent(runs, 'test'),
            f'{statistics.mean(run.top_speed for run in runs):,.0f}',
            len(runs),
        )
        for command, runs in groups.items()
        if runs[0].in_numpy
    ]
    return table(columns, rows)


def probes(groups: Groups) -> str:
    """Returns a row per classifier by scikit-learn on a set of features in results/."""
    columns = 'images network >size probe >chosen >validation >test >seconds processor command'
    rows = []
    for path in sorted(kept.RESULTS.glob('probes_*.json')):
        stored = files.read_checked_json(path)
        cores = stored['environment']['cores']
        for name, probe in stored['probes'].items():
            rows.append(
                (
                    stored['source'],
                    stored['features']['model'],
                    stored['features']['size'],
                    _PROBES[name],
                    f'{probe["value"]:g}',
                    f'{probe["validation"]:.2%}',
                    f'{probe["test"]:.2%}',
                    f'{probe["seconds"]:.0f}',
                    f'{stored["environment"]["processor"]}, {cores} core{"s" * (cores > 1)}',
                    f'`{stored["command"]}`',
                )
            )
    return table(columns, rows)


def _on_cifar10(groups: Groups) -> Iterator[tuple[str, Sequence[Run]]]:
    for command, runs in groups.items():
        if runs[0].config['data']['source'] == 'cifar10' and not runs[0].in_numpy:
            yield command, runs


def _validation(runs: Sequence[Run]) -> float:
    return statistics.mean(run.metric('validation', 'accuracy') or 0.0 for run in runs)


def _epochs(runs: Sequence[Run]) -> str:
    counts = [str(len(run.lines)) for run in runs]
    return counts[0] if len({*counts}) == 1 else ' '.join(counts)


def _minutes(runs: Sequence[Run]) -> str:
    return f'{statistics.mean(run.summary["seconds"] for run in runs) / 60:.0f} min'


def between(name: str, table: str, text: str) -> str:
    """Returns the text of a page with a table inserted between the two marks with a name."""
    first, last = f'<!-- {name} -->', f'<!-- end of {name} -->'
    new = f'{first}\n\n{table}\n\n{last}'
    return re.sub(f'{re.escape(first)}.*{re.escape(last)}', lambda _: new, text, flags=re.DOTALL)


TABLES = (  # page, name of its marks, function for its table
    ('README.md', 'headline', headline),
    ('docs/cifar10.md', 'results', networks),
    ('docs/numpy.md', 'NumPy results', in_numpy),
    ('docs/transfer.md', 'probes', probes),
)
