"""Draw the plots of docs/studies.md from the runs in results/.

    python scripts/plot_studies.py

S0: accuracy and speed over depth (docs/numpy_depth.svg), loss curves by learning rate
(docs/numpy_rate.svg). S1: accuracy over depth and batch norm (docs/s1_networks.svg), if there are
runs. Each dot is a seed, each line the mean of the seeds; loss curves are drawn per seed.
"""

import itertools
import pathlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib

from cifar_jax import models
from cifar_jax.errors import UserError
from cifar_jax.experiment import console
from cifar_jax.experiment.records import Run
from tables import kept

matplotlib.use('svg')
import matplotlib.pyplot as plt

DOCS = kept.ROOT / 'docs'
COLOURS = plt.get_cmap('viridis')
S1_SPECS = ('configs/cifar100_25.py:base_a', 'configs/cifar100_25.py:improved_a')
S1_KEYS = {'train.length', 'model.widths', 'model.batch_norm'}
STYLES = (':', '-.', '--', '-')  # from shallow to deep networks


def plain(run: Run) -> bool:
    """Returns whether a run has S0's recipe: SGD, batch size 1, He initialization, no dropout."""
    if not run.in_numpy:
        return False
    config = run.config
    options = [part for layer in config['model']['layers'] for part in layer[1:]]
    return (
        config['optimizer']['name'] == 'sgd'
        and config['train']['batch_size'] == 1
        and all(layer[0] != 'dropout' for layer in config['model']['layers'])
        and all(part.get('init', 'he') == 'he' for part in options)
    )


def depth(runs: list[Run], path: pathlib.Path) -> None:
    """Draws test accuracy and images/s over the number of blocks, one line per learning rate."""
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.4), layout='constrained')
    rates = sorted({_rate(run) for run in runs if convolutions(run) > 1})
    for number, rate in enumerate(rates):
        members = [run for run in runs if _rate(run) == rate]
        _line(panels[0], members, _accuracy('test'), f'C{number}', f'rate {rate:g}')
    _line(panels[1], runs, lambda run: run.top_speed, 'C2', 'any rate')
    panels[0].axhline(10, color='grey', lw=0.8, ls=':')
    panels[0].text(2.5, 10.4, 'chance', color='grey', ha='center', va='bottom')
    panels[0].set_ylabel('test accuracy, %')
    panels[1].set_ylabel('images/s in the fastest epoch')
    for panel in panels:
        panel.set_xlabel('blocks of convolution, max-pooling and ReLU')
        panel.set_xticks([1, 2, 3])
        panel.set_ylim(bottom=0)
    panels[0].legend(frameon=False)
    _save(figure, panels, path)


def rate(runs: list[Run], path: pathlib.Path) -> None:
    """Draws the losses of networks with one block over the epochs, one colour per learning rate."""
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), layout='constrained', sharey=True)
    single_block = [run for run in runs if convolutions(run) == 1]
    rates = sorted({_rate(run) for run in single_block})
    for number, value in enumerate(rates):
        colour = COLOURS(number / max(1, len(rates) - 1) * 0.9)
        seeds = [run for run in single_block if _rate(run) == value]
        for panel, key in zip(panels, ('train_loss', 'val_loss'), strict=True):
            _curves(panel, seeds, key, 1, color=colour, label=f'rate {value:g}')
    for panel, title in zip(panels, ('training (running mean)', 'validation'), strict=True):
        panel.set_title(title, fontsize=10)
        panel.axhline(2.3026, color='grey', lw=0.8, ls=':')
        panel.set_ylim(1, 3)
    panels[0].set_ylabel('cross-entropy, nats')
    panels[0].text(
        0.99,
        2.28,
        'chance',
        color='grey',
        ha='right',
        va='top',
        transform=panels[0].get_yaxis_transform(),
    )
    panels[1].legend(frameon=False, fontsize=8, ncols=2, loc='lower right')
    _save(figure, panels, path)


def in_s1(run: Run) -> bool:
    """Returns whether a run belongs to S1's study: BaseNet or ImprovedNet with (a), shortened."""
    spec, overrides = kept.parts(run)
    keys = {key for key, _ in overrides}
    return spec in S1_SPECS and 'train.length' in keys and keys <= S1_KEYS


