"""Curves of accuracy and loss of several runs over epochs and over wall time."""

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

# Okabe and Ito's colours that are dark enough for lines on white; then again with markers.
COLOURS = (style.BLUE, style.RED, style.GREEN, '#CC79A7', '#E69F00', style.SKY, style.INK)
MARKERS = ('', 'o', 's', '^', 'x')
PARTS = (('val', 'validation', '-', 1.8), ('train', 'training', ':', 1.3))
UNITS = (('hours', 3600, 5 * 3600), ('minutes', 60, 300), ('seconds', 1, 0))


class Curve(NamedTuple):
    """The seeds of one config after each epoch: the time, and a metric's mean and range."""

    epochs: tuple[int, ...]
    seconds: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def curve(group: Group, key: str) -> Curve | None:
    """Returns a metric over the seeds that were still training at each epoch, or None.

    The time is the sum of the epochs' mean times, so that it increases when a seed has stopped.

    Args:
      key: a key of metrics.jsonl, such as 'val_accuracy'.
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
    """Draws accuracy and loss over epochs and wall time; returns () if no epoch has ended."""
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
            mean_curve = curve(group, f'{part}_{metric}')
            if mean_curve is None:
                continue
            x = mean_curve.epochs if along == 'epochs' else [s / length for s in mean_curve.seconds]
            _plot(axes, x, mean_curve, {**_line_style(position), 'ls': dashes, 'lw': width})
            value = (
                f'{mean_curve.mean[-1]:.1%}'
                if metric == 'accuracy'
                else f'{mean_curve.mean[-1]:.3f}'
            )
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
    title = f'{title} over {"epochs" if along == "epochs" else "wall time"}'
    return Picture(f'{metric}_{along}', title, f'{title}: {"; ".join(words)}.', figure)


def _plot(
    axes: Axes, x: Sequence[int] | Sequence[float], mean_curve: Curve, line_style: dict[str, Any]
) -> None:
    # A line of one epoch would be invisible.
    marker = line_style['marker'] or ('.' if len(x) == 1 else '')
    axes.plot(x, mean_curve.mean, **{**line_style, 'marker': marker})
    if mean_curve.low != mean_curve.high:
        axes.fill_between(
            x, mean_curve.low, mean_curve.high, color=line_style['color'], alpha=0.15, lw=0
        )


def _line_style(position: int) -> dict[str, Any]:
    turn, colour = divmod(position, len(COLOURS))
    return {'color': COLOURS[colour], 'marker': MARKERS[turn % len(MARKERS)]}


def _legend(figure: Figure, groups: Sequence[Group]) -> None:
    lines = [Line2D([], [], **_line_style(position)) for position in range(len(groups))]
    names = [style.short(group.name, 24) for group in groups]
    for _, name, dashes, width in PARTS:
        lines.append(Line2D([], [], ls=dashes, lw=width, color=style.GREY))
        names.append(name)
    figure.legend(lines, names, loc='outside upper center', ncols=2, handlelength=1.8)
