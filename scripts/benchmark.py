"""Compare our training speed on this CPU with PyTorch and Keras on TensorFlow.

    pip install -e '.[bench]'
    python scripts/benchmark.py --plot benchmark.svg     # everything
    python scripts/benchmark.py --models SmallVGG --precisions float32 --epoch-rounds 0
    python scripts/benchmark.py --peers torch:eager,keras:graph --ours auto,xla
    python scripts/benchmark.py --growth --models SmallVGG,SENet --plot growth.svg
    python scripts/benchmark.py --quick                  # a short test run

All train the same networks; ours by the programs of `python -m cifar_jax.main`. Each contestant is
a separate process that lives through all rounds of a network and is idle while the others work.
Rounds interleave the contestants; warm-up and compilation are not counted. Speeds are medians over
the rounds; a ratio is the median of each round's ratio to the fastest mode of all peers:

    torch:eager, torch:compile      channels-last, fused optimizer, freed memory is kept for reuse;
                                    also torch:max-autotune and other modes of torch.compile
    keras:graph, keras:jit          a loop of tf.function steps, jit_compile off and on;
                                    also keras:fit and keras:fit-jit, which use Model.fit

A step is timed on images in memory; ours includes gathering and normalising them. An epoch has
random flips and crops with a padding of 4. The peers' epochs, in the mode with the fastest step,
are timed in two forms: images augmented one by one by a DataLoader or tf.data, and batches
augmented by tensor operations. The peak is the machine's fastest matrix product. `--growth`
measures how the time and the memory of our step grow with batch, width and data. All cores that the
process may use are used; limit them with `taskset`.
"""

import argparse
import json
import pathlib
import tempfile
from collections.abc import Callable
from importlib import metadata
from typing import Any

from rich.console import Console

from bench import growth, plots, process, results
from bench.measure import Effort, measure
from bench.results import Row
from bench.task import Task
from cifar_jax.machine import processor

PEERS = {'torch': ('eager', 'compile'), 'keras': ('graph', 'jit')}
BATCHES = {
    'SmallVGG': 128,
    'PlainCNN': 128,
    'SENet': 128,
    'AirbenchShape': 500,
    'InceptionNet': 128,
}
MODELS = ('SmallVGG', 'PlainCNN', 'SENet', 'AirbenchShape')
NO_BFLOAT16 = 'not measured: no bf16 here'
PACKAGES = ('torch', 'keras', 'tensorflow', 'tensorflow-cpu')


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    networks = ', '.join(BATCHES)
    add('--models', type=_words, default=MODELS, help=f'networks out of {networks}')
    add('--precisions', type=_words, default=('float32', 'bfloat16'))
    add(
        '--ours',
        type=_words,
        default=('auto',),
        help="values of config.ops.backend, or 'direct', which is config.ops.algorithm's; ratios "
        'are for the first',
    )
    add('--peers', type=_words, default=tuple(PEERS), help='such as torch,keras:jit')
    add(
        '--batch',
        type=int,
        help='images per step; by default 500 for AirbenchShape, 128 for the others',
    )
    add('--threads', type=int, default=process.cores(), help='cores to use; by default all')
    add('--rounds', type=int, default=5)
    add('--seconds', type=float, default=4.0, help='seconds of steps per contestant and round')
    add('--epoch-rounds', type=int, default=3, help='0 measures no epochs')
    add('--epoch-images', type=int, default=10_000)
    add('--workers', type=int, default=2, help="processes of PyTorch's DataLoader")
    add('--data', choices=('auto', 'cifar10', 'synthetic'), default='auto')
    add('--growth', action='store_true', help='measure how our time and memory grow instead')
    add('--quick', action='store_true', help='one short round, as a test')
    add('--plot', type=pathlib.Path, help='write a plot to this file (.png or .svg)')
    add('--json', action='store_true', help='print one JSON object on the last line')
    options = parser.parse_args(arguments)
    for problem in _problems(options):
        parser.error(problem)
    if options.quick:
        options.rounds, options.epoch_rounds = 1, min(options.epoch_rounds, 1)
        options.seconds, options.epoch_images = 0.1, 3 * (options.batch or max(BATCHES.values()))
    return options


def _words(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(',')))


