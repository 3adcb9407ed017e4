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
import contextlib
import json
import pathlib
import shlex
import sys
from collections.abc import Sequence

from cifar_jax.errors import UserError
from cifar_jax.experiment import console
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.sweeping import grid, loop, show, state
from cifar_jax.sweeping import jobs as lib
from cifar_jax.sweeping.jobs import Job


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(
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
    return parser.parse_args(arguments)


def _seeds(text: str) -> list[int]:
    return [_count(part, least=0) for part in text.split(',')]


def _count(text: str, least: int = 1) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number of at least {least}")
    return int(text)


def plan(args: argparse.Namespace) -> list[Job]:
    """Returns all runs of the command line, those that are done marked as finished.

    Raises:
      UserError: one of them is impossible, or its workdir is of another config or damaged.
    """
    jobs = [
        Job(task) for task in grid.tasks(args.out, args.config, args.seeds, args.set, args.grid)
    ]
    for job in jobs:
        if not lib.lacks(job.task, args.evaluate):
            job.state = 'finished'
    return jobs


def sweep(jobs: list[Job], out: pathlib.Path, at_once: int, split: str) -> None:
    """Runs what is to be run.

    Raises:
      UserError: another sweep is at work in the folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(workdirs.lock(Workdir(out)))
        except UserError:
            raise UserError(
                f'Another sweep is at work in {out}: wait for it, or choose another --out.'
            ) from None
        loop.run(jobs, lib.shares(at_once), split, show.Display(jobs, at_once))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the script; a mistake ends it with one sentence and status 1."""
    args = parse(arguments)
    with console.mistakes_as_sentences():
        jobs = plan(args)
        if args.dry_run:
            for job in jobs:
                print(f'{job.state}: python -m cifar_jax.main {shlex.join(job.task.arguments)}')
            return
        sweep(jobs, args.out, args.jobs or len(lib.cores()), args.evaluate)
        found = show.rows(jobs)
    show.table(str(args.out), found)
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
        print(json.dumps({'finished': states == {'finished'}, 'table': found, 'runs': runs}))
    sys.exit(130 if 'stopped' in states else int('failed' in states))


if __name__ == '__main__':
    main()
