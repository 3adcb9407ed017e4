"""Changes training, data and inference mechanically, one node at a time, and runs their tests.

    python scripts/mutation.py --out DIR [--only MODULE ...] [--sample N] [--seed S] [--list]

A mutant is one comparison, operator, number, condition, keyword, statement or result changed in a
module of `TESTS`. It is killed if a test of the module's files fails or takes too long. It survives
otherwise, unless scripts/equivalents.toml says why no test can tell it from the original.

The tests run once with all their lines traced. A mutant is then judged by those tests that execute
its lines, the fastest first, in a fork of a process that has imported everything but the module;
compiled programs are kept in DIR. A mutant that no slow test judges takes half a second.

Verdicts are appended to DIR/verdicts.jsonl, so that a second command continues. A mutant stays
killed while the function that it changes is the same; a survivor is judged again when the files of
its tests change, too. --sample takes N mutants of each module, the same ones for the same seed.
The status is 1 if one survived.

Not judged so far: extraction.py. In probes.py, 20 mutants survive that have not been examined: of
the tried values, the measured seconds and the log. No survivor of the rest is left.
"""

import argparse
import gc
import json
import pathlib
import random
import sys
import tempfile

from mutants import ROOT, copy_project
from mutation_testing import runs, selection, verdicts
from mutation_testing.changes import Mutant, mutants

EQUIVALENTS = pathlib.Path(__file__).with_name('equivalents.toml')

# The tests that judge each module of cifar_jax, the fastest first.
TESTS = {
    'training/durations.py': 'training/test_durations.py',
    'data/splits.py': 'data/test_splits.py',
    'data/normalize.py': 'data/test_normalize.py data/test_streamed_images.py',
    'data/batches.py': 'data/test_batches.py',
    'training/history.py': 'training/test_history.py',
    'training/limits.py': 'experiment/test_config.py training/test_accumulation.py',
    'training/identity.py': 'training/test_identity.py',
    'training/extension.py': 'training/test_extension.py',
    'training/losses.py': 'training/test_losses.py',
    'training/metrics.py': 'training/test_metrics.py',
    'training/groups.py': 'training/test_groups.py',
    'training/optimizers.py': 'training/test_schedules.py training/test_optimizers.py '
    'training/test_groups.py',
    'training/weights.py': 'training/test_weights.py experiment/test_first_weights.py',
    'training/validation.py': 'training/test_validation.py training/test_streamed_runs.py',
    'training/parallel.py': 'training/test_parallel.py training/test_accumulation.py '
    'training/test_processes.py training/test_sharded_parameters.py training/test_validation.py',
    'training/processes.py': 'training/test_processes.py',
    'training/lost_process.py': 'training/test_processes.py',
    'training/precision.py': 'training/test_precision.py',
    'training/plan.py': 'training/test_plan.py training/test_independent_loop.py '
    'training/test_streamed_runs.py',
    'training/state.py': 'training/test_state.py training/test_independent_loop.py',
    'training/accumulation.py': 'training/test_accumulation.py',
    'training/step.py': 'training/test_step.py training/test_accumulation.py '
    'training/test_independent_loop.py training/test_loop.py',
    'training/cost.py': 'training/test_cost.py',
    'training/lowering.py': 'training/test_lowering.py',
    'training/loop.py': 'training/test_independent_loop.py training/test_loop.py',
    'training/algorithms.py': 'training/test_algorithms.py',
    'training/checkpoints.py': 'training/test_checkpoints.py training/test_loop.py',
    'training/jax_trainer.py': 'training/test_jax_trainer.py training/test_trainers.py',
    'training/trainer.py': 'training/test_trainers.py',
    'training/trainers.py': 'training/test_trainers.py',
    'training/flax_network.py': 'training/test_numpy_trainer.py',
    'training/numpy_network.py': 'training/test_numpy_trainer.py',
    'training/numpy_trainer.py': 'training/test_numpy_trainer.py training/test_trainers.py '
    'training/test_streamed_runs.py',
    'inference/predictions.py': 'inference/test_kept_predictions.py inference/test_predictions.py',
    'inference/pretrained.py': 'inference/test_pretrained.py',
    'inference/exported.py': 'inference/test_exported.py',
    'inference/trained.py': 'inference/test_trained.py inference/test_feature_runs.py',
    'inference/classifier.py': 'inference/test_predictions.py experiment/test_workdir.py '
    'inference/test_feature_runs.py',
    'inference/evaluation.py': 'inference/test_evaluation.py inference/test_changed_data.py '
    'inference/test_other_data.py',
    'experiment/backbone.py': 'inference/test_extraction.py',
    'experiment/feature_runs.py': 'experiment/test_joined_runs.py',
    'inference/extraction.py': 'inference/test_extraction.py',
    'inference/probes.py': 'inference/test_probes.py',
    'inference/feature_maps.py': 'inference/test_feature_maps.py',
    'inference/grad_cam.py': 'inference/test_feature_maps.py',
    'inference/new_images.py': 'inference/test_predict.py inference/test_pretrained.py '
    'inference/test_feature_runs.py',
    'inference/other_data.py': 'inference/test_other_parts.py inference/test_other_data.py',
}


def read(module: str) -> str:
    """Returns the source of a module of cifar_jax."""
    return (ROOT / 'cifar_jax' / module).read_text(encoding='utf-8')


