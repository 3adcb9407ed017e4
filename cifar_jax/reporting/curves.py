"""Accuracy, loss and learning rate against epochs."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cifar_jax.reporting import style
from cifar_jax.reporting.picture import Picture
from cifar_jax.training import history
from cifar_jax.training.history import Line

PARTS = (('train', 'training', style.BLUE, '-'), ('val', 'validation', style.RED, '--'))


def draw(lines: Sequence[Line], monitor: str) -> tuple[Picture, ...]:
    """Returns accuracy, loss and learning rate against epochs; nothing where no epoch ended.

    Args:
      lines: of metrics.jsonl.
      monitor: validation 'accuracy' or 'loss': what the best epoch is best in.
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
        own = [line for line in lines if f'{part}_{key}' in line]
        if not own:
            continue
        epochs, values = ([line[name] for line in own] for name in ('epoch', f'{part}_{key}'))
        axes.plot(epochs, values, dashes, color=colour, label=name, marker=_marker(own))
        words.append(f'{name} {form.format(values[0])} to {form.format(values[-1])}')
    if best is not None:
        value = best[f'val_{key}']
        text = f'best epoch {best["epoch"]}: {form.format(value)}'
        axes.plot(best['epoch'], value, 'o', color=style.RED, ms=8, mfc='white', mew=2, label=text)
        words.append(f'on validation images in the {text}')
    _along_epochs(axes, lines)
    if key == 'accuracy':
        style.percent(axes, 'y')
        axes.set_ylabel('accuracy')
    else:
        axes.set_ylabel('cross-entropy, nats')
    figure.legend(loc='outside upper center', ncols=3, handlelength=1.8, columnspacing=1.2)
    return Picture(key, title, f'{title} against epochs: {"; ".join(words)}.', figure)


def _rate(lines: Sequence[Line]) -> Picture:
    epochs, rates = ([line[key] for line in lines] for key in ('epoch', 'rate'))
    figure = style.figure(2.8)
    axes = figure.subplots()
    axes.plot(epochs, rates, color=style.GREEN, marker=_marker(lines))
    axes.set_ylim(0, max(rates) * 1.1 or 1)
    axes.set_ylabel('learning rate')
    _along_epochs(axes, lines)
    alt = (
        f'Learning rate at the end of each epoch: from {rates[0]:.3g} to {rates[-1]:.3g}, '
        f'{max(rates):.3g} at most.'
    )
    return Picture('rate', 'Learning rate', alt, figure)


def _along_epochs(axes: Axes, lines: Sequence[Line]) -> None:
    axes.set_xlabel('epoch')
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(lines[0]['epoch'] - 0.5, lines[-1]['epoch'] + 0.5)
    axes.grid(axis='y')


def _marker(lines: Sequence[Line]) -> str:
    """One epoch is no line."""
    return '.' if len(lines) <= 15 else ''
