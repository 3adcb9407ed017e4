"""Checkpoints of a state with a few small arrays, without training."""

import logging
import pathlib
import resource
import shutil
import signal
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cifar_jax.errors import UserError
from cifar_jax.training import checkpoints, history, metrics, parallel
from cifar_jax.training.state import TrainState

Line = dict[str, Any]


def state_at(step: int) -> TrainState:
    """A state whose arrays depend on the step, with the odd values that a format may spoil."""
    kernel = jax.random.normal(jax.random.key(step), (3, 2))
    return TrainState(
        step=jnp.int32(step),
        variables={
            'params': {'kernel': kernel, 'bias': jnp.array([-0.0, jnp.nan, jnp.inf])},
            'batch_stats': {'mean': kernel[0] / 3},
        },
        opt_state=({'mu': kernel / 7}, jnp.int32(step)),
        average={},
        sums=metrics.zeros()._replace(loss=jnp.float32(1e-45), count=jnp.int32(2**31 - 1)),
        bad_step=jnp.int32(-1),
    )


SHAPES = jax.eval_shape(lambda: state_at(0))


def lines_to(step: int) -> list[Line]:
    return [{'epoch': n, 'step': n, 'val_accuracy': 0.1 * n} for n in range(1, step + 1)]


def save_steps(folder: pathlib.Path, scores: dict[int, float | None]) -> list[int]:
    """Saves a checkpoint for each step and score, in one process; returns the steps kept."""
    with checkpoints.manager(folder) as manager:
        for step, score in scores.items():
            checkpoints.save(manager, state_at(step), lines_to(step), score)
        manager.wait_until_finished()
        return sorted(manager.all_steps())


def save_and_leave(
    folder: pathlib.Path, steps: list[int], error: BaseException | None = None
) -> None:
    """Saves checkpoints, and leaves the manager at once, perhaps with an error."""
    with checkpoints.manager(folder) as manager:
        for step in steps:
            checkpoints.save(manager, state_at(step), lines_to(step), None)
        if error:
            raise error


def restore_latest(folder: pathlib.Path) -> checkpoints.Restored | None:
    with checkpoints.manager(folder) as manager:
        return checkpoints.restore_latest(manager, SHAPES)


def assert_same_bits(actual: TrainState, expected: TrainState) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def data_files(checkpoint: pathlib.Path) -> list[pathlib.Path]:
    """The files that hold the arrays; which of them are read back is tensorstore's choice."""
    return [path for path in checkpoint.glob('state/**/d/*') if path.is_file()]


def truncate(checkpoint: pathlib.Path) -> None:
    for path in data_files(checkpoint):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_byte(checkpoint: pathlib.Path) -> None:
    for path in data_files(checkpoint):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)


def lose_the_index(checkpoint: pathlib.Path) -> None:
    (checkpoint / 'state' / '_METADATA').unlink()
    (checkpoint / 'state' / 'manifest.ocdbt').unlink()


def lose_the_history(checkpoint: pathlib.Path) -> None:
    shutil.rmtree(checkpoint / 'meta')


def test_what_is_restored_has_the_bits_and_the_history_that_were_saved(tmp_path):
    save_steps(tmp_path / 'c', {3: 0.3})
    restored = restore_latest(tmp_path / 'c')
    assert_same_bits(restored.state, state_at(3))
    assert {leaf.devices().pop() for leaf in jax.tree.leaves(restored.state)} == {jax.devices()[0]}
    assert restored.history == lines_to(3)


def test_what_is_restored_is_sharded_as_asked(tmp_path):
    save_steps(tmp_path / 'c', {3: 0.3})
    sharding = parallel.replicated(parallel.make_mesh(2, 2))
    with checkpoints.manager(tmp_path / 'c', read_only=True) as manager:
        restored = checkpoints.restore(manager, SHAPES, 3, sharding)
    assert_same_bits(restored.state, state_at(3))
    assert {leaf.sharding for leaf in jax.tree.leaves(restored.state)} == {sharding}