def networks(runs: list[Run], path: pathlib.Path) -> None:
    """Draws accuracy over depth, and over the epochs, one colour per placement of batch norm.

    Raises:
      UserError: the runs have different lengths, so they cannot be compared.
    """
    lengths = sorted({run.config['train']['length'] for run in runs})
    if len(lengths) > 1:
        raise UserError(
            f"S1's study has runs of {' and '.join(lengths)} in results/: keep one length."
        )
    splits = [
        split
        for split in ('validation', 'test')
        if all(run.metric(split, 'accuracy') is not None for run in runs)
    ]
    figure, panels = plt.subplots(
        1, len(splits) + 1, figsize=(4 * len(splits) + 6, 3.8), layout='constrained', sharey=True
    )
    depths = sorted({convolutions(run) for run in runs})
    for number, label in enumerate(sorted({_norm(run) for run in runs})):
        members = [run for run in runs if _norm(run) == label]
        for panel, split in zip(panels, splits, strict=False):
            _line(panel, members, _accuracy(split), f'C{number}', label)
        for count, style in zip(depths, itertools.cycle(STYLES), strict=False):
            seeds = [run for run in members if convolutions(run) == count]
            name = f'{label}, {count}'
            _curves(
                panels[-1], seeds, 'val_accuracy', 100, color=f'C{number}', ls=style, label=name
            )
    for panel, split in zip(panels, splits, strict=False):
        panel.set_title(f'{split}, best of {lengths[0]}', fontsize=10)
        panel.set_xlabel('convolutions')
        panel.set_xticks(depths)
    panels[-1].set_title('validation, after each epoch', fontsize=10)
    panels[0].set_ylabel('accuracy, %')
    panels[0].legend(frameon=False, fontsize=8)
    legend_position = {'loc': 'center left', 'bbox_to_anchor': (1, 0.5)}
    panels[-1].legend(frameon=False, fontsize=8, title='convolutions', **legend_position)
    _save(figure, panels, path)


def convolutions(run: Run) -> int:
    """Returns the number of convolutions in the network of a run of S0 or S1."""
    model = run.config['model']
    if run.in_numpy:
        return sum(layer[0] == 'conv' for layer in model['layers'])
    widths = model.get('widths', models.MODELS[model['name']].widths)
    return len(widths) * (2 if model['name'] == 'ImprovedNet' else 1)


def _norm(run: Run) -> str:
    model = run.config['model']
    norm = model.get('batch_norm', 'none')
    return model['name'] + ('' if norm == 'none' else f', batch norm {norm}')


def _rate(run: Run) -> float:
    return run.config['schedule']['rate']


def _accuracy(split: str) -> Callable[[Run], float]:
    return lambda run: 100 * (run.metric(split, 'accuracy') or 0.0)


def _line(
    panel: Any, runs: Sequence[Run], value: Callable[[Run], float], colour: str, label: str
) -> None:
    """Draws values over the number of convolutions: one dot per run, a line through the means."""
    depths = sorted({convolutions(run) for run in runs})
    means = [statistics.mean(value(r) for r in runs if convolutions(r) == d) for d in depths]
    panel.plot(depths, means, color=colour, label=label)
    panel.plot([convolutions(r) for r in runs], [value(r) for r in runs], 'o', color=colour, ms=4)


def _curves(panel: Any, runs: Sequence[Run], key: str, unit: float, **style: Any) -> None:
    """Draws a value of metrics.jsonl over the epochs: one curve per run, one label in total."""
    for run in runs:
        panel.plot(
            [line['epoch'] for line in run.lines],
            [unit * line[key] for line in run.lines],
            **{'lw': 1.2, **style},
        )
        style.pop('label', None)
    panel.set_xlabel('epoch')
    panel.xaxis.get_major_locator().set_params(integer=True)


def _save(figure: Any, panels: Sequence[Any], path: pathlib.Path) -> None:
    for panel in panels:
        panel.spines[['top', 'right']].set_visible(False)
    # Makes the bytes reproducible.
    with plt.rc_context({'svg.hashsalt': 'cifar_jax'}):
        figure.savefig(path, metadata={'Date': None})
    plt.close(figure)


def main() -> None:
    """Runs the script; user errors end it with one sentence and status 1."""
    with console.mistakes_as_sentences():
        runs = kept.read_all()
        s0, s1 = [run for run in runs if plain(run)], [run for run in runs if in_s1(run)]
        depth(s0, DOCS / 'numpy_depth.svg')
        rate(s0, DOCS / 'numpy_rate.svg')
        if s1:
            networks(s1, DOCS / 's1_networks.svg')
        else:
            print("results/ has no runs of S1's study yet; docs/studies.md has the command.")


if __name__ == '__main__':
    main()
