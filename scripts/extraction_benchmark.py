"""Compare the speed of our feature extraction on this CPU with PyTorch and Keras.

    pip install -e '.[bench,transfer]' torchvision efficientnet_lite_pytorch
    python scripts/extraction_benchmark.py
    python scripts/extraction_benchmark.py --models EfficientNetLite0 --rounds 5

All compute the features of 224x224 images by networks with random weights and equal numbers of
parameters. Ours is the program of `python -m cifar_jax.features`. Keras' networks are those of
keras.applications; PyTorch's are those of efficientnet_lite_pytorch and torchvision, whose ResNet50
is another network. Processes, rounds and ratios are those of `scripts/benchmark.py`.
"""

import argparse

from rich.console import Console

from bench import features, process, results
from bench.measure import Effort, measure
from bench.task import Task
from cifar_jax.machine import processor

TORCH, KERAS = ('torch:eager', 'torch:compile'), ('keras:graph', 'keras:jit')
PEERS = {
    'EfficientNetLite0': TORCH,
    'EfficientNetB0': (*TORCH, *KERAS),
    'ResNet50': KERAS,
}


def main() -> None:
    """Measures the networks and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--models', nargs='+', choices=PEERS, default=[*PEERS])
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--seconds', type=float, default=4.0, help='per contestant and round')
    options = parser.parse_args()
    threads = process.cores()
    effort = Effort(options.rounds, 0, options.seconds, 0)
    console = Console()
    peaks = process.run_module('bench.peak', [str(threads), 'float32'])
    rows = []
    for name in options.models:
        task = Task(name, options.batch, 'float32', threads, '', features=True)
        contestants = ('ours:auto', *PEERS[name])
        rows += measure(task, contestants, effort, features.describe(task), console.print)
    console.print(results.table(rows, peaks, f'images/s on {processor()}, {threads} threads'))


if __name__ == '__main__':
    main()