def test_a_reader_creates_no_folder(tmp_path):
    with checkpoints.manager(tmp_path / 'c', read_only=True) as manager:
        assert checkpoints.restore_latest(manager, SHAPES) is None
    assert not (tmp_path / 'c').exists()


def test_an_empty_folder_has_nothing_to_restore(tmp_path):
    assert restore_latest(tmp_path / 'c') is None


@pytest.mark.parametrize(
    ('scores', 'kept'),
    [
        ({1: 0.1, 2: 0.9, 3: 0.3, 4: 0.4, 5: 0.5}, [2, 4, 5]),
        ({1: 0.1, 2: 0.9, 3: 0.9, 4: 0.4, 5: 0.5}, [2, 4, 5]),  # of equals the earliest
        ({1: -2.0, 2: -0.5, 3: -1.0, 4: -3.0}, [2, 3, 4]),  # minus the loss
        ({1: None, 2: 0.2, 3: None, 4: None}, [2, 3, 4]),  # in mid-epoch there is no score
        ({1: None, 2: None, 3: None}, [2, 3]),
    ],
)
def test_the_latest_two_and_the_best_are_kept(tmp_path, scores, kept):
    assert save_steps(tmp_path / 'c', scores) == kept


def test_the_best_is_kept_by_the_run_that_goes_on(tmp_path):
    save_steps(tmp_path / 'c', {1: 0.9, 2: 0.2, 3: 0.3})
    assert save_steps(tmp_path / 'c', {4: 0.4, 5: 0.5, 6: None}) == [1, 5, 6]


@pytest.mark.parametrize('monitor', ['accuracy', 'loss'])
def test_the_best_that_is_kept_is_the_best_of_the_history(tmp_path, monitor):
    values = {1: 0.5, 2: 0.25, 3: 0.75, 4: 0.25, 5: 0.75, 6: 0.5}
    log = [{'step': step, f'val_{monitor}': value} for step, value in values.items()]
    kept = save_steps(tmp_path / 'c', {line['step']: history.score(line, monitor) for line in log})
    best = history.best(log, monitor)
    assert best['step'] == {'accuracy': 3, 'loss': 2}[monitor]
    assert kept == [best['step'], 5, 6]


@pytest.mark.parametrize('damage', [truncate, flip_a_byte, lose_the_index, lose_the_history])
def test_a_damaged_latest_checkpoint_falls_back_to_the_one_before(tmp_path, caplog, damage):
    folder = tmp_path / 'c'
    save_steps(folder, {1: 0.1, 2: 0.2})
    damage(folder / '2')
    with caplog.at_level(logging.WARNING, 'cifar_jax'):
        restored = restore_latest(folder)
    assert_same_bits(restored.state, state_at(1))
    assert restored.history == lines_to(1)
    assert 'checkpoint 2 is damaged' in caplog.text
    assert 'trying the one before' in caplog.text
    assert (tmp_path / 'damaged' / '2' / 'state').is_dir(), 'it is set aside, not deleted'
    assert not (folder / '2').exists()


def test_the_step_of_a_damaged_checkpoint_can_be_saved_again(tmp_path):
    folder = tmp_path / 'c'
    for scores in ({1: 0.1, 2: 0.2}, {2: 0.2}):
        save_steps(folder, scores)
        truncate(folder / '2')
        assert int(restore_latest(folder).state.step) == 1
    assert sorted(path.name for path in (tmp_path / 'damaged').iterdir()) == ['2', '2-1']


def test_the_run_that_sets_a_damaged_checkpoint_aside_saves_its_step_again(tmp_path):
    folder = tmp_path / 'c'
    save_steps(folder, {1: 0.1, 2: 0.2})
    truncate(folder / '2')
    with checkpoints.manager(folder) as manager:
        assert int(checkpoints.restore_latest(manager, SHAPES).state.step) == 1
        checkpoints.save(manager, state_at(2), lines_to(2), 0.2)
    assert_same_bits(restore_latest(folder).state, state_at(2))


