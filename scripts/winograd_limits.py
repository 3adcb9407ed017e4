"""Times Winograd's algorithm against direct sums, to choose the limits in winograd.cc.

    python scripts/winograd_limits.py                            # about ten minutes
    ONEDNN_MAX_CPU_ISA=AVX2 python scripts/winograd_limits.py    # as without AVX-512

Each row is a shape: the times of both algorithms alternate, and the median of their ratios over the
rounds counts, above 1 where Winograd's is faster. "Loss" is the time of a forward and backward pass
by the algorithms that `auto` chooses, relative to the faster ones, less 1. The last line names the
largest loss. Run it alone on a machine.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from cifar_jax.ops import backend, onednn
from cifar_jax.ops.conv import conv

CHANNELS = ((8, 8), (16, 16), (24, 24), (32, 64), (64, 64), (128, 128), (256, 256))
SIZES = (2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 32)
BATCHES = (1, 64)
ALGORITHMS = ('direct', 'winograd')


class Shape(NamedTuple):
    """A square convolution with stride 1 and 'SAME' padding."""

    taps: int
    channels: int
    features: int
    size: int  # of the map
    batch: int

    @property
    def kernel(self) -> tuple[int, int, int, int]:
        """The shape of the HWIO kernel."""
        return (self.taps, self.taps, self.channels, self.features)

    def chosen(self, *, gradient: bool) -> int:
        """Returns the number in `ALGORITHMS` of the algorithm that `auto` chooses."""
        output = (self.batch, self.size, self.size)
        return onednn.chooses_winograd(self.kernel, (1, 1), 1, output, gradient=gradient)


class Times(NamedTuple):
    """Seconds of a round by each of `ALGORITHMS`."""

    forward: tuple[float, float]
    backward: tuple[float, float]


def shapes(most: float = 1e10) -> Iterator[Shape]:
    """Yields the grid, without shapes of more than `most` multiply-adds."""
    grid = itertools.product(BATCHES, (3, 5), CHANNELS, SIZES)
    for batch, taps, (channels, features), size in grid:
        if batch * taps**2 * channels * features * size**2 <= most:
            yield Shape(taps, channels, features, size, batch)


def programs(algorithm: str) -> tuple[Callable, Callable]:
    """Returns compiled functions (x, kernel, gradient): the output, and both gradients."""

    def backward(x, kernel, gradient):
        return jax.vjp(conv, x, kernel)[1](gradient)

    def run(function):
        def call(*args):
            with backend.use('onednn', algorithm):
                return jax.block_until_ready(function(*args))

        return call

    return run(jax.jit(lambda x, kernel, _: conv(x, kernel))), run(jax.jit(backward))


def measure(shape: Shape, rounds: int, seconds: float) -> list[Times]:
    """Returns the times of each round; a round repeats each call for about `seconds`."""
    generator = np.random.default_rng(0)
    _, channels, features, size, batch = shape
    arrays = [
        jnp.asarray(generator.normal(size=dimensions), jnp.float32)
        for dimensions in (
            (batch, size, size, channels),
            shape.kernel,
            (batch, size, size, features),
        )
    ]
    calls = [programs(algorithm) for algorithm in ALGORITHMS]
    for call in itertools.chain(*calls):  # compile
        call(*arrays)

    def timed(call):
        fastest, end = float('inf'), time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            call(*arrays)
            fastest = min(fastest, time.perf_counter() - start)
        return fastest

    return [
        Times(
            forward=tuple(timed(forward) for forward, _ in calls),
            backward=tuple(timed(backward) for _, backward in calls),
        )
        for _ in range(rounds)
    ]


def loss(shape: Shape, rounds: list[Times]) -> float:
    """Returns by how much `auto` is slower than the faster algorithms, as a fraction of their time.

    The forward pass and the gradients have algorithms of their own.
    """
    fastest = actual = 0.0
    for direction, gradient in (('forward', False), ('backward', True)):
        pairs = zip(*(getattr(times, direction) for times in rounds), strict=True)
        medians = [statistics.median(column) for column in pairs]
        fastest += min(medians)
        actual += medians[shape.chosen(gradient=gradient)]
    return actual / fastest - 1


def ratio(pairs: list[tuple[float, float]]) -> float:
    """Returns the median of direct time / Winograd's time over the rounds."""
    return statistics.median(direct / winograd for direct, winograd in pairs)


def main() -> None:
    """Measures the grid and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--seconds', type=float, default=0.05, help='of a call in a round')
    args = parser.parse_args()
    table = Table(
        'batch', 'kernel', 'channels', 'map', 'forward', 'backward', 'auto', 'auto', 'loss'
    )
    console, worst = Console(), (0.0, '')
    for shape in shapes():
        rounds = measure(shape, args.rounds, args.seconds)
        lost = loss(shape, rounds)
        kernel, channels = f'{shape.taps}x{shape.taps}', f'{shape.channels} to {shape.features}'
        worst = max(worst, (lost, f'batch {shape.batch}, {kernel}, {channels}, map {shape.size}'))
        numbers = [ratio([times[i] for times in rounds]) for i in range(2)]
        row = [
            str(shape.batch),
            kernel,
            channels,
            str(shape.size),
            *(f'{number:.2f}' for number in numbers),
        ]
        row += [ALGORITHMS[shape.chosen(gradient=gradient)] for gradient in (False, True)]
        row.append(f'{lost:.0%}' if lost else '')
        console.print(*row, sep='\t')
        table.add_row(*row)
    console.print(table, f'largest loss: {worst[0]:.0%} ({worst[1]})')


if __name__ == '__main__':
    main()
