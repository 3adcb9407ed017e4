"""Changes training, data and inference mechanically, one node at a time, and runs their tests.

    python scripts/mutation.py --out DIR [--only MODULE ...] [--sample N] [--seed S] [--list]

A mutant is one comparison, operator, number, condition, keyword, statement or result changed in a
module of `TESTS`. It is killed if a test of the module's files fails or takes too long. It survives
otherwise, unless scripts/equivalents.toml says why no test can tell it from the original. Verdicts
are appended to DIR/verdicts.jsonl, so that a second command continues; those for an earlier version
of the module or of its tests no longer count. The status is 1 if one survived.

A process that has imported JAX forks for each mutant, which takes about two seconds where no test
trains. --sample takes N mutants of each module, the same ones for the same seed. Only durations.py
has been covered so far, and not wholly: 51 of its 67 mutants.
"""

import argparse
import ast
import collections
import copy
import hashlib
import importlib
import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
import tomllib
import traceback
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from mutants import ROOT, copy_project

EQUIVALENTS = pathlib.Path(__file__).with_name('equivalents.toml')

# The tests that judge each module of cifar_jax, the fastest first.
TESTS = {
    'training/durations.py': 'training/test_durations.py',
    'data/splits.py': 'data/test_splits.py',
    'data/normalize.py': 'data/test_normalize.py',
    'data/batches.py': 'data/test_batches.py',
    'training/history.py': 'training/test_history.py',
    'training/limits.py': 'experiment/test_config.py',
    'training/identity.py': 'training/test_loop.py',
    'training/extension.py': 'training/test_extension.py',
    'training/losses.py': 'training/test_losses.py',
    'training/metrics.py': 'training/test_metrics.py',
    'training/groups.py': 'training/test_groups.py',
    'training/optimizers.py': 'training/test_schedules.py training/test_optimizers.py',
    'training/weights.py': 'training/test_weights.py experiment/test_first_weights.py',
    'training/validation.py': 'training/test_validation.py',
    'training/parallel.py': 'training/test_validation.py training/test_loop.py',
    'training/precision.py': 'experiment/test_config.py training/test_loop.py',
    'training/plan.py': 'training/test_loop.py training/test_independent_loop.py',
    'training/state.py': 'training/test_groups.py training/test_loop.py',
    'training/step.py': 'training/test_independent_loop.py training/test_loop.py',
    'training/loop.py': 'training/test_independent_loop.py training/test_loop.py',
    'training/checkpoints.py': 'training/test_checkpoints.py training/test_loop.py',
    'training/jax_trainer.py': 'training/test_trainers.py training/test_loop.py',
    'training/trainer.py': 'training/test_trainers.py',
    'training/trainers.py': 'training/test_trainers.py',
    'training/flax_network.py': 'training/test_numpy_trainer.py',
    'training/numpy_network.py': 'training/test_numpy_trainer.py',
    'training/numpy_trainer.py': 'training/test_numpy_trainer.py training/test_trainers.py',
    'inference/predictions.py': 'inference/test_predictions.py',
    'inference/trained.py': 'inference/test_trained.py',
    'inference/classifier.py': 'inference/test_predictions.py experiment/test_workdir.py',
    'inference/evaluation.py': 'inference/test_changed_data.py inference/test_other_data.py',
    'inference/features.py': 'inference/test_features.py',
    'inference/grad_cam.py': 'inference/test_features.py',
    'inference/new_images.py': 'inference/test_predict.py',
    'inference/other_data.py': 'inference/test_other_data.py',
}
_IMPORTED = (
    'jax', 'flax.linen', 'optax', 'orbax.checkpoint', 'ml_collections', 'numpy', 'scipy.stats',
    'sklearn.metrics', 'PIL.Image', 'matplotlib.figure', 'beartype', 'pytest',
    'hypothesis', 'xdist.plugin',
)  # fmt: skip
_SWAPS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip


def read(module: str) -> str:
    """Returns the source of a module of cifar_jax."""
    return (ROOT / 'cifar_jax' / module).read_text(encoding='utf-8')