def test_where_all_are_damaged_the_user_is_told_and_nothing_is_moved(tmp_path):
    folder = tmp_path / 'c'
    save_steps(folder, {1: 0.1, 2: 0.2})
    truncate(folder / '1')
    truncate(folder / '2')
    with pytest.raises(UserError, match=r'Every checkpoint in .* is damaged'):
        restore_latest(folder)
    assert (folder / '1').is_dir()
    assert (folder / '2').is_dir()


def test_a_reader_leaves_a_damaged_checkpoint_where_it_is(tmp_path):
    """Another process may be training there, and deletes what is no longer kept."""
    folder = tmp_path / 'c'
    save_steps(folder, {1: 0.1, 2: 0.2})
    truncate(folder / '2')
    with checkpoints.manager(folder, read_only=True) as manager:
        restored = checkpoints.restore_latest(manager, SHAPES, set_aside=False)
    assert int(restored.state.step) == 1
    assert (folder / '2').is_dir()
    assert not (tmp_path / 'damaged').exists()


def test_an_unfinished_checkpoint_is_ignored_and_removed_before_the_next_is_saved(tmp_path):
    folder = tmp_path / 'c'
    save_steps(folder, {1: 0.1})
    shutil.copytree(folder / '1', folder / '2.orbax-checkpoint-tmp-0')
    truncate(folder / '2.orbax-checkpoint-tmp-0')
    assert int(restore_latest(folder).state.step) == 1
    save_steps(folder, {2: 0.2})
    assert not (folder / '2.orbax-checkpoint-tmp-0').exists()


def test_what_happens_to_the_state_after_a_save_does_not_reach_the_checkpoint(tmp_path):
    overwrite = jax.jit(lambda s: jax.tree.map(lambda a: a * 0 - 7, s), donate_argnums=0)
    expected, state = state_at(1), jax.tree.map(jnp.copy, state_at(1))
    with checkpoints.manager(tmp_path / 'c') as manager:
        checkpoints.save(manager, state, [], None)
        jax.block_until_ready(overwrite(state))  # before the writing in the background is over
    assert_same_bits(restore_latest(tmp_path / 'c').state, expected)


def test_a_checkpoint_replaces_that_of_the_same_step(tmp_path):
    with checkpoints.manager(tmp_path / 'c') as manager:
        checkpoints.save(manager, state_at(1), [], None)
        checkpoints.save(manager, state_at(1), lines_to(1), 0.9)
    assert restore_latest(tmp_path / 'c').history == lines_to(1)
    assert save_steps(tmp_path / 'c', {2: 0.2, 3: 0.3, 4: None}) == [1, 3, 4], 'its score counts'


def test_a_changed_history_counts_as_damage(tmp_path):
    save_steps(tmp_path, {1: 0.1, 2: 0.2})
    meta = tmp_path / '2' / 'meta' / 'metadata'
    meta.write_text(meta.read_text().replace('"val_accuracy": 0.1', '"val_accuracy": 0.9'))
    restored = restore_latest(tmp_path)
    assert restored is not None
    assert int(restored.state.step) == 1


def test_a_damaged_checkpoint_that_nothing_can_replace_is_named(tmp_path):
    save_steps(tmp_path, {1: 0.1})
    shutil.rmtree(tmp_path / '1' / 'state')
    with (
        checkpoints.manager(tmp_path, read_only=True) as manager,
        pytest.raises(UserError, match=r'step 1 in .* is damaged .*--checkpoint latest'),
    ):
        checkpoints.restore_step(manager, SHAPES, 1)


def test_checkpoints_of_another_run_are_not_restored(tmp_path):
    for name in ('one', 'other'):
        save_steps(tmp_path / name / 'checkpoints', {1: None})
    shutil.rmtree(tmp_path / 'one' / 'checkpoints')
    shutil.copytree(tmp_path / 'other' / 'checkpoints', tmp_path / 'one' / 'checkpoints')
    with pytest.raises(UserError, match='Every checkpoint'):
        restore_latest(tmp_path / 'one' / 'checkpoints')


def test_a_copied_run_is_restored(tmp_path):
    save_steps(tmp_path / 'one' / 'checkpoints', {1: None})
    shutil.copytree(tmp_path / 'one', tmp_path / 'copy')
    assert restore_latest(tmp_path / 'copy' / 'checkpoints') is not None


