"""Accuracy and loss of several runs on shared axes, against epochs and against wall time."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cifar_jax.reporting import style
from cifar_jax.reporting.comparisons.groups import Group
from cifar_jax.reporting.picture import Picture

# Okabe and Ito's, as far as they are dark enough for a line on white; then again with markers.
COLOURS = (style.BLUE, style.RED, style.GREEN, '#CC79A7', '#E69F00', style.SKY, style.INK)
MARKERS = ('', 'o', 's', '^', 'x')
PARTS = (('val', 'validation', '-', 1.8), ('train', 'training', ':', 1.3))
UNITS = (('hours', 3600, 5 * 3600), ('minutes', 60, 300), ('seconds', 1, 0))


class Curve(NamedTuple):
    """Seeds of one config after each epoch: the time, and a metric's mean and extremes."""

    epochs: tuple[int, ...]
    seconds: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def curve(group: Group, key: str) -> Curve | None:
    """Returns a metric over the seeds that were still training at each epoch; None: it has none.

    The time is the sum of the epochs' mean times, so that it grows where a seed has stopped.

    Args:
      key: of metrics.jsonl, such as 'val_accuracy'.
    """
    by_epoch: dict[int, list[dict[str, float]]] = {}
    for run in group.runs:
        for line in run.lines:
            if key in line:
                by_epoch.setdefault(line['epoch'], []).append(line)
    if not by_epoch:
        return None
    epochs = sorted(by_epoch)
    seconds = 0.0
    points = []
    for epoch in epochs:
        values = [line[key] for line in by_epoch[epoch]]
        seconds += statistics.mean(line['seconds'] for line in by_epoch[epoch])
        points.append((epoch, seconds, statistics.mean(values), min(values), max(values)))
    return Curve(*zip(*points, strict=True))


def draw(groups: Sequence[Group]) -> tuple[Picture, ...]:
    """Returns accuracy and loss against epochs and wall time; nothing where no epoch ended."""
    if not any(run.lines for group in groups for run in group.runs):
        return ()
    return tuple(
        _picture(groups, metric, title, along)
        for along in ('epochs', 'time')
        for metric, title in (('accuracy', 'Accuracy'), ('loss', 'Loss'))
    )


def _picture(groups: Sequence[Group], metric: str, title: str, along: str) -> Picture:
    longest = max(sum(line['seconds'] for line in r.lines) for g in groups for r in g.runs)
    unit, length, _ = next(entry for entry in UNITS if longest >= entry[2])
    figure = style.figure(3.2 + 0.2 * ((len(groups) + 1) // 2))
    axes = figure.subplots()
    words = []
    for position, group in enumerate(groups):
        for part, name, dashes, width in PARTS:
            found = curve(group, f'{part}_{metric}')
            if found is None:
                continue
            x = found.epochs if along == 'epochs' else [s / length for s in found.seconds]
            _plot(axes, x, found, {**_look(position), 'ls': dashes, 'lw': width})
            value = f'{found.mean[-1]:.1%}' if metric == 'accuracy' else f'{found.mean[-1]:.3f}'
            words.append(f'{group.name} ends with {value} in {name}')
    axes.grid(axis='y')
    axes.set_ylabel('accuracy' if metric == 'accuracy' else 'cross-entropy, nats')
    if metric == 'accuracy':
        style.percent(axes, 'y')
    if along == 'epochs':
        axes.set_xlabel('epoch')
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.set_xlabel(f'wall time, {unit}')
        axes.set_xlim(left=0)
    _legend(figure, groups)
    title = f'{title} against {"epochs" if along == "epochs" else "wall time"}'
    return Picture(f'{metric}_{along}', title, f'{title}: {"; ".join(words)}.', figure)


def _plot(
    axes: Axes, x: Sequence[int] | Sequence[float], found: Curve, look: dict[str, Any]
) -> None:
    # One epoch is no line.
    marker = look['marker'] or ('.' if len(x) == 1 else '')
    axes.plot(x, found.mean, **{**look, 'marker': marker})
    if found.low != found.high:
        axes.fill_between(x, found.low, found.high, color=look['color'], alpha=0.15, lw=0)


def _look(position: int) -> dict[str, Any]:
    turn, colour = divmod(position, len(COLOURS))
    return {'color': COLOURS[colour], 'marker': MARKERS[turn % len(MARKERS)]}


def _legend(figure: Figure, groups: Sequence[Group]) -> None:
    lines = [Line2D([], [], **_look(position)) for position in range(len(groups))]
    names = [style.short(group.name, 24) for group in groups]
    for _, name, dashes, width in PARTS:
        lines.append(Line2D([], [], ls=dashes, lw=width, color=style.GREY))
        names.append(name)
    figure.legend(lines, names, loc='outside upper center', ncols=2, handlelength=1.8)
