"""Curves of accuracy, loss and learning rate over the epochs."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cifar_jax.reporting import style
from cifar_jax.reporting.picture import Picture
from cifar_jax.training import history
from cifar_jax.training.history import Line

PARTS = (('train', 'training', style.BLUE, '-'), ('val', 'validation', style.RED, '--'))


def draw(lines: Sequence[Line], monitor: str) -> tuple[Picture, ...]:
    """Draws accuracy, loss and learning rate over the epochs; returns () if no epoch has ended.

    Args:
      lines: the lines of metrics.jsonl.
      monitor: 'accuracy' or 'loss', the validation metric that defines the best epoch.
    """
    if not lines:
        return ()
    best = history.best(lines, monitor)
    return (
        _metric(lines, best, 'accuracy', 'Accuracy', '{:.1%}'),
        _metric(lines, best, 'loss', 'Loss', '{:.3f}'),
        _rate(lines),
    )


def _metric(lines: Sequence[Line], best: Line | None, key: str, title: str, form: str) -> Picture:
    figure = style.figure(3.4)
    axes = figure.subplots()
    words = []
    for part, name, colour, dashes in PARTS:
        recorded = [line for line in lines if f'{part}_{key}' in line]
        if not recorded:
            continue
        epochs, values = ([line[name] for line in recorded] for name in ('epoch', f'{part}_{key}'))
        axes.plot(epochs, values, dashes, color=colour, label=name, marker=_marker(recorded))
        words.append(f'{name} from {form.format(values[0])} to {form.format(values[-1])}')
    if best is not None:
        value = best[f'val_{key}']
        text = f'best epoch {best["epoch"]}: {form.format(value)}'
        axes.plot(best['epoch'], value, 'o', color=style.RED, ms=8, mfc='white', mew=2, label=text)
        words.append(f'validation at the {text}')
    _format_epoch_axis(axes, lines)
    if key == 'accuracy':
        style.percent(axes, 'y')
        axes.set_ylabel('accuracy')
    else:
        axes.set_ylabel('cross-entropy, nats')
    figure.legend(loc='outside upper center', ncols=3, handlelength=1.8, columnspacing=1.2)
    return Picture(key, title, f'{title} over the epochs: {"; ".join(words)}.', figure)


def _rate(lines: Sequence[Line]) -> Picture:
    epochs, rates = ([line[key] for line in lines] for key in ('epoch', 'rate'))
    figure = style.figure(2.8)
    axes = figure.subplots()
    axes.plot(epochs, rates, color=style.GREEN, marker=_marker(lines))
    axes.set_ylim(0, max(rates) * 1.1 or 1)
    axes.set_ylabel('learning rate')
    _format_epoch_axis(axes, lines)
    alt = (
        f'Learning rate at the end of each epoch: from {rates[0]:.3g} to {rates[-1]:.3g}, '
        f'at most {max(rates):.3g}.'
    )
    return Picture('rate', 'Learning rate', alt, figure)


def _format_epoch_axis(axes: Axes, lines: Sequence[Line]) -> None:
    axes.set_xlabel('epoch')
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(lines[0]['epoch'] - 0.5, lines[-1]['epoch'] + 0.5)
    axes.grid(axis='y')


def _marker(lines: Sequence[Line]) -> str:
    """Returns a marker for short runs, since a line of one epoch would be invisible."""
    return '.' if len(lines) <= 15 else ''
