"""Measure how training scales on this machine: several devices and processes, memory, checkpoints.

    python scripts/scaling_benchmark.py
    python scripts/scaling_benchmark.py --measures agreement --steps 20 --config.schedule.rate=0.002

agreement: SENet on CIFAR-10, in two processes of two CPU devices each and in one process of one, in
float32 and float64: the largest difference of a weight or of a statistic of batch norm after some
steps, absolute and as a share of the largest value of its tensor.
speed: its training on 1, 2 and 4 virtual devices, and in 2 processes.
overhead: its step on a mesh of one device against the same step without a mesh.
memory: that of a small run of 2,000 steps after each epoch, with a validation and a checkpoint.
logging: the share of an epoch that waits for checkpoints, the console, metrics and events.

Measure on a quiet machine. Of several processes, each has cores of its own.
"""

import argparse
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import process
from cifar_jax.machine import cores, processor

SENET = 'configs/senet.py'
SMALL = [
    '--config.model.widths=(8,)',
    '--config.model.blocks=(1,)',
    '--config.train.batch_size=32',
    '--config.train.length=2000 steps',
    '--config.checkpoint.every=1 epochs',
    '--config.log.pictures=1 epochs',
]


def start(measure: str, options: dict[str, Any]) -> subprocess.Popen[str]:
    """Starts a measure in a process of its own."""
    command = [sys.executable, '-m', 'bench.scaling', measure, json.dumps(options)]
    root, environment = process.SCRIPTS.parent, process.environment()
    return subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True)


def result(measure: str, config: str, overrides: list[str], **options: Any) -> dict[str, Any]:
    """Returns what a measure printed, of process 0 where there are several."""
    count = options.pop('processes', 1)
    options |= {'config': config, 'overrides': overrides}
    if count == 1:
        started = [start(measure, options)]
    else:
        with socket.socket() as free:
            free.bind(('localhost', 0))
            address = f'localhost:{free.getsockname()[1]}'
        started = [
            start(measure, options | {'process': (address, count, index)}) for index in range(count)
        ]
    outputs = [one.communicate()[0] for one in started]
    if any(one.returncode for one in started):
        raise SystemExit(f'{measure} failed.')
    return json.loads(outputs[0].splitlines()[-1])


def agreement(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Compares the weights of two processes of two devices with those of one process of one."""
    for wide in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            files = [str(pathlib.Path(folder) / f'{count}.npz') for count in (1, 2)]
            for count, path in zip((1, 2), files, strict=True):
                overrides = [*options.overrides, f'--config.mesh.devices={count**2}']
                shared = {'steps': options.steps, 'float64': wide, 'out': path}
                result('train', SENET, overrides, processes=count, **shared)
            one, two = (dict(np.load(path)) for path in files)
        absolute = {name: float(np.abs(two[name] - leaf).max()) for name, leaf in one.items()}
        relative = {name: absolute[name] / float(np.abs(leaf).max()) for name, leaf in one.items()}
        kind = 'float64' if wide else 'float32'
        what = f'2 processes x 2 devices, {options.steps} steps, {kind}'
        for of, differences in (('', absolute), (" of a tensor's largest value", relative)):
            name = max(differences, key=differences.__getitem__)
            yield what, f'{differences[name]:.1e}{of} ({name})'


def speed(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Measures the speed on several devices and in several processes."""
    for count, devices in ((1, 1), (1, 2), (1, 4), (2, 2), (2, 4)):
        overrides = [*options.overrides, f'--config.mesh.devices={devices}']
        measured = result('train', SENET, overrides, processes=count, steps=options.steps)
        of = f'{devices} devices of {count} processes'
        yield f'SENet, {of}', f'{measured["images_per_second"]:,.0f} images/s'


def overhead(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Measures the cost of a mesh of one device."""
    devices = ['--config.mesh.devices=1']
    measured = result('overhead', SENET, devices, steps=3, rounds=options.rounds)
    low, high = (100 * (bound(measured['rounds']) - 1) for bound in (min, max))
    text = f'{100 * (measured["ratio"] - 1):+.1f} % (rounds: {low:+.1f} to {high:+.1f})'
    yield 'a mesh of one device against none', text


def memory(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Measures the memory of a long run."""
    sizes = result('memory', 'configs/senet.py:digits', SMALL)['mebibytes']
    epochs = 1, 2, 5, 10, 20, 30, 40, len(sizes)
    text = ', '.join(f'{sizes[epoch - 1]:.0f}' for epoch in epochs)
    yield f'MiB after epochs {", ".join(map(str, epochs))} of 2,000 steps', text


def logging(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Measures what checkpoints and logs cost."""
    overrides = ['--config.train.length=1 epochs', '--config.checkpoint.every=50%']
    measured = result('logging', SENET, overrides)
    for kind in ('checkpoints', 'log'):
        yield f'{kind}, share of an epoch of {measured["seconds"]:.0f} s', f'{measured[kind]:.2%}'


MEASURES = {
    'agreement': agreement,
    'speed': speed,
    'overhead': overhead,
    'memory': memory,
    'logging': logging,
}


def main() -> None:
    """Prints a table of the measures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--measures', nargs='+', choices=MEASURES, default=[*MEASURES])
    parser.add_argument('--steps', type=int, default=20)
    parser.add_argument('--rounds', type=int, default=20, help='of the overhead')
    options, options.overrides = parser.parse_known_args()
    table = Table('what', 'measured', title=f'{processor()}, {len(cores())} cores')
    for name in options.measures:
        for row in MEASURES[name](options):
            table.add_row(*row)
            print(*row, sep=': ', flush=True)
    Console(width=120).print(table)


if __name__ == '__main__':
    main()
