"""Checkpoints of the training state with orbax; keeps the latest two and the best one."""

import contextlib
import logging
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

from cifar_jax.errors import UserError, first_line
from cifar_jax.training import history as history_lib
from cifar_jax.training import identity, lost_process, processes
from cifar_jax.training.state import TrainState, sha256, to_host

log = logging.getLogger('cifar_jax')


class Restored(NamedTuple):
    """A state and the lines of metrics.jsonl up to its step."""

    state: TrainState
    history: list[dict[str, Any]]


@contextlib.contextmanager
def manager(folder: pathlib.Path, *, read_only: bool = False) -> Iterator[ocp.CheckpointManager]:
    """Opens orbax's manager of a folder, and waits for what it writes in the background.

    Args:
      read_only: whether to leave the folder unchanged, since another process may be training in it.

    Raises:
      UserError: a checkpoint cannot be written, or the file that describes one is damaged.
    """
    options = ocp.CheckpointManagerOptions(read_only=True) if read_only else _options()
    try:
        checkpoints = ocp.CheckpointManager(folder.absolute(), options=options)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(
            f'A file _CHECKPOINT_METADATA or metrics in {folder} is damaged ({first_line(error)}): '
            'restore it from a copy or delete it; the checkpoint itself has a checksum.'
        ) from None
    try:
        yield checkpoints
    except BaseException:
        # The first error is the one to report, not those that follow from it.
        with contextlib.suppress(Exception):
            checkpoints.close()
        raise
    with _write_errors(checkpoints):
        checkpoints.close()


def _options() -> ocp.CheckpointManagerOptions:
    keep = managers.AnyPreservationPolicy(
        [
            managers.LatestN(2),
            managers.BestN(n=1, get_metric_fn=_rank, keep_checkpoints_without_metrics=False),
        ]
    )
    return ocp.CheckpointManagerOptions(
        preservation_policy=keep,
        # Needed for the metrics to be saved; without them, a resumed run would drop the best one.
        best_fn=_rank,
        cleanup_tmp_directories=True,
        enable_async_checkpointing=True,
    )


@contextlib.contextmanager
def _write_errors(checkpoints: ocp.CheckpointManager) -> Iterator[None]:
    """Reports an error of orbax, which may be that of an earlier checkpoint, as a sentence."""
    try:
        yield
    except Exception as error:  # orbax and tensorstore raise many kinds
        lost_process.refuse(error)
        raise UserError(
            f'A checkpoint in {checkpoints.directory} cannot be written '
            f'({first_line(error)[:200]}): is the disk full? The same command continues from the '
            'checkpoint before it.'
        ) from error


def finish(checkpoints: ocp.CheckpointManager) -> None:
    """Waits until all checkpoints are written.

    Raises:
      UserError: one of them cannot be written.
    """
    with _write_errors(checkpoints):
        checkpoints.wait_until_finished()


def _rank(metrics: dict[str, Any]) -> tuple[float, int]:
    # Among equal scores, the earliest is the best, as in the history.
    return metrics['score'], -metrics['step']


def save(
    checkpoints: ocp.CheckpointManager,
    state: TrainState,
    history: list[dict[str, Any]],
    score: float | None,
) -> None:
    """Starts writing a checkpoint; returns when the state may be overwritten.

    It replaces a checkpoint of the same step, which a run that was stopped before the validation of
    its epoch leaves.

    Args:
      state: copied first, since the training step reuses its memory.
      history: the lines of metrics.jsonl so far, saved with the state so that both agree.
      score: the validation score of this step (higher is better), or None.
    """
    state = to_host(state)
    history = [*history]  # orbax writes it later, and the loop may have added a line by then
    step = int(state.step)
    # Only what the first process gives is written.
    run_id = identity.read_or_create(_run_folder(checkpoints)) if processes.is_first() else ''
    with _write_errors(checkpoints):
        if step in checkpoints.all_steps():
            checkpoints.wait_until_finished()
            checkpoints.delete(step)
        checkpoints.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state._asdict()),
                meta=ocp.args.JsonSave(
                    {
                        'history': history,
                        'sha256': sha256(state._asdict()),
                        'history_sha256': history_lib.sha256(history),
                        'run': run_id,
                    }
                ),
            ),
            metrics=None if score is None else {'score': score, 'step': step},
            force=True,
        )