def test_a_checkpoint_from_before_runs_had_an_identity_is_restored(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints.identity, 'read_or_create', lambda folder: None)
    save_steps(tmp_path / 'checkpoints', {1: None})
    assert restore_latest(tmp_path / 'checkpoints') is not None


@pytest.mark.skipif(sys.platform != 'linux', reason='needs a limit of the size of files')
@pytest.mark.parametrize('steps', [[1], [1, 2]])
def test_a_checkpoint_that_cannot_be_written_is_a_sentence(tmp_path, steps):
    """The error is that of the next checkpoint, or comes at the end."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limit[1]))
    try:
        with pytest.raises(UserError, match=r'cannot be written .*: is the disk full\?'):
            save_and_leave(tmp_path / 'checkpoints', steps)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)


def test_the_first_200_letters_of_the_reason_of_a_failed_write_are_shown(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ValueError('x' * 300)

    shown = 'x' * 200
    with checkpoints.manager(tmp_path / 'checkpoints') as manager:
        monkeypatch.setattr(manager, 'save', refuse)
        with pytest.raises(UserError, match=rf'cannot be written \({shown}\): is the disk full'):
            checkpoints.save(manager, state_at(1), [], None)


def test_a_checkpoint_is_written_to_the_end_although_an_error_ends_the_run(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        save_and_leave(tmp_path / 'c', [1], KeyboardInterrupt())
    assert_same_bits(restore_latest(tmp_path / 'c').state, state_at(1))


@pytest.mark.parametrize(
    ('content', 'problem'), [(None, 'missing'), ('\0' * 33, 'damaged'), ('ab', 'damaged')]
)
def test_a_run_without_its_identity_blames_no_checkpoint(tmp_path, content, problem):
    folder = tmp_path / 'checkpoints'
    save_steps(folder, {1: None})
    identity = tmp_path / 'run_id'
    kept = identity.read_text()
    if content is None:
        identity.unlink()
    else:
        identity.write_text(content)
    with pytest.raises(UserError, match=rf'^\S+run_id is {problem}, .*: restore it from a copy'):
        restore_latest(folder)
    with (
        checkpoints.manager(folder) as manager,
        pytest.raises(UserError, match=rf'^\S+run_id is {problem}'),
    ):
        checkpoints.restore_step(manager, SHAPES, 1)
    identity.write_text(kept)
    assert restore_latest(folder) is not None


@pytest.mark.parametrize('read_only', [False, True])
@pytest.mark.parametrize('content', ['[1]', '7', '{"init_timestamp_nsecs": "x"}'])
def test_a_damaged_description_of_a_checkpoint_is_a_sentence(tmp_path, content, read_only):
    folder = tmp_path / 'checkpoints'
    save_steps(folder, {1: None})
    description = folder / '1' / '_CHECKPOINT_METADATA'
    description.write_text(content)
    with (
        pytest.raises(UserError, match=r'_CHECKPOINT_METADATA or metrics in .* is damaged'),
        checkpoints.manager(folder, read_only=read_only),
    ):
        pass
    description.unlink()  # as the sentence advises
    restored = restore_latest(folder)
    assert restored is not None
    assert_same_bits(restored.state, state_at(1))


@pytest.mark.parametrize('length', [200, 300])
def test_the_first_200_letters_of_the_reason_of_a_damage_are_shown(
    tmp_path, monkeypatch, caplog, length
):
    def refuse(*_):
        raise ValueError('\n' + 'x' * length + '\nmore')

    save_steps(tmp_path, {1: None})
    monkeypatch.setattr(checkpoints, 'restore', refuse)
    with checkpoints.manager(tmp_path, read_only=True) as manager:
        with pytest.raises(UserError, match=rf'^The checkpoint of step 1 .* \({"x" * 200}\)'):
            checkpoints.restore_step(manager, SHAPES, 1)
        with pytest.raises(UserError, match='Every checkpoint'):
            checkpoints.restore_latest(manager, SHAPES)
    shown = 'x' * 200
    assert f'checkpoint 1 is damaged ({shown}): trying the one before' in caplog.text
