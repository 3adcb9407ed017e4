"""How fast we train on this CPU, against PyTorch and Keras on TensorFlow.

python scripts/benchmark.py                          # everything, about an hour and a half
python scripts/benchmark.py --models SmallVGG --rounds 5 --epoch-rounds 0
python scripts/benchmark.py --peers torch:eager --ours auto,xla
python scripts/benchmark.py --quick                  # does it run?
"""

import argparse
import json
import tempfile
from typing import Any

from rich.console import Console

from bench import process, results
from bench.measure import Effort, measure
from bench.results import Row
from bench.task import Task
from cifar_jax.experiment.environment import processor, processor_flags

PEERS = {
    'torch': ('eager', 'compile'),
    'keras': ('graph', 'jit', 'fit', 'fit-jit'),
}
BATCHES = {'SmallVGG': 128, 'PlainCNN': 128, 'SENet': 128, 'AirbenchShape': 500}
MORE_BATCHES = {'InceptionNet': 128}
NATIVE_BFLOAT16 = {'avx512_bf16', 'amx_bf16', 'bf16'}
NO_BFLOAT16 = 'not measured: this processor has no bf16'


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    known = ', '.join((*BATCHES, *MORE_BATCHES))
    add('--models', type=_words, default=tuple(BATCHES), help=f'of {known}')
    add('--precisions', type=_words, default=('float32', 'bfloat16'))
    add('--ours', type=_words, default=('auto',), help='values of config.ops.backend')
    add('--peers', type=_words, default=tuple(PEERS), help='such as torch,keras:jit')
    add('--batch', type=int, help='images in a step; 500 for AirbenchShape, 128 for others')
    add('--threads', type=int, default=process.cores(), help='cores to use; all there are')
    add('--rounds', type=int, default=5)
    add('--seconds', type=float, default=4.0, help='of steps by each contestant in a round')
    add('--epoch-rounds', type=int, default=3, help='0 measures no epochs')
    add('--epoch-images', type=int, default=10_000)
    add('--workers', type=int, default=2, help="processes of PyTorch's DataLoader")
    add('--data', choices=('auto', 'cifar10', 'synthetic'), default='auto')
    add('--quick', action='store_true', help='one short round: does it run?')
    add('--json', action='store_true', help='print one JSON object on the last line')
    options = parser.parse_args(arguments)
    unknown = [name for name in options.models if name not in {**BATCHES, **MORE_BATCHES}]
    if unknown:
        parser.error(f"there is no model '{unknown[0]}': choose from {known}")
    if not 1 <= options.threads <= process.cores():
        parser.error(f'--threads={options.threads}: this process may use {process.cores()} cores')
    if options.quick:
        options.rounds = options.epoch_rounds = 1
        options.seconds, options.epoch_images = 0.1, 3 * (options.batch or 500)
    return options


def _words(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(',')))


def contestants(options: argparse.Namespace) -> list[str]:
    """Returns the contestants, ours first; a peer without a mode stands for all of its modes."""
    found = [f'ours:{name}' for name in options.ours]
    for peer in options.peers:
        modes = () if ':' in peer else PEERS[peer]
        found += [f'{peer}:{mode}' for mode in modes] or [peer]
    return found


def run(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Returns the rows of all networks, and what they were measured on."""
    process.use_cores(options.threads)
    native = bool(processor_flags() & NATIVE_BFLOAT16)
    precisions = [p for p in options.precisions if p == 'float32' or native]
    effort = Effort(options.rounds, options.epoch_rounds, options.seconds, options.epoch_images)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, console.status('prepares') as status:
        peaks = process.run_module('bench.peak', [str(options.threads), *precisions])
        batches = {**BATCHES, **MORE_BATCHES}
        tasks = [
            Task(
                model=name,
                batch=options.batch or batches[name],
                precision=precision,
                threads=options.threads,
                folder=folder,
                workers=options.workers,
            )
            for name in options.models
            for precision in options.precisions
        ]
        prepared = process.run_module(
            'bench.prepare',
            [folder, str(options.epoch_images), options.data],
            ''.join(json.dumps(task._asdict()) + '\n' for task in tasks),
        )
        for task, known in zip(tasks, prepared['tasks'], strict=True):
            if task.precision not in precisions:
                nothing = (task.model, task.precision, task.batch, NO_BFLOAT16, 0, {})
                rows.append(Row(*nothing))
                continue
            sizes = {key: known.pop(key) for key in ('parameters', 'flops')}
            rows += measure(
                task._replace(**known), contestants(options), effort, sizes, status.update
            )
    return {
        'processor': processor(),
        'threads': options.threads,
        'data': prepared['data'],
        'environment': prepared['environment'],
        'peak_gflops': peaks,
        'rows': rows,
    }


def main() -> None:
    """Runs the script."""
    options = parse()
    console = Console(stderr=options.json)
    found = run(options, console)
    title = f'images/s on {found["processor"]}, {found["threads"]} threads, {found["data"]}'
    console.print(results.table(found['rows'], found['peak_gflops'], title))
    if options.json:
        rows = [results.record(row, found['peak_gflops']) for row in found['rows']]
        print(json.dumps({**found, 'rows': rows}))


if __name__ == '__main__':
    main()