def _run_folder(checkpoints: ocp.CheckpointManager) -> pathlib.Path:
    return pathlib.Path(checkpoints.directory).parent


def restore(
    checkpoints: ocp.CheckpointManager, shapes: TrainState, step: int, sharding: Any = None
) -> Restored:
    """Reads a checkpoint and verifies its SHA-256.

    Args:
      shapes: the shapes of the state, from `jax.eval_shape`.
      sharding: sharding of all arrays, or a state of those of each; None keeps them in host memory.

    Raises:
      Exception: the checkpoint is damaged; orbax raises many kinds of exceptions.
    """
    if not isinstance(sharding, TrainState):
        one = sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        sharding = jax.tree.map(lambda _: one, shapes)
    target = jax.tree.map(
        lambda a, where: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), shapes, sharding
    )
    restored = checkpoints.restore(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardRestore(target._asdict()), meta=ocp.args.JsonRestore()
        ),
    )
    meta = restored['meta']
    if (sha256(to_host(restored['state'])), history_lib.sha256(meta['history'])) != (
        meta['sha256'],
        meta['history_sha256'],
    ):
        raise ValueError('its checksum is wrong')
    identity.check(_run_folder(checkpoints), meta.get('run'))
    return Restored(TrainState(**restored['state']), meta['history'])


def restore_step(
    checkpoints: ocp.CheckpointManager, shapes: TrainState, step: int, sharding: Any = None
) -> Restored:
    """Reads the checkpoint that a run reports; the arguments are those of `restore`.

    Raises:
      UserError: the checkpoint is damaged.
    """
    try:
        return restore(checkpoints, shapes, step, sharding)
    except identity.UnknownRunError:
        raise
    except Exception as error:  # orbax and tensorstore raise many kinds
        reason = str(error).strip().split('\n')[0][:200]
        raise UserError(
            f'The checkpoint of step {step} in {checkpoints.directory}, the best one, is damaged '
            f'({reason}): restore it from a copy, or evaluate with --checkpoint latest.'
        ) from error


def restore_latest(
    checkpoints: ocp.CheckpointManager,
    shapes: TrainState,
    sharding: Any = None,
    *,
    set_aside: bool = True,
) -> Restored | None:
    """Reads the latest undamaged checkpoint; warns of damaged ones and moves them away.

    Args:
      shapes, sharding: as for `restore`.
      set_aside: whether to move damaged checkpoints away; false for readers, since another process
        may be training and deleting checkpoints.

    Returns:
      The restored state, or None if there is no checkpoint.

    Raises:
      UserError: there are checkpoints, and all of them are damaged or of another run; or the
        file with the identity of the run is.
    """
    steps = sorted(checkpoints.all_steps(), reverse=True)
    damaged = []
    for step in steps:
        try:
            restored = restore(checkpoints, shapes, step, sharding)
        except identity.UnknownRunError:
            raise
        except Exception as error:  # orbax and tensorstore raise many kinds
            reason = str(error).strip().split('\n')[0][:200]
            log.warning('checkpoint %d is damaged (%s): trying the one before', step, reason)
            damaged.append(step)
            continue
        for bad in damaged if set_aside else ():
            _set_aside(checkpoints, bad)
        return restored
    if steps:
        raise UserError(
            f'Every checkpoint in {checkpoints.directory} is damaged or of another run: restore '
            'one from a copy, or train again in another --workdir.'
        )
    return None


def _set_aside(checkpoints: ocp.CheckpointManager, step: int) -> None:
    """Moves a damaged checkpoint away, since its step will be saved again."""
    with processes.first_alone(f'setting aside checkpoint {step}'):
        if processes.is_first():
            _move_away(pathlib.Path(checkpoints.directory), step)
    checkpoints.reload()


def _move_away(folder: pathlib.Path, step: int) -> None:
    target = folder.parent / 'damaged' / f'{step}'
    number = 0
    while target.exists():
        number += 1
        target = target.with_name(f'{step}-{number}')
    target.parent.mkdir(exist_ok=True)
    (folder / str(step)).rename(target)
