"""What is made of the measured seconds: medians, ratios, shares of the peak, the table."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table

FRAMEWORKS = {'torch': 'PyTorch', 'keras': 'Keras on TensorFlow'}


class Row(NamedTuple):
    """One comparison. Where nothing could be measured, `seconds` is empty and a note says why."""

    model: str
    precision: str
    batch: int
    what: str  # 'step' or one of `bench.measure.EPOCHS`
    images: int  # that the seconds are for
    seconds: Mapping[str, Sequence[float]]  # of each round, by contestant, such as 'torch:eager'
    flops: float = 0.0  # an image, of the networks alone
    notes: tuple[str, ...] = ()


def framework(contestant: str) -> str:
    """Returns 'torch' of 'torch:eager'."""
    return contestant.partition(':')[0]


def speed(row: Row, contestant: str) -> float:
    """Returns images/s in the median round."""
    return row.images / statistics.median(row.seconds[contestant])


def fastest(row: Row, names: Sequence[str]) -> str | None:
    """Returns which contestant of some frameworks is fastest in its median round, if any ran."""
    able = [contestant for contestant in row.seconds if framework(contestant) in names]
    return max(able, key=lambda contestant: speed(row, contestant), default=None)


def ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """Returns how many times as fast as a peer we are: the median over rounds, taken in pairs.

    A machine that is slower for a while slows both sides of a round down.
    """
    return statistics.median(theirs / mine for mine, theirs in zip(ours, peer, strict=True))


def ours_in(rows: Sequence[Row]) -> list[str]:
    """Returns our contestants, the first of which is the one that is compared."""
    names = (name for row in rows for name in row.seconds if framework(name) == 'ours')
    return list(dict.fromkeys(names))


def record(row: Row, peaks: Mapping[str, float]) -> dict[str, Any]:
    """Returns a row and all that follows from it, for JSON.

    Args:
      peaks: GFLOP/s of the machine's matrix products by precision.
    """
    ours = next(iter(ours_in([row])), None)
    found: dict[str, Any] = {
        **row._asdict(),
        'images_per_second': {name: speed(row, name) for name in row.seconds},
        'fastest': {name: fastest(row, [name]) for name in FRAMEWORKS},
    }
    peer = fastest(row, list(FRAMEWORKS))
    if ours and peer:
        found['fastest_peer'] = peer
        found['ratio'] = ratio(row.seconds[ours], row.seconds[peer])
    if ours:
        found['gflops'] = speed(row, ours) * row.flops / 1e9
        if row.precision in peaks:
            found['share_of_peak'] = found['gflops'] / peaks[row.precision]
    return found


def table(rows: Sequence[Row], peaks: Mapping[str, float], title: str) -> Table:
    """Returns the rows as a table of images/s; ratios above 1 say that we are faster."""
    ours = ours_in(rows)
    grid = Table(title=title, box=box.SIMPLE)
    grid.add_column('network')
    grid.add_column('measured')
    for heading in (*ours, *FRAMEWORKS.values(), 'ratio', 'of peak'):
        grid.add_column(heading, justify='right')
    for row in rows:
        found = record(row, peaks)
        cells = [f'{speed(row, name):.0f}' if name in row.seconds else '' for name in ours]
        for best in found['fastest'].values():
            mode = (best or '').partition(':')[2]
            cells.append(f'{speed(row, best):.0f} ({mode})' if best else '')
        cells.append(f'{found["ratio"]:.2f}' if 'ratio' in found else '')
        cells.append(f'{found["share_of_peak"]:.0%}' if 'share_of_peak' in found else '')
        grid.add_row(f'{row.model} x{row.batch} {row.precision}', row.what, *cells)
        for note in row.notes:
            grid.add_row('', note)
    return grid
