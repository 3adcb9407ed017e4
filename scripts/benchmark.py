"""How fast we train on this CPU, against the same networks in PyTorch and in Keras on TensorFlow.

    pip install -e '.[bench]'
    python scripts/benchmark.py --plot benchmark.svg     # all of it
    python scripts/benchmark.py --models SmallVGG --precisions float32 --epoch-rounds 0
    python scripts/benchmark.py --peers torch:eager,keras:graph --ours auto,xla
    python scripts/benchmark.py --growth --models SmallVGG,SENet --plot growth.svg
    python scripts/benchmark.py --quick                  # does it run?

Ours is what `python -m cifar_jax.main` runs. Every contestant is a process of its own that lives
through all rounds of a network and works only while it is asked to; the rounds interleave them.
Warm-up and compilation are not counted. Speeds are those of the median round, ratios the median
of each round's ratio to the peer that is fastest, of all its modes:

    torch:eager, torch:compile      channels-last, fused optimizer, allocator that keeps its memory;
                                    also torch:max-autotune and other modes of torch.compile
    keras:graph, keras:jit          a loop of tf.function steps, jit_compile off and on;
                                    also keras:fit and keras:fit-jit, the same by Model.fit

A step is timed on images that are ready, which ours still gathers and normalises. An epoch has
random flips and crops with a padding of 4; the peers', in the mode whose step was fastest, is timed
in two forms: images augmented one by one by a DataLoader or tf.data, and whole batches augmented
by tensor operations. The peak is the machine's fastest matrix product. `--growth` shows how the
time and the memory of our step grow with batch, width and data. Run it pinned (`taskset`) to
leave cores to others: it takes those that it may use.
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
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    known = ', '.join(BATCHES)
    add('--models', type=_words, default=MODELS, help=f'of {known}')
    add('--precisions', type=_words, default=('float32', 'bfloat16'))
    add('--ours', type=_words, default=('auto',), help='config.ops.backend; the first is compared')
    add('--peers', type=_words, default=tuple(PEERS), help='such as torch,keras:jit')
    add('--batch', type=int, help='images in a step; 500 for AirbenchShape, 128 for others')
    add('--threads', type=int, default=process.cores(), help='cores to use; all that it may')
    add('--rounds', type=int, default=5)
    add('--seconds', type=float, default=4.0, help='of steps by each contestant in a round')
    add('--epoch-rounds', type=int, default=3, help='0 measures no epochs')
    add('--epoch-images', type=int, default=10_000)
    add('--workers', type=int, default=2, help="processes of PyTorch's DataLoader")
    add('--data', choices=('auto', 'cifar10', 'synthetic'), default='auto')
    add('--growth', action='store_true', help='how our time and memory grow, instead')
    add('--quick', action='store_true', help='one short round: does it run?')
    add('--plot', type=pathlib.Path, help='write a picture here (.png or .svg)')
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
    """Returns what is wrong with the options, a sentence each."""
    peers = [results.framework(peer) for peer in options.peers]
    choices = {'models': BATCHES, 'precisions': ('float32', 'bfloat16')}
    found = [
        f"--{option} has no '{name}': choose from {', '.join(known)}"
        for option, known in choices.items()
        for name in getattr(options, option)
        if name not in known
    ]
    found += [f"--peers has no '{name}': choose from torch, keras" for name in {*peers} - {*PEERS}]
    if not 1 <= options.threads <= process.cores():
        found.append(f'--threads={options.threads}: from 1 to {process.cores()}, the cores it may')
    if options.rounds < 1 or options.epoch_rounds < 0 or not options.ours:
        found.append('--rounds is at least 1, --epoch-rounds 0, and --ours names a backend')
    largest = options.batch or max(BATCHES.get(name, 0) for name in options.models)
    if options.epoch_images < largest and not options.quick:
        found.append(f'--epoch-images={options.epoch_images} is less than a batch of {largest}')
    return found


def contestants(options: argparse.Namespace) -> list[str]:
    """Returns the contestants, ours first; a peer without a mode stands for all of its modes."""
    found = [f'ours:{name}' for name in options.ours]
    for peer in options.peers:
        found += [peer] if ':' in peer else [f'{peer}:{mode}' for mode in PEERS[peer]]
    return found


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


def prepare(options: argparse.Namespace, todo: list[Task], images: int) -> dict[str, Any]:
    """Writes the images into the tasks' folder, and returns what `bench.prepare` prints."""
    lines = ''.join(json.dumps(task._asdict()) + '\n' for task in todo)
    arguments = [todo[0].folder, str(images), options.data]
    return process.run_module('bench.prepare', arguments, lines)


def compare(options: argparse.Namespace, folder: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Returns the rows of all networks, and what they were measured with."""
    effort = Effort(options.rounds, options.epoch_rounds, options.seconds, options.epoch_images)
    todo = tasks(options, folder)
    say('prepares')
    known = prepare(options, todo, options.epoch_images)
    able = [p for p in options.precisions if p == 'float32' or known['bfloat16']]
    say('measures the peak')
    peaks = process.run_module('bench.peak', [str(options.threads), *able])
    rows: list[Row] = []
    for task, described in zip(todo, known.pop('tasks'), strict=True):
        if task.precision not in able:
            rows.append(Row(task.model, task.precision, task.batch, NO_BFLOAT16, 0, {}))
            continue
        sizes = {key: described.pop(key) for key in ('parameters', 'flops')}
        task = task._replace(**described)
        rows += measure(task, contestants(options), effort, sizes, say)
    return {**known, 'peak_gflops': peaks, 'rows': rows}


def grow(options: argparse.Namespace, folder: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Returns the points of `bench.growth`, in the first precision and with the first backend."""
    todo = [t for t in tasks(options, folder) if t.precision == options.precisions[0]]
    say('prepares')
    known = prepare(options, todo, max(growth.IMAGES))
    del known['tasks']
    points = []
    for task in todo:
        task = task._replace(images=options.epoch_images)
        varied = growth.variations(task, options.quick)
        points += growth.grow(varied, options.ours[0], options.seconds, say)
    return {**known, 'points': points}


def main() -> None:
    """Runs the script."""
    options = parse()
    process.use_cores(options.threads)
    console = Console(stderr=options.json)
    with tempfile.TemporaryDirectory() as folder, console.status('') as status:
        say = status.update if console.is_terminal else console.print
        found = (grow if options.growth else compare)(options, folder, say)
    about = {
        'processor': processor(),
        'threads': options.threads,
        'versions': {name: _version(name) for name in PACKAGES},
        'command': {key: str(value) for key, value in vars(options).items()},
    }
    title = f'{about["processor"]}, {options.threads} threads, {found["data"]}'
    if options.growth:
        console.print(growth.table(found['points'], title))
        if options.plot:
            plots.growths(found['points'], title, options.plot)
        found['points'] = [growth.record(point) for point in found['points']]
    else:
        console.print(results.table(found['rows'], found['peak_gflops'], f'images/s on {title}'))
        if options.plot:
            plots.comparison(found['rows'], title, options.plot)
        found['rows'] = [results.record(row, found['peak_gflops']) for row in found['rows']]
    if options.json:
        print(json.dumps({**about, **found}))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


if __name__ == '__main__':
    main()
