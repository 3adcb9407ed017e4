"""Plots of the benchmark."""

import pathlib
from collections.abc import Mapping, Sequence

import matplotlib

from bench import growth, results
from bench.growth import Point
from bench.results import FRAMEWORKS, Row

matplotlib.use('Agg')
from matplotlib import pyplot as plt


def comparison(rows: Sequence[Row], title: str, path: pathlib.Path) -> None:
    """Draws images/s of ours and of each peer's best mode, in one panel per kind of measurement."""
    rows = [row for row in rows if row.seconds]
    kinds = list(dict.fromkeys(row.what for row in rows))
    figure, panels = plt.subplots(
        len(kinds) or 1, 1, figsize=(8, 3 * len(kinds) + 0.5), squeeze=False, layout='constrained'
    )
    for panel, kind in zip(panels[:, 0], kinds, strict=False):
        _bars(panel, [row for row in rows if row.what == kind])
        panel.set_title(kind, fontsize='medium')
        panel.set_ylabel('images/s')
    if kinds:
        panels[0, 0].legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(path)
    plt.close(figure)


def _bars(panel: plt.Axes, rows: Sequence[Row]) -> None:
    ours = results.ours_in(rows)
    width = 0.8 / (len(ours) + len(FRAMEWORKS))
    for index, name in enumerate((*ours, *FRAMEWORKS)):
        best = [name if name in ours else results.fastest(row, [name]) for row in rows]
        speeds = [
            results.speed(row, contestant) if contestant in row.seconds else 0.0
            for row, contestant in zip(rows, best, strict=True)
        ]
        bars = panel.bar(
            [at + (index + 0.5) * width - 0.4 for at in range(len(rows))],
            speeds,
            width,
            label=FRAMEWORKS.get(name, name),
        )
        panel.bar_label(bars, [f'{speed:.0f}' if speed else '' for speed in speeds], fontsize=7)
    labels = [f'{row.model}\n{row.precision}, batch {row.batch}' for row in rows]
    panel.set_xticks(range(len(rows)), labels, fontsize=8)
    panel.spines[['top', 'right']].set_visible(False)


def growths(points: Sequence[Point], title: str, path: pathlib.Path) -> None:
    """Draws the time and the memory of a step over batch, width and data."""
    groups: Mapping[tuple[str, str], list[Point]] = growth.series(points)
    varied = list(dict.fromkeys(point.varied for point in points))
    figure, panels = plt.subplots(
        2, len(varied), figsize=(3.2 * len(varied), 5), squeeze=False, layout='constrained'
    )
    for column, quantity in enumerate(varied):
        for (model, key), members in groups.items():
            if key == quantity:
                values = [point.value for point in members]
                upper, lower = panels[:, column]
                upper.plot(values, [1e3 * p.seconds for p in members], 'o-', label=model)
                lower.plot(values, [p.bytes / 1e6 for p in members], 'o-', label=model)
        for panel in panels[:, column]:
            panel.set_xlabel(quantity)
            panel.set_ylim(bottom=0)
            panel.spines[['top', 'right']].set_visible(False)
    panels[0, 0].set_ylabel('ms per step')
    panels[1, 0].set_ylabel('peak memory, MB')
    panels[0, 0].legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(path)
    plt.close(figure)
