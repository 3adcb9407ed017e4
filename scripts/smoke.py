"""Train every variant of every config for a few steps on its real data, as a smoke test.

    python scripts/smoke.py [--config FILE ...] [--jobs N]

Networks have their full size. JAX networks train for three steps of eight images, NumPy networks
for one epoch, on two percent of the data. The variants `digits` and `smoke` are left to the tests.
Variants whose data are not on this machine, such as S1's birds, are left out and listed. Prints a
table of times. If a variant fails, its error is printed and the status is 1.
"""

import argparse
import pathlib
import sys
import tempfile
import time

from cifar_jax.data import paths
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import config_files, console, variants
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.sweeping import grid, loop, show
from cifar_jax.sweeping import jobs as lib
from cifar_jax.sweeping.jobs import Job
from cifar_jax.training import numpy_trainer
from cifar_jax.training.trainers import trainer_of
from tables.kept import ROOT

ALL = ('data.fraction=0.02', 'log.tensorboard=false')
STEPS = ('train.length=3 steps', 'train.batch_size=8', 'eval_batch_size=100')
EPOCH = ('train.length=1 epochs',)


def specs(paths: list[pathlib.Path]) -> list[str]:
    """Returns FILE[:variant] of each variant with real data, the default one first."""
    return [
        f'{path}:{variant}' if variant else str(path)
        for path in paths
        for variant in ('', *config_files.variants(path))
        if not variants.parts(variant)[1]
    ]


def task(spec: str, out: pathlib.Path) -> grid.Task:
    """Returns the task of a short run of a variant, in a folder with its name."""
    in_numpy = trainer_of(configs.load(spec).model.name) is numpy_trainer
    settings = (*ALL, *(EPOCH if in_numpy else STEPS))
    [single] = grid.tasks(out, [spec], [0], settings)
    return single._replace(workdir=Workdir(out / configs.name(spec)))


def is_here(spec: str) -> bool:
    """Returns whether the data of a variant are on this machine; CIFAR can be downloaded."""
    data = configs.load(spec).data
    kind, _, rest = data.source.partition(':')
    if kind == 'tfds':
        return (pathlib.Path(data.dir).expanduser() / rest).is_dir()
    return kind not in paths.ON_DISK or pathlib.Path(rest).expanduser().exists()


def main() -> None:
    """Runs the script; user errors end it with one sentence and status 1."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--config', nargs='+', type=pathlib.Path, metavar='FILE')
    parser.add_argument('--jobs', type=int, default=len(lib.cores()), help='default: one per core')
    args = parser.parse_args()
    files = args.config or sorted((ROOT / 'configs').glob('*.py'))
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, console.mistakes_as_sentences():
        chosen = {spec: is_here(spec) for spec in specs(files)}
        jobs = [Job(task(spec, pathlib.Path(folder))) for spec, here in chosen.items() if here]
        loop.run(jobs, lib.shares(args.jobs), 'none', show.Display(jobs, args.jobs))
    title = f'{len(jobs)} variants, {console.duration(time.monotonic() - start)}'
    rows = [(job.task.name, console.duration(job.seconds), job.state) for job in jobs]
    console.table(title, ('variant', 'time', 'state'), rows)
    for spec, here in chosen.items():
        if not here:
            print(f'{spec} was left out: its data are not on this machine', file=sys.stderr)
    for job in jobs:
        if job.state == 'failed':
            print(f'{job.task.spec} failed: {job.error}', file=sys.stderr)
    sys.exit(int(any(job.state != 'finished' for job in jobs)))


if __name__ == '__main__':
    main()
