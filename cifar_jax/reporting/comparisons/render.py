"""Renders a comparison as HTML, Markdown, CSV and pictures."""

import csv
import io
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from cifar_jax import files
from cifar_jax.experiment import console
from cifar_jax.reporting import page, style
from cifar_jax.reporting.comparisons import curves as comparison_curves
from cifar_jax.reporting.comparisons import significance
from cifar_jax.reporting.comparisons.compare import Comparison, Pair, Row, Spread, rows
from cifar_jax.reporting.picture import Picture

COLUMNS = (
    *('run', 'model', 'seeds', 'parameters', 'FLOPs/image', 'images/s', 'epochs'),
    *('validation', 'test', 'time to best'),
)
TEXTS = 2  # columns; the others are numbers
PAIR_COLUMNS = (
    *('first', 'second', 'images', 'difference', '95 % interval'),
    *('only first right', 'only second right', 'p'),
)

ABOUT_ROWS = (
    'Means over seeds ± their sample standard deviation. FLOPs are those of the convolutions and '
    'dense layers of a forward pass; a multiply-add counts as two. Images/s are those of training '
    'in the median epoch. Accuracies are those of the weights that a run reports. The time to best '
    'is the wall time to the end of the epoch with the best validation score.'
)
ABOUT_PAIRS = (
    'The difference is the accuracy of the first minus that of the second, in percentage points, '
    'over all their seeds. Its interval is a paired bootstrap over the images '
    f'({significance.RESAMPLES:,} resamples, percentile). '
    "p is the p-value of McNemar's exact test of the first seed of each. Both hold for these "
    'trained networks, and not for other seeds.'
)
ABOUT_CURVES = (
    'Solid lines are validation, dotted lines training (measured during the epoch). With several '
    'seeds, lines are the mean and bands the range of those that were still training.'
)


def write(comparison: Comparison, folder: pathlib.Path, command: str) -> list[pathlib.Path]:
    """Writes comparison.html, .md, .csv and the pictures as PNG and SVG, and returns their paths.

    The same comparison gives the same bytes.

    Args:
      command: the command that writes the same comparison, shown on the page.
    """
    contents: dict[str, str | bytes] = {}
    embedded = []
    with style.applied():
        pictures = comparison_curves.draw(comparison.groups)
        for picture in pictures:
            images = style.files(picture.figure)
            contents |= {f'{picture.name}.{suffix}': image for suffix, image in images.items()}
            embedded.append(page.embed(picture, images['svg']))
    texts = {
        'comparison.html': _page(comparison, embedded, command),
        'comparison.md': _markdown(comparison, pictures, command),
        'comparison.csv': _csv(comparison),
    }
    for name, content in (texts | contents).items():
        files.write(folder / name, content)
    return [folder / name for name in texts | contents]


def cells(row: Row) -> tuple[str, ...]:
    """Returns a row of the table in the order of `COLUMNS`; unknown values are empty."""
    fewest, most = min(row.epochs), max(row.epochs)
    return (
        row.name,
        row.model,
        str(len(row.seeds)),
        f'{row.size.parameters:,}' if row.size else '',
        _short(row.size.flops) if row.size else '',
        f'{row.images_per_second:,.0f}' if row.images_per_second is not None else '',
        str(most) if fewest == most else f'{fewest} to {most}',
        _percent(row.validation),
        _percent(row.test),
        console.duration(row.seconds_to_best) if row.seconds_to_best is not None else '',
    )


def pair_cells(pair: Pair) -> tuple[str, ...]:
    """Returns a pair in the order of `PAIR_COLUMNS`; differences are in percentage points."""
    difference, low, high = (f'{100 * value:+.2f}' for value in pair.interval)
    p_value = pair.mcnemar.p_value
    return (
        pair.first,
        pair.second,
        f'{pair.images:,}',
        difference,
        f'{low} to {high}',
        f'{pair.mcnemar.only_first:,}',
        f'{pair.mcnemar.only_second:,}',
        f'{p_value:.3f}'
        if p_value >= 0.001
        else f'{p_value:.0e}'
        if p_value >= 1e-99
        else '<1e-99',
    )


