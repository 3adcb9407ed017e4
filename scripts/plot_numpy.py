"""Draw what S0 asked: accuracy and speed against depth, and convergence against the rate.

    python scripts/plot_numpy.py

Reads the runs of configs/numpy_cnn.py in results/, writes docs/numpy_depth.svg and
docs/numpy_rate.svg. Every dot is a seed, every line their mean.
"""

import pathlib
import statistics

import matplotlib

import numpy_results
from numpy_results import Run

matplotlib.use('svg')
import matplotlib.pyplot as plt

DOCS = pathlib.Path(__file__).resolve().parent.parent / 'docs'
COLOURS = plt.get_cmap('viridis')


def plain(run: Run) -> bool:
    """Tells whether a run is S0's recipe: plain SGD, one image a step, He's start, no dropout."""
    config = run.config
    options = [part for layer in config['model']['layers'] for part in layer[1:]]
    return (
        config['optimizer']['name'] == 'sgd'
        and config['train']['batch_size'] == 1
        and all(layer[0] != 'dropout' for layer in config['model']['layers'])
        and all(part.get('init', 'he') == 'he' for part in options)
    )


def depth(runs: list[Run], path: pathlib.Path) -> None:
    """Draws test accuracy and images/s against the number of blocks, a line for each rate."""
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.4), layout='constrained')
    rates = sorted({run.config['schedule']['rate'] for run in runs if run.blocks > 1})
    for number, rate in enumerate(rates):
        own = [run for run in runs if run.config['schedule']['rate'] == rate]
        _line(panels[0], own, _test_accuracy, f'C{number}', f'rate {rate:g}')
    _line(panels[1], runs, lambda run: run.speed, 'C2', 'any rate')
    panels[0].axhline(10, color='grey', lw=0.8, ls=':')
    panels[0].text(2.5, 10.4, 'chance', color='grey', ha='center', va='bottom')
    panels[0].set_ylabel('test accuracy, %')
    panels[1].set_ylabel('images a second in the fastest epoch')
    for panel in panels:
        panel.set_xlabel('blocks of convolution, max-pooling and ReLU')
        panel.set_xticks([1, 2, 3])
        panel.set_ylim(bottom=0)
        panel.spines[['top', 'right']].set_visible(False)
    panels[0].legend(frameon=False)
    figure.savefig(path)
    plt.close(figure)


def _line(panel, runs: list[Run], value, colour: str, label: str) -> None:
    blocks = sorted({run.blocks for run in runs})
    means = [statistics.mean(value(r) for r in runs if r.blocks == b) for b in blocks]
    panel.plot(blocks, means, color=colour, label=label)
    panel.plot([r.blocks for r in runs], [value(r) for r in runs], 'o', color=colour, ms=4)


def rate(runs: list[Run], path: pathlib.Path) -> None:
    """Draws the losses of one block after each epoch, a colour for each rate."""
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), layout='constrained', sharey=True)
    own = [run for run in runs if run.blocks == 1]
    rates = sorted({run.config['schedule']['rate'] for run in own})
    for number, value in enumerate(rates):
        colour = COLOURS(number / max(1, len(rates) - 1) * 0.9)
        seeds = [run for run in own if run.config['schedule']['rate'] == value]
        for panel, key in zip(panels, ('train_loss', 'val_loss'), strict=True):
            for index, run in enumerate(seeds):
                panel.plot(
                    [line['epoch'] for line in run.lines],
                    [line[key] for line in run.lines],
                    color=colour,
                    lw=1.2,
                    label=f'rate {value:g}' if not index else None,
                )
    for panel, title in zip(panels, ('training, as it went', 'validation'), strict=True):
        panel.set_title(title, fontsize=10)
        panel.axhline(2.3026, color='grey', lw=0.8, ls=':')
        panel.set_xlabel('epoch')
        panel.set_ylim(1, 3)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.spines[['top', 'right']].set_visible(False)
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
    figure.savefig(path)
    plt.close(figure)


def _test_accuracy(run: Run) -> float:
    return 100 * run.summary['test']['accuracy']


def main() -> None:
    """Runs the script."""
    plt.rcParams['svg.hashsalt'] = 'cifar_jax'  # the same picture, the same bytes
    runs = [run for members in numpy_results.groups().values() for run in members if plain(run)]
    depth(runs, DOCS / 'numpy_depth.svg')
    rate(runs, DOCS / 'numpy_rate.svg')


if __name__ == '__main__':
    main()
