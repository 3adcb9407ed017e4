"""Train many runs, as many at once as there are cores, and go on with those that are unfinished.

    python -m cifar_jax.sweep --out runs/rates --config configs/numpy_cnn.py:experiment5 \\
        --grid schedule.rate=0.1,0.01 --seeds 0,1,2 --evaluate test

Every --config runs with every combination of the values of all --grid and every seed, each in a
workdir of its own, OUT/<config>-<key>=<value>-seed<seed>, by `python -m cifar_jax.main` in a
process that keeps to its share of the cores; what it prints is in OUT/<name>.log. A comma in
brackets or quotation marks belongs to a value:

    --grid 'model.widths=(32,),(32,64)' --grid 'train.length=8 epochs,16 epochs'

Mistakes are refused before anything starts. A run that fails leaves the others alone and is named
at the end, with status 1. Ctrl-C stops the runs after their steps, with a checkpoint (twice: at
once). The same command then goes on: finished runs are not run again, evaluated ones not
evaluated again. More configs, values or seeds may be added in the same OUT.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence

from cifar_jax.experiment import console


def parser() -> argparse.ArgumentParser:
    """Returns the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m cifar_jax.sweep',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add('--out', type=console.is_path, required=True, help='the folder of the workdirs')
    add('--config', action='append', required=True, metavar='FILE[:VARIANT]')
    add('--seeds', type=_seeds, default=[0], metavar='N,N', help='default: 0')
    add('--set', action='append', default=[], metavar='KEY=VALUE', help='for all runs')
    add('--grid', action='append', default=[], metavar='KEY=VALUE,VALUE', help='each in turn')
    add('--jobs', type=_count, default=0, help='runs at once; default: one a core')
    add(
        '--evaluate',
        default='none',
        choices=('none', 'validation', 'test'),
        help='look at this split once a run is finished; default: none',
    )
    add('--json', action='store_true', help='end with one JSON object')
    add('--dry-run', action='store_true', help='list the runs, start none')
    return parser


def _seeds(text: str) -> list[int]:
    return [_count(part, least=0) for part in text.split(',')]


def _count(text: str, least: int = 1) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least {least}")
    return int(text)


@console.mistakes_as_sentences()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; a user's mistake ends it with one sentence and status 1."""
    args = parser().parse_args(arguments)
    from cifar_jax.sweeping import grid

    tasks = grid.tasks(args.out, args.config, args.seeds, args.set, args.grid)
    from cifar_jax.machine import cores
    from cifar_jax.sweeping import jobs as lib
    from cifar_jax.sweeping import loop, show, state

    jobs = lib.plan(tasks, args.evaluate)
    if args.dry_run:
        for job in jobs:
            print(f'{job.state}: python -m cifar_jax.main {shlex.join(job.task.arguments)}')
        return
    loop.sweep(jobs, args.out, args.jobs or len(cores()), args.evaluate)
    rows = show.rows(jobs)
    console.table(str(args.out), show.COLUMNS, [[*row.values()] for row in rows])
    for line in show.failures(jobs):
        print(line, file=sys.stderr)
    states = {job.state for job in jobs}
    if args.json:
        runs = [
            {
                'workdir': str(job.task.workdir.path),
                'state': job.state,
                'error': job.error,
                'summary': state.summary(job.task),
            }
            for job in jobs
        ]
        print(json.dumps({'finished': states == {'finished'}, 'table': rows, 'runs': runs}))
    sys.exit(130 if 'stopped' in states else int('failed' in states))


if __name__ == '__main__':
    main()
