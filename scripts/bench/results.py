"""Evaluates the measured seconds: medians, ratios, fractions of the peak, and the table."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table

FRAMEWORKS = {'torch': 'PyTorch', 'keras': 'Keras on TensorFlow'}


class Row(NamedTuple):
    """The measurements of one network. If nothing could be measured, `seconds` is empty."""

    model: str
    precision: str
    batch: int
    what: str  # 'step' or one of `bench.measure.EPOCHS`
    images: int  # processed in these seconds
    seconds: Mapping[str, Sequence[float]]  # per round, by contestant, such as 'torch:eager'
    flops: float = 0.0  # per image, of the network alone
    notes: tuple[str, ...] = ()


def framework(contestant: str) -> str:
    """Returns the framework of a contestant: 'torch' for 'torch:eager'."""
    return contestant.partition(':')[0]


def speed(row: Row, contestant: str) -> float:
    """Returns images/s in the median round."""
    return row.images / statistics.median(row.seconds[contestant])


def fastest(row: Row, names: Sequence[str]) -> str | None:
    """Returns the fastest contestant of these frameworks by its median round, or None."""
    candidates = [contestant for contestant in row.seconds if framework(contestant) in names]
    return max(candidates, key=lambda contestant: speed(row, contestant), default=None)


def ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """Returns our speed relative to a peer's: the median over the rounds of each round's ratio.

    If the machine is slow for a while, it slows down both sides of a round.
    """
    return statistics.median(theirs / mine for mine, theirs in zip(ours, peer, strict=True))


def ours_in(rows: Sequence[Row]) -> list[str]:
    """Returns our contestants; the first one is compared with the peers."""
    names = (name for row in rows for name in row.seconds if framework(name) == 'ours')
    return list(dict.fromkeys(names))


def record(row: Row, peaks: Mapping[str, float]) -> dict[str, Any]:
    """Returns a row and the values computed from it, for JSON.

    Args:
      peaks: GFLOP/s of the machine's fastest matrix product, by precision.
    """
    ours = next(iter(ours_in([row])), None)
    values: dict[str, Any] = {
        **row._asdict(),
        'images_per_second': {name: speed(row, name) for name in row.seconds},
        'fastest': {name: fastest(row, [name]) for name in FRAMEWORKS},
    }
    peer = fastest(row, list(FRAMEWORKS))
    if ours and peer:
        values['fastest_peer'] = peer
        values['ratio'] = ratio(row.seconds[ours], row.seconds[peer])
    if ours:
        values['gflops'] = speed(row, ours) * row.flops / 1e9
        if row.precision in peaks:
            values['share_of_peak'] = values['gflops'] / peaks[row.precision]
    return values


def table(rows: Sequence[Row], peaks: Mapping[str, float], title: str) -> Table:
    """Returns the rows as a table of images/s; a ratio above 1 means that we are faster."""
    ours = ours_in(rows)
    grid = Table(title=title, box=box.SIMPLE)
    grid.add_column('network')
    grid.add_column('measured')
    for heading in (*ours, *FRAMEWORKS.values(), 'ratio', 'of peak'):
        grid.add_column(heading, justify='right')
    for row in rows:
        values = record(row, peaks)
        cells = [f'{speed(row, name):.0f}' if name in row.seconds else '' for name in ours]
        for best in values['fastest'].values():
            mode = (best or '').partition(':')[2]
            cells.append(f'{speed(row, best):.0f} ({mode})' if best else '')
        cells.append(f'{values["ratio"]:.2f}' if 'ratio' in values else '')
        cells.append(f'{values["share_of_peak"]:.0%}' if 'share_of_peak' in values else '')
        grid.add_row(f'{row.model} x{row.batch} {row.precision}', row.what, *cells)
        for note in row.notes:
            grid.add_row('', note)
    return grid
