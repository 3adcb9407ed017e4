"""Train many runs in parallel, or resume those that are unfinished.

    python -m cifar_jax.sweep --out runs/rates --config configs/numpy_cnn.py:experiment5 \\
        --grid schedule.rate=0.1,0.01 --seeds 0,1,2 --evaluate test

Trains each --config with every combination of the values of all --grid and every seed. Each run has
its own workdir, OUT/<config>-<key>=<value>-seed<seed>, and its own process and share of the cores;
its output is in OUT/<name>.log. A comma in brackets or quotation marks is part of a value:

    --grid 'model.widths=(32,),(32,64)' --grid 'train.length=8 epochs,16 epochs'

Mistakes are refused before anything starts. A run that fails does not stop the others; it is named
at the end, and the status is 1. Ctrl-C stops the runs after their current step, with a checkpoint
(twice: immediately). The same command resumes the sweep: finished runs are not trained again, and
evaluated ones not evaluated again. Configs, values and seeds may be added with the same OUT.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from cifar_jax.errors import UserError
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
    add('--set', action='append', default=[], metavar='KEY=VALUE', help='set a key for all runs')
    add('--grid', action='append', default=[], metavar='KEY=VALUE,VALUE', help='try each value')
    add(
        '--jobs',
        type=console.count,
        default=0,
        help='runs in parallel; default: one per core, or on SLURM all',
    )
    add(
        '--launcher', default='local', choices=('local', 'slurm'), help='where the runs are started'
    )
    slurm = parser.add_argument_group('with --launcher slurm, for each run')
    slurm.add_argument('--partition', help="default: the cluster's")
    slurm.add_argument('--minutes', type=console.count, help='time limit; default: 24 hours')
    slurm.add_argument('--gpus', type=console.count, metavar='N')
    slurm.add_argument('--cpus', type=console.count, metavar='N')
    slurm.add_argument('--memory_gb', type=console.count, metavar='N')
    slurm.add_argument(
        '--sbatch', action='append', metavar='KEY=VALUE', help='another option, as account=NAME'
    )
    add(
        '--evaluate',
        default='none',
        choices=('none', 'validation', 'test'),
        help='evaluate each finished run on this split; default: none',
    )
    add('--json', action='store_true', help='print a JSON object on the last line')
    add('--dry_run', '--dry-run', action='store_true', help='list the runs and stop')
    return parser


def _slurm_options(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what the arguments ask a cluster for."""
    names = ('partition', 'minutes', 'gpus', 'cpus', 'memory_gb')
    options = {name: value for name in names if (value := getattr(args, name))}
    pairs = [text.partition('=') for text in args.sbatch or ()]
    for key, equals, value in pairs:
        if not (key and equals and value):
            raise UserError(f"--sbatch '{key}{equals}{value}' sets nothing: write KEY=VALUE.")
    if pairs:
        options['others'] = {key: value for key, _, value in pairs}
    if options and args.launcher != 'slurm':
        name = 'sbatch' if pairs else next(iter(options))
        raise UserError(f'--{name} is for a cluster: add --launcher slurm.')
    return options


def _seeds(text: str) -> list[int]:
    return [console.count(part, least=0) for part in text.split(',')]


@console.mistakes_as_sentences()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; a user's mistake ends it with one sentence and status 1."""
    args = parser().parse_args(arguments)
    from cifar_jax.sweeping import grid

    tasks = grid.tasks(args.out, args.config, args.seeds, args.set, args.grid)
    from cifar_jax.machine import cores
    from cifar_jax.sweeping import child, loop, show, slurm, state
    from cifar_jax.sweeping import jobs as lib

    options = _slurm_options(args)
    parallel = args.jobs or len(cores())
    launch: lib.Launch = child.start
    if args.launcher == 'slurm' and not args.dry_run:
        launch = slurm.launcher(args.out, slurm.Options(**options))
        parallel = args.jobs or len(tasks)
    jobs = lib.plan(tasks, args.evaluate, launch)
    if args.dry_run:
        for job in jobs:
            print(f'{job.state}: python -m cifar_jax.main {shlex.join(job.task.arguments)}')
        return
    loop.sweep(jobs, args.out, parallel, args.evaluate)
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