def files_of(module: str) -> list[str]:
    """Returns the files of tests that judge a module."""
    return TESTS[module].split()


def judge_all(chosen: dict[str, list[Mutant]], out: pathlib.Path) -> None:
    """Judges the mutants of each module in a process of its own."""
    programs = out.absolute() / 'programs'
    with tempfile.TemporaryDirectory(prefix='mutation-') as temporary:
        folder = pathlib.Path(temporary)
        copy_project(folder)
        out = out.absolute()
        runs.set_up(folder, programs)
        gc.freeze()
        files = {module: files_of(module) for module in chosen}
        tests = selection.profiled(files, folder, out)
        for module, some in chosen.items():
            prefixes = tuple(f'tests/{file}::' for file in files_of(module))
            own = {name: row for name, row in tests.items() if name.startswith(prefixes)}
            log = folder / f'{module.replace("/", "-")}.log'
            status = runs.fork(lambda: judge(module, some, own, folder, out), log, 1e5)  # noqa: B023
            print(log.read_text(), end='', flush=True)
            if status:
                sys.exit(1)


def judge(
    module: str, some: list[Mutant], tests: selection.Tests, folder: pathlib.Path, out: pathlib.Path
) -> int:
    """Judges mutants of a module, and writes each verdict; returns 0."""
    runs.import_all_but(folder, module)
    path = folder / 'cifar_jax' / module
    original = path.read_text(encoding='utf-8')
    judges = verdicts.of_tests(files_of(module), folder)
    for mutant in some:
        for compiled in path.parent.glob(f'__pycache__/{path.stem}.*'):
            compiled.unlink()
        path.write_text(mutant.source, encoding='utf-8')
        by = killed_by(selection.covering(mutant, original, tests), tests, folder)
        path.write_text(original, encoding='utf-8')
        verdict = 'killed' if by else 'survived'
        row = {'name': mutant.name, 'verdict': verdict, 'by': by, 'tests': judges}
        with open(out / 'verdicts.jsonl', 'a', encoding='utf-8') as file:
            print(json.dumps(row | {'function': verdicts.of_function(mutant)}), file=file)
        print(f'{verdict}: {mutant.name}', flush=True)
    return 0


def killed_by(chosen: list[str], tests: selection.Tests, folder: pathlib.Path) -> str:
    """Returns the test that fails, 'the import', 'the time', or '' if all tests pass."""
    failed = folder / 'failed'
    failed.unlink(missing_ok=True)
    files = dict.fromkeys(name.partition('::')[0].removeprefix('tests/') for name in chosen)
    plugin = runs.Selection(chosen, failed)
    limit = 20 + 4 * sum(tests[name]['seconds'] for name in chosen)
    status = runs.fork(lambda: runs.run_tests([*files], plugin, folder), folder / 'log', limit)
    if status is None:
        return 'the time'
    if status == 0:
        return ''
    return failed.read_text() if failed.is_file() else 'the import'


def main() -> None:
    """Judges the mutants of the modules, and prints how many were killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=pathlib.Path, required=True, help='folder for the verdicts')
    parser.add_argument('--only', nargs='*', default=[], help='parts of the names of modules')
    parser.add_argument('--sample', type=int, help='the number of mutants of each module')
    parser.add_argument('--seed', type=int, default=0, help='of the sample')
    parser.add_argument('--list', action='store_true', help='print the numbers, and run nothing')
    args = parser.parse_args()
    every = {module: mutants(module, read(module)) for module in TESTS}
    everything = [mutant for found in every.values() for mutant in found]
    reasons = verdicts.equivalents(EQUIVALENTS, {mutant.name for mutant in everything})
    modules = [m for m in TESTS if not args.only or any(word in m for word in args.only)]
    chosen = {
        module: random.Random(args.seed).sample(every[module], len(every[module]))[: args.sample]
        for module in modules
    }
    files = {module: files_of(module) for module in TESTS}
    if not args.list:
        args.out.mkdir(parents=True, exist_ok=True)
        known = {*reasons, *verdicts.read(args.out / 'verdicts.jsonl', everything, files)}
        left = {module: [m for m in some if m.name not in known] for module, some in chosen.items()}
        judge_all({module: some for module, some in left.items() if some}, args.out)
    done = verdicts.read(args.out / 'verdicts.jsonl', everything, files)
    print_summary(every, chosen, reasons, done)


def print_summary(every, chosen, reasons, done) -> None:
    """Prints a table of the modules and the survivors; exits with status 1 if there are any."""
    survivors = []
    print(f'{"module":34} mutants  chosen  killed  equivalent  survived')
    for module, some in chosen.items():
        names = [mutant.name for mutant in some]
        equal = [name for name in names if name in reasons]
        killed = [n for n in names if n not in reasons and done.get(n) == 'killed']
        alive = [n for n in names if n not in reasons and done.get(n) == 'survived']
        survivors += alive
        counts = (len(every[module]), len(names), len(killed), len(equal), len(alive))
        print(f'{module:34} {counts[0]:7} {counts[1]:7} {counts[2]:7} {counts[3]:11} {counts[4]:9}')
    print(*(f'survived: {name}' for name in survivors), sep='\n')
    sys.exit(bool(survivors))


if __name__ == '__main__':
    main()