def _percent(spread: Spread | None) -> str:
    if spread is None:
        return ''
    deviation = f' ± {100 * spread.deviation:.2f}' if spread.deviation is not None else ''
    return f'{100 * spread.mean:.2f}{deviation} %'


def _short(number: int) -> str:
    """Returns a count with three digits.

    >>> _short(480_000), _short(81_234_000), _short(999), _short(4_000_000_000)
    ('480 k', '81.2 M', '999', '4.00 G')
    """
    for unit, size in (('G', 10**9), ('M', 10**6), ('k', 10**3)):
        if number >= size:
            share = number / size
            return f'{share:.{2 if share < 9.995 else 1 if share < 99.95 else 0}f} {unit}'
    return str(number)


class Table(NamedTuple):
    """A table as text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(comparison: Comparison) -> list[Table]:
    """Returns what the console shows."""
    tables = [Table('runs', COLUMNS, [cells(row) for row in comparison.rows])]
    if comparison.pairs:
        title = f'on the same {comparison.split} images'
        tables.append(Table(title, PAIR_COLUMNS, [pair_cells(pair) for pair in comparison.pairs]))
    return tables


def plain(comparison: Comparison, paths: Sequence[pathlib.Path]) -> dict[str, Any]:
    """Returns what a script would want of a comparison, as JSON has it."""
    return {
        'files': [str(path) for path in paths],
        'split': comparison.split,
        'runs': rows(comparison),
        'pairs': [
            {
                'first': pair.first,
                'second': pair.second,
                'images': pair.images,
                **pair.interval._asdict(),
                **pair.mcnemar._asdict(),
            }
            for pair in comparison.pairs
        ],
        'notes': comparison.notes,
    }


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int = TEXTS) -> str:
    """Returns a table in Markdown, the first `texts` columns to the left."""
    marks = ['---' if place < texts else '---:' for place in range(len(columns))]
    lines = [columns, marks, *([cell.replace('|', r'\|') for cell in row] for row in rows)]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def markdown_rows(comparison: Comparison) -> str:
    """Returns the table of the rows in Markdown."""
    return _table(COLUMNS, [cells(row) for row in comparison.rows])


def _markdown(comparison: Comparison, pictures: Sequence[Picture], command: str) -> str:
    parts = ['# Comparison', f'`{command}`', markdown_rows(comparison), ABOUT_ROWS]
    parts += [f'- {note}' for note in comparison.notes]
    if comparison.pairs:
        pairs = _table(PAIR_COLUMNS, [pair_cells(pair) for pair in comparison.pairs])
        parts += [f'## On the same {comparison.split} images', pairs, ABOUT_PAIRS]
    if comparison.differences:
        columns = ('key', *(row.name for row in comparison.rows))
        rows = [(f'`{key}`', *values) for key, values in comparison.differences]
        parts += ['## Differences in the configs', _table(columns, rows, len(columns))]
    if pictures:
        parts += ['## Curves', ABOUT_CURVES]
    parts += [f'![{picture.alt}]({picture.name}.svg)' for picture in pictures]
    return '\n\n'.join(parts) + '\n'


def _csv(comparison: Comparison) -> str:
    buffer = io.StringIO()
    lines = rows(comparison)
    writer = csv.DictWriter(buffer, lines[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows({key: _text(value) for key, value in line.items()} for line in lines)
    return buffer.getvalue()


def _text(value: Any) -> Any:
    return ' '.join(map(str, value)) if isinstance(value, list) else value


def _page(comparison: Comparison, pictures: Sequence[page.EmbeddedPicture], command: str) -> str:
    return page.template('comparison.html').render(
        names=[row.name for row in comparison.rows],
        columns=COLUMNS,
        rows=[cells(row) for row in comparison.rows],
        notes=comparison.notes,
        split=comparison.split,
        pair_columns=PAIR_COLUMNS,
        pairs=[pair_cells(pair) for pair in comparison.pairs],
        differing=[(key, *values) for key, values in comparison.differences],
        pictures=pictures,
        texts=TEXTS,
        about={'rows': ABOUT_ROWS, 'pairs': ABOUT_PAIRS, 'curves': ABOUT_CURVES},
        command=command,
    )