def _problems(options: argparse.Namespace) -> list[str]:
    """Returns the errors of the options, one sentence each."""
    peers = [results.framework(peer) for peer in options.peers]
    choices = {'models': BATCHES, 'precisions': ('float32', 'bfloat16')}
    problems = [
        f"--{option} has no '{name}': choose from {', '.join(values)}"
        for option, values in choices.items()
        for name in getattr(options, option)
        if name not in values
    ]
    problems += [
        f"--peers has no '{name}': choose from torch, keras" for name in {*peers} - {*PEERS}
    ]
    if not 1 <= options.threads <= process.cores():
        problems.append(f'--threads={options.threads}: choose 1 to {process.cores()}')
    if options.rounds < 1 or options.epoch_rounds < 0 or not options.ours:
        problems.append('--rounds must be at least 1, --epoch-rounds at least 0, --ours not empty')
    largest_batch = options.batch or max(BATCHES.get(name, 0) for name in options.models)
    if options.epoch_images < largest_batch and not options.quick:
        problems.append(
            f'--epoch-images={options.epoch_images} is less than a batch of {largest_batch}'
        )
    return problems


def contestants(options: argparse.Namespace) -> list[str]:
    """Returns the contestants, ours first; a peer without a mode means all of its modes."""
    names = [f'ours:{name}' for name in options.ours]
    for peer in options.peers:
        names += [peer] if ':' in peer else [f'{peer}:{mode}' for mode in PEERS[peer]]
    return names


def tasks(options: argparse.Namespace, folder: str) -> list[Task]:
    """Returns a task for each network and precision."""
    return [
        Task(
            model=model,
            batch=options.batch or BATCHES[model],
            precision=precision,
            threads=options.threads,
            folder=folder,
            workers=options.workers,
        )
        for model in options.models
        for precision in options.precisions
    ]


def prepare(options: argparse.Namespace, tasks_to_run: list[Task], images: int) -> dict[str, Any]:
    """Runs `bench.prepare`, which writes the images into the tasks' folder; returns its output."""
    lines = ''.join(json.dumps(task._asdict()) + '\n' for task in tasks_to_run)
    arguments = [tasks_to_run[0].folder, str(images), options.data]
    return process.run_module('bench.prepare', arguments, lines)


def compare(options: argparse.Namespace, folder: str, log: Callable[[str], None]) -> dict[str, Any]:
    """Returns the rows of all networks, the peak and the environment."""
    effort = Effort(options.rounds, options.epoch_rounds, options.seconds, options.epoch_images)
    tasks_to_run = tasks(options, folder)
    log('preparing')
    prepared = prepare(options, tasks_to_run, options.epoch_images)
    precisions = [p for p in options.precisions if p == 'float32' or prepared['bfloat16']]
    log('measuring the peak')
    peaks = process.run_module('bench.peak', [str(options.threads), *precisions])
    rows: list[Row] = []
    for task, described in zip(tasks_to_run, prepared.pop('tasks'), strict=True):
        if task.precision not in precisions:
            rows.append(Row(task.model, task.precision, task.batch, NO_BFLOAT16, 0, {}))
            continue
        sizes = {key: described.pop(key) for key in ('parameters', 'flops')}
        task = task._replace(**described)
        rows += measure(task, contestants(options), effort, sizes, log)
    return {**prepared, 'peak_gflops': peaks, 'rows': rows}


def grow(options: argparse.Namespace, folder: str, log: Callable[[str], None]) -> dict[str, Any]:
    """Returns the points of `bench.growth`, in the first precision and with the first backend."""
    tasks_to_run = [t for t in tasks(options, folder) if t.precision == options.precisions[0]]
    log('preparing')
    prepared = prepare(options, tasks_to_run, max(growth.IMAGES))
    del prepared['tasks']
    points = []
    for task in tasks_to_run:
        task = task._replace(images=options.epoch_images)
        varied = growth.variations(task, options.quick)
        points += growth.grow(varied, options.ours[0], options.seconds, log)
    return {**prepared, 'points': points}


def main() -> None:
    """Runs the script."""
    options = parse()
    process.use_cores(options.threads)
    console = Console(stderr=options.json)
    with tempfile.TemporaryDirectory() as folder, console.status('') as status:
        log = status.update if console.is_terminal else console.print
        result = (grow if options.growth else compare)(options, folder, log)
    about = {
        'processor': processor(),
        'threads': options.threads,
        'versions': {name: _version(name) for name in PACKAGES},
        'command': {key: str(value) for key, value in vars(options).items()},
    }
    title = f'{about["processor"]}, {options.threads} threads, {result["data"]}'
    if options.growth:
        console.print(growth.table(result['points'], title))
        if options.plot:
            plots.growths(result['points'], title, options.plot)
        result['points'] = [growth.record(point) for point in result['points']]
    else:
        console.print(results.table(result['rows'], result['peak_gflops'], f'images/s on {title}'))
        if options.plot:
            plots.comparison(result['rows'], title, options.plot)
        result['rows'] = [results.record(row, result['peak_gflops']) for row in result['rows']]
    if options.json:
        print(json.dumps({**about, **result}))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


if __name__ == '__main__':
    main()
