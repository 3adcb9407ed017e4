"""Puts faults into the code, one at a time, and checks that the tests notice each of them.

    python scripts/mutants.py [--only WORD ...]

Each fault changes one line of a copy of the project, in which the tests named with the fault then
run; some of them must fail. Prints the faults and what noticed them; the status is 1 if one was not
noticed. It takes about a minute per fault.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
_COPIED = ('cifar_jax', 'configs', 'scripts', 'tests', 'pyproject.toml')
_PYTEST = ('-q', '-x', '-n', '0', '-m', '', '-p', 'no:cacheprovider')


def copy_project(folder: pathlib.Path) -> None:
    """Copies what the tests need into a folder."""
    for name in _COPIED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)


class Fault(NamedTuple):
    """A line of a file, what it becomes, and the tests that run."""

    name: str
    file: str  # in cifar_jax
    line: str
    becomes: str
    tests: str  # pytest's arguments, in tests/


_HAND = 'training/test_independent_loop.py'
_LOOP = 'training/test_loop.py'
_HISTORY = 'training/test_history.py'
_BATCHES = 'data/test_batches.py'


def _faults(file: str, tests: str, *changes: tuple[str, str, str]) -> list[Fault]:
    return [Fault(name, file, line, becomes, tests) for name, line, becomes in changes]


FAULTS = [
    *_faults(
        'training/step.py',
        _HAND,
        (
            'half the loss',
            'loss = image_losses.sum() / config',
            'loss = image_losses.sum() / 2 / config',
        ),
        (
            'progress halved',
            'jnp.float32) / plan.total_steps',
            'jnp.float32) / plan.total_steps / 2',
        ),
        (
            'accuracy of the smallest logit',
            'metrics.add(sums, image_losses, logits,',
            'metrics.add(sums, image_losses, -logits,',
        ),
        ('one key for all steps', 'fold_in(stream, state.step)', 'fold_in(stream, 0)'),
        (
            'keys of augmentation and dropout swapped',
            'augment_key, dropout_key =',
            'dropout_key, augment_key =',
        ),
        (
            'label smoothing ignored',
            'labels, config.loss.label_smoothing)',
            'labels, 0.0)',
        ),
        (
            'metrics of all epochs',
            'new_epoch = state.step % plan.steps_per_epoch == 0',
            'new_epoch = state.step == 0',
        ),
        ('batch statistics not updated', '({**statistics, **updated}, (', '({**statistics}, ('),
        (
            'same batches in every epoch',
            'batch(feed, state.step % plan.steps_per_epoch)',
            'batch(feed, state.step % 2)',
        ),
    ),
    *_faults(
        'training/step.py',
        f'{_LOOP} -k names_the_step',
        ('step of a NaN forgotten', 'jnp.where(bad, state.step, state.bad_step)', 'state.bad_step'),
    ),
    *_faults(
        'data/batches.py',
        f'{_BATCHES} -k batches_of',
        ('batches overlap', 'start = position * self._batch_size', 'start = position'),
    ),
    *_faults(
        'data/batches.py',
        f'{_BATCHES} -k begin',
        ('epoch begins at its first batch', 'range(first, self.size', 'range(0, self.size'),
    ),
    *_faults(
        'data/batches.py',
        f'{_BATCHES} -k exactly_once',
        ('last image twice', 'row < size) for row', 'row <= size) for row'),
    ),
    *_faults(
        'training/plan.py',
        _HAND,
        (
            'a batch less in each epoch',
            'steps_per_epoch = size // batch_size',
            'steps_per_epoch = size // batch_size - 1',
        ),
    ),
    *_faults(
        'training/loop.py',
        _HAND,
        (
            'one order for all epochs',
            'epoch(plan.config.seed, epoch, step',
            'epoch(plan.config.seed, 0, step',
        ),
        ('average not evaluated', 'evaluate(states.evaluated(state),', 'evaluate(state.variables,'),
        ('rate of the next step', 'plan.schedule(step - 1)', 'plan.schedule(step)'),
        (
            'epochs counted from 0',
            '-(-step // plan.steps_per_epoch)',
            '(step - 1) // plan.steps_per_epoch',
        ),
    ),
    *_faults(
        'training/loop.py',
        f'{_LOOP} -k from_the_host',
        (
            'resumes at the start of the epoch',
            'epoch(plan.config.seed, epoch, step - epoch * per_epoch)',
            'epoch(plan.config.seed, epoch, 0)',
        ),
    ),
    *_faults(
        'training/loop.py',
        f'{_LOOP} -k early_stopping',
        ('reports the last weights', "if chosen['step'] != step:", 'if False:'),
    ),
    *_faults(
        'training/loop.py',
        f'{_LOOP} -k "best or early"',
        ('best epoch not saved', 'or history.best(log, train.monitor) is line', ''),
    ),
    *_faults(
        'training/loop.py',
        f'{_LOOP} -k stopped',
        ('not saved when stopped', 'if step not in manager.all_steps():', 'if False:'),
    ),
    *_faults(
        'training/loop.py',
        f'{_LOOP} -k killed',
        ('not saved within an epoch', 'save_now = step < end and', 'save_now = False and'),
    ),
    *_faults(
        'training/loop.py',
        f'{_LOOP} -k lengthened',
        ('two lines for an epoch', 'log = log[:-1]', 'log = log[:]'),
    ),
    *_faults(
        'training/state.py',
        f'{_LOOP} -k diverge',
        ('weights not checked', 'for leaf in jax.tree.leaves(variables)', 'for leaf in ()'),
    ),
    *_faults(
        'training/history.py',
        _HISTORY,
        ('latest of equals is the best', 'max(scored,', 'max(reversed(scored),'),
        ('highest loss is the best', 'return -value if', 'return value if'),
        ('NaN can be the best', 'value is None or not math.isfinite(value)', 'value is None'),
        ('patience off by one', '>= config.patience', '> config.patience'),
        (
            'patience reports the last',
            "config.select == 'best' or config.patience",
            "config.select == 'best'",
        ),
    ),
    *_faults(
        'training/durations.py',
        'training/test_durations.py',
        ('durations rounded down', 'round(exact)', 'int(exact)'),
        ('durations of no step', 'max(1, round(exact))', 'round(exact)'),
    ),
    *_faults(
        'inference/predictions.py',
        'inference/test_predictions.py inference/test_changed_data.py',
        (
            'kept predictions of other weights',
            '(stored.sha256, stored.data, stored.preprocessing) == key',
            '(stored.data, stored.preprocessing) == key[1:]',
        ),
        (
            'kept predictions of other images',
            '(stored.sha256, stored.data, stored.preprocessing) == key',
            '(stored.sha256, stored.preprocessing) == (key[0], key[2])',
        ),
        (
            'kept predictions of other preprocessing',
            '(stored.sha256, stored.data, stored.preprocessing) == key',
            '(stored.sha256, stored.data) == key[:2]',
        ),
        (
            'images not normalised',
            'normalize.apply(classifier.normalizer, normalize.to_unit(images))',
            'normalize.to_unit(images)',
        ),
        ('padding among the predictions', 'np.asarray(array)[mask]', 'np.asarray(array)'),
    ),
    *_faults(
        'inference/evaluation.py',
        'inference/test_changed_data.py',
        ('other images evaluated', '    if split in changed:', '    if False:'),
    ),
    *_faults(
        'inference/other_data.py',
        'inference/test_other_data.py',
        ('classes matched by number', 'Arrays(images, numbers[labels])', 'Arrays(images, labels)'),
        ('unknown classes', '    if unknown:', '    if False:'),
    ),
    *_faults(
        'inference/trained.py',
        'inference/test_trained.py',
        ('floats taken as pixels', 'if array.dtype != np.uint8:', 'if False:'),
        ('least probable class', '.argmax(-1)', '.argmin(-1)'),
    ),
    *_faults(
        'training/identity.py',
        'training/test_checkpoints.py',
        ('checkpoints of another run', 'stored != own', 'False'),
    ),
    *_faults(
        'data/splits.py',
        'data/test_splits.py',
        ('seed of a split ignored', 'random_state=seed', 'random_state=0'),
        ('validation images trained on', 'np.sort(order[:-size])', 'np.sort(order)'),
    ),
    *_faults(
        'data/normalize.py',
        'data/test_normalize.py',
        (
            'pixels counted per image',
            'count *= images.shape[1] * images.shape[2]',
            'count *= images.shape[1]',
        ),
        ('deviation not divided', 'np.sqrt(variance) / 255', 'np.sqrt(variance)'),
    ),
]


def mutated(fault: Fault, root: pathlib.Path = ROOT) -> str:
    """Returns the text of the fault's file with the fault in it.

    Raises:
      ValueError: the file does not have the line exactly once.
    """
    text = (root / 'cifar_jax' / fault.file).read_text()
    if text.count(fault.line) != 1:
        raise ValueError(f'{fault.file} has {fault.line!r} {text.count(fault.line)} times')
    return text.replace(fault.line, fault.becomes)


def noticed_by(fault: Fault, root: pathlib.Path) -> str:
    """Returns the first test that fails with the fault in a copy of the project, or ''."""
    path = root / 'cifar_jax' / fault.file
    sound, text = path.read_text(), mutated(fault, root)
    path.write_text(text)
    tests, *options = fault.tests.split(' -k ')
    selected = ['-k', options[0].strip('"')] if options else []
    files = [f'tests/{file}' for file in tests.split()]
    command = [sys.executable, '-m', 'pytest', *_PYTEST, *files, *selected]
    environment = os.environ | {'PYTHONPATH': str(root)}
    try:
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    finally:
        path.write_text(sound)
    failures = [line for line in done.stdout.splitlines() if line.startswith(('FAILED', 'ERROR'))]
    return failures[0].split()[1] if failures else ''


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', nargs='+', default=[''], metavar='WORD', help='in their names')
    args = parser.parse_args()
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        copy_project(root)
        for fault in FAULTS:
            if any(word in fault.name for word in args.only):
                test = noticed_by(fault, root)
                survivors += not test
                print(f'{fault.name}: {test or "NOT NOTICED"}', flush=True)
    sys.exit(int(survivors > 0))


if __name__ == '__main__':
    main()