class Mutant(NamedTuple):
    """A node of a module, and what replaces it."""

    module: str
    line: str  # the whole line at which the node starts, without the spaces around it
    change: str  # 'before -> after'
    number: int  # tells equal changes of equal lines apart
    source: str  # the changed module

    @property
    def name(self) -> str:
        """Returns what identifies the mutant as long as its line stays as it is."""
        return f'{self.module}: {self.line}: {self.change} #{self.number}'


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _without(items: list, position: int) -> list:
    return items[:position] + items[position + 1 :]


def _negated(test: ast.expr) -> ast.expr:
    return test.operand if isinstance(test, ast.UnaryOp) else ast.UnaryOp(ast.Not(), test)


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yields what may replace a node."""
    match node:
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                yield _with(node, ops=[*ops[:i], _SWAPS[type(op)](), *ops[i + 1 :]])
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in _SWAPS:
            yield _with(node, op=_SWAPS[type(op)]())
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.IfExp(test=test):
            yield _with(node, test=_negated(test))
        case ast.Call(keywords=keywords):
            for i in range(len(keywords)):
                yield _with(node, keywords=_without(keywords, i))
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Break() | ast.Continue():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _conditions(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    tests = [node.test] if isinstance(node, ast.If | ast.While | ast.Assert) else []
    tests += node.ifs if isinstance(node, ast.comprehension) else []
    for test in tests:
        if not (isinstance(test, ast.Compare) and len(test.ops) == 1):  # swapped anyway: < is <=
            yield test, _negated(test)


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yields what runs: no annotations, no docstrings."""
    yield tree
    for name, value in ast.iter_fields(tree):
        if name in ('annotation', 'returns', 'type_comment', 'decorator_list'):
            continue
        for child in value if isinstance(value, list) else [value]:
            text = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if isinstance(child, ast.AST) and not text:
                yield from _nodes(child)


def mutants(module: str, source: str) -> list[Mutant]:
    """Returns all mutants of a module's source, in the order of its nodes."""
    data, lines = source.encode(), source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    found, seen = [], collections.Counter()
    for node in _nodes(ast.parse(source)):
        pairs = [(node, changed) for changed in changes(node)] + list(_conditions(node))
        for old, new in pairs:
            start = starts[old.lineno - 1] + old.col_offset
            end = starts[old.end_lineno - 1] + old.end_col_offset
            before, after = ast.unparse(old), ast.unparse(new)
            text = after if isinstance(old, ast.stmt) else f'({after})'
            line, change = lines[old.lineno - 1].strip(), f'{before} -> {after}'
            mutated = (data[:start] + text.encode() + data[end:]).decode()
            try:
                compile(mutated, module, 'exec')
            except SyntaxError:  # a format's width, say, which takes no brackets
                continue
            number = seen[line, change]
            seen[line, change] += 1
            found.append(Mutant(module, line, change, number, mutated))
    return found


def equivalents(known: set[str]) -> dict[str, str]:
    """Returns the reasons of the equivalent mutants; exits if one is no mutant of the code."""
    listed = tomllib.loads(EQUIVALENTS.read_text(encoding='utf-8'))['equivalent']
    reasons = {}
    for entry in listed:
        name = f'{entry["module"]}: {entry["line"]}: {entry["change"]} #{entry.get("number", 0)}'
        if name not in known:
            sys.exit(f'{EQUIVALENTS.name} lists what is no mutant any more: {name}')
        reasons[name] = entry['reason']
    return reasons


def _run(tests: list[str], folder: pathlib.Path, seconds: float) -> str:
    """Runs the tests in a fork of this process; returns 'passed', 'failed' or 'too long'."""
    with warnings.catch_warnings(action='ignore'):  # JAX has threads, but computes nothing yet.
        child = os.fork()
    if not child:
        os.setpgid(0, 0)
        _judge(tests, folder)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return 'passed' if status == 0 else 'failed'
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 'too long'


