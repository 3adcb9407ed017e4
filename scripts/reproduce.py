"""Repeats a kept run, and says whether it gives the same weights, or the same accuracy.

    python scripts/reproduce.py senet [--workdir DIR] [--data-dir DIR]

ROW is a folder of results/. Its command runs again, on as many cores and devices. If the processor,
its instructions and the versions are those of the kept run, the SHA-256 of the weights must be
equal. Elsewhere the validation and training accuracies may differ by twice their standard deviation
over the kept seeds of the command, or by one percentage point if that is more; by two points if
there is one seed. The test images are not looked at. The status is 0 if the run was reproduced.
"""

import argparse
import pathlib
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.process import use_cores
from cifar_jax.errors import UserError
from cifar_jax.experiment import console
from cifar_jax.experiment.records import Run
from tables import kept

# What decides the bits of a run, besides its config.
_DECIDES = (
    'processor', 'instructions', 'cores', 'devices', 'backend', 'operations', 'jax', 'jaxlib',
    'flax', 'optax', 'numpy', 'cifar_jax',
)  # fmt: skip
METRICS = {'validation': 'val_accuracy', 'training': 'train_accuracy'}


class Verdict(NamedTuple):
    """Whether a run was reproduced, and a sentence that says how."""

    reproduced: bool
    text: str


def find(name: str, results: pathlib.Path) -> tuple[Run, list[Run]]:
    """Returns the kept run in a folder, and all kept runs of its command, of any seed.

    Raises:
      UserError: there is no such run.
    """
    groups = kept.groups(kept.read_all(results))
    for runs in groups.values():
        for run in runs:
            if run.workdir.path.name == name:
                return run, runs
    names = ', '.join(sorted(path.name for path in results.iterdir() if path.is_dir()))
    raise UserError(f'{results} has no run {name!r}; it has {names}.')


def command(run: Run, workdir: pathlib.Path, data_dir: str | None) -> list[str]:
    """Returns the command that repeats a run, with the algorithm and devices that it had."""
    words = [sys.executable, *shlex.split(kept.command(run))[1:], f'--workdir={workdir}']
    options = {'ops.algorithm': run.config.ops.algorithm}
    if not run.in_numpy:
        options['mesh.devices'] = run.environment['devices']
    if data_dir:
        options['data.dir'] = data_dir
    return words + [f'--config.{key}={value}' for key, value in options.items()]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns what differs between two environments and may change bits, such as 'jax 1 and 2'.

    Runs kept by earlier versions do not record their instructions, which then count as different.
    """
    return [
        f'{key} {before.get(key, "unknown")} and {now.get(key, "unknown")}'
        for key in _DECIDES
        if before.get(key) != now.get(key)
    ]


def tolerance(seeds: Sequence[Run], key: str) -> float:
    """Returns by how much an accuracy of a repeated run may differ.

    Args:
      seeds: all kept runs of the command.
      key: of an accuracy in summary.json.
    """
    values = [run.summary[key] for run in seeds]
    return max(0.01, 2 * statistics.stdev(values)) if len(values) > 1 else 0.02


def judge(run: Run, seeds: Sequence[Run], again: Run) -> Verdict:
    """Compares a repeated run with the kept one."""
    before, now = run.summary['sha256'], again.summary['sha256']
    if now == before:
        return Verdict(True, f'the same weights, SHA-256 {now}')
    different = differences(run.environment, again.environment)
    if not different:
        return Verdict(
            False, f'the weights have SHA-256 {now}, not {before}, on the same kind of machine'
        )
    texts, reproduced = [], True
    for name, key in METRICS.items():
        if key in run.summary:
            most = tolerance(seeds, key)
            close = abs(again.summary[key] - run.summary[key]) <= most
            reproduced &= close
            texts.append(
                f'{name} accuracy {again.summary[key]:.2%}, {"" if close else "not "}within '
                f'{most:.2%} of {run.summary[key]:.2%}'
            )
    return Verdict(reproduced, f'{"; ".join(texts)} (differs: {", ".join(different)})')


def main(arguments: Sequence[str] | None = None) -> None:
    """Repeats the run; status 1 if it was not reproduced, or could not run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('row', help='name of a folder of results/')
    parser.add_argument('--workdir', type=console.is_path, help='default: runs/again-ROW')
    parser.add_argument('--data-dir', help='where the data set is now')
    args = parser.parse_args(arguments)
    with console.mistakes_as_sentences():
        run, seeds = find(args.row, kept.RESULTS)
        workdir = args.workdir or pathlib.Path('runs') / f'again-{args.row}'
        words = command(run, workdir, args.data_dir)
        print(shlex.join(words), flush=True)
        use_cores(run.environment['cores'])  # the number of threads decides the order of sums
        if subprocess.run(words, cwd=kept.ROOT, check=False).returncode:
            raise UserError(f'The run has not ended; the same command continues it in {workdir}.')
        verdict = judge(run, seeds, kept.read(kept.ROOT / workdir))
    print(f'{args.row}: {"" if verdict.reproduced else "not "}reproduced: {verdict.text}')
    sys.exit(not verdict.reproduced)


if __name__ == '__main__':
    main()