def _judge(tests: list[str], folder: pathlib.Path) -> None:
    """Ends this process with status 1 if a test fails: first those that are not slow."""
    status = 1
    try:
        import pytest

        log = os.open(folder / 'log', os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(folder)
        sys.path[:] = [str(folder), *(path for path in sys.path if path != str(ROOT))]
        options = ['-x', '-q', '-n', '0', '-p', 'no:cacheprovider', '--basetemp', f'{folder}/tmp']
        options += ['-W', 'ignore::pytest.PytestAssertRewriteWarning']  # imported before the fork
        paths = [f'tests/{name}' for name in tests]
        for marks in ('not slow', 'slow'):
            status = pytest.main([*options, '-m', marks, *paths])
            if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                break
        else:
            status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(status))


def state_of(module: str) -> str:
    """Returns a hash of a module and of the tests that judge it."""
    paths = [f'cifar_jax/{module}', *(f'tests/{name}' for name in TESTS[module].split())]
    return hashlib.sha256(b'\0'.join((ROOT / path).read_bytes() for path in paths)).hexdigest()[:16]


def _judge_module(module: str, chosen: list[Mutant], out: pathlib.Path, folder: pathlib.Path):
    """Judges the mutants of a module that have no verdict yet, and writes each verdict."""
    tests, path, state = TESTS[module].split(), folder / 'cifar_jax' / module, state_of(module)
    start = time.monotonic()
    if _run(tests, folder, 600) != 'passed':
        sys.exit(f'The tests of {module} fail already:\n{(folder / "log").read_text()}')
    limit = 10 + 3 * (time.monotonic() - start)
    original = path.read_text(encoding='utf-8')
    for mutant in chosen:
        for compiled in path.parent.glob(f'__pycache__/{path.stem}.*'):
            compiled.unlink()
        path.write_text(mutant.source, encoding='utf-8')
        verdict = {'passed': 'survived'}.get(_run(tests, folder, limit), 'killed')
        path.write_text(original, encoding='utf-8')
        with open(out, 'a', encoding='utf-8') as file:
            print(json.dumps({'name': mutant.name, 'of': state, 'verdict': verdict}), file=file)
        print(f'{verdict}: {mutant.name}', flush=True)


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
    reasons = equivalents({mutant.name for found in every.values() for mutant in found})
    modules = [m for m in TESTS if not args.only or any(word in m for word in args.only)]
    args.out.mkdir(parents=True, exist_ok=True)
    verdicts = args.out / 'verdicts.jsonl'
    chosen = {}
    for module in modules:
        order = random.Random(args.seed).sample(every[module], len(every[module]))
        chosen[module] = order[: args.sample]
    if not args.list:
        _judge_all(chosen, reasons, verdicts)
    _print_summary(every, chosen, reasons, read_verdicts(verdicts))


def read_verdicts(verdicts: pathlib.Path) -> dict[str, str]:
    """Returns the verdicts that hold for the code and the tests as they are."""
    rows = verdicts.read_text(encoding='utf-8').splitlines() if verdicts.is_file() else []
    states = {module: state_of(module) for module in TESTS}
    rows = [json.loads(row) for row in rows]
    return {r['name']: r['verdict'] for r in rows if r['of'] in states.values()}


def _judge_all(chosen: dict[str, list[Mutant]], reasons: dict[str, str], out: pathlib.Path) -> None:
    os.environ.update(
        JAX_DISABLE_MOST_OPTIMIZATIONS='1', PYTHONDONTWRITEBYTECODE='', OMP_NUM_THREADS='1'
    )
    for name in _IMPORTED:
        importlib.import_module(name)
    done = read_verdicts(out)
    with tempfile.TemporaryDirectory(prefix='mutation-') as temporary:
        folder = pathlib.Path(temporary)
        copy_project(folder)
        for module, some in chosen.items():
            left = [m for m in some if m.name not in done and m.name not in reasons]
            if left:
                _judge_module(module, left, out, folder)


def _print_summary(every, chosen, reasons, done) -> None:
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
