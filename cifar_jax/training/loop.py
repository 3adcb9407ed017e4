"""The training loop: epochs of steps, validation, checkpoints and resuming."""

import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import jax

from cifar_jax.data.arrays import Arrays
from cifar_jax.errors import UserError
from cifar_jax.training import checkpoints, history, metrics, processes, weights
from cifar_jax.training import state as states
from cifar_jax.training.history import Line
from cifar_jax.training.plan import Plan, loaded_variables, state_shardings
from cifar_jax.training.state import TrainState
from cifar_jax.training.step import Programs, programs
from cifar_jax.training.trainer import Watcher
from cifar_jax.training.validation import Images, StoppedError, on_device

CHECKPOINTS = 'checkpoints'  # in the folder of a run


class Trained(NamedTuple):
    """The result of training: the state, the log, and the line of the log for the state."""

    state: TrainState
    history: list[Line]
    chosen: Line | None  # None if the run was interrupted


def run(plan: Plan, folder: pathlib.Path, watcher: Watcher) -> Trained:
    """Trains from the latest checkpoint, or from the start, to the end of the plan.

    Args:
      folder: for checkpoints and the initial weights.
      watcher: is notified of events, and can request to stop.

    Raises:
      UserError: a loss, a metric or a weight is not finite, or no checkpoint can be read.
    """
    train, per_epoch = plan.config.train, plan.steps_per_epoch
    program = programs(plan)
    shapes = jax.eval_shape(program.init, None)
    shardings = state_shardings(plan)
    validation = plan.validation and on_device(plan.validation, plan.mesh)
    stop = processes.stop_together(lambda: watcher.stop)

    with jax.set_mesh(plan.mesh), checkpoints.manager(folder / CHECKPOINTS) as manager:
        restored = checkpoints.restore_latest(manager, shapes, shardings)
        processes.require_same(
            -1 if restored is None else int(restored.state.step),
            f'The processes find different checkpoints in {folder}: it has to be on a file system '
            'that they share, with checkpoints that all can read.',
        )
        if restored is None:
            variables = states.to_host(loaded_variables(plan))
            restored = checkpoints.Restored(program.init(variables), [])
            variables = states.own_copy(restored.state.variables)
            if processes.is_first():
                weights.save(folder / weights.FILE, variables)
        state, log = restored
        step = int(state.step)
        if step < plan.total_steps and log and log[-1]['epoch'] > step // per_epoch:
            log = log[:-1]  # A shorter run ended within this epoch, which has one line.
        watcher.started(step, log)
        while (ended := _ended(log)) < plan.total_steps and not history.out_of_patience(log, train):
            began, first = time.perf_counter(), step
            epoch = ended // per_epoch
            end = min((epoch + 1) * per_epoch, plan.total_steps)
            feeds = plan.training.epoch(plan.config.seed, epoch, step - epoch * per_epoch)
            while step < end and not stop():
                state = program.step(state, next(feeds))
                step += 1
                save_now = step < end and step % plan.save_every == 0
                if save_now or watcher.wants(step) or step == end:
                    _check_loss(state)
                    watcher.stepped(step)
                if save_now:
                    checkpoints.save(manager, state, log, None)
            trained = time.perf_counter()
            try:
                validated = _validated(state, validation, program, stop)
            except StoppedError:
                _check_loss(state)
                if step not in manager.all_steps():
                    checkpoints.save(manager, state, log, None)
                return Trained(state, log, None)

            line = _line(plan, step, state, validated)
            line['images_per_second'] = (step - first) * train.batch_size / (trained - began)
            line['seconds'] = time.perf_counter() - began
            states.check_finite(line, states.own_copy(state.variables))
            log.append(line)
            watcher.epoch_ended(line, states.own_copy(states.evaluated(state)))
            if (
                step % plan.save_every == 0
                or step == plan.total_steps
                or history.best(log, train.monitor) is line
                or history.out_of_patience(log, train)
            ):
                # An epoch that a longer run completes must not be kept as the best one.
                complete = step % per_epoch == 0
                score = history.score(line, train.monitor) if complete else None
                checkpoints.save(manager, state, log, score)

        checkpoints.finish(manager)
        chosen = history.chosen(log, train)
        if chosen['step'] != step:
            state = checkpoints.restore_step(manager, shapes, chosen['step'], shardings).state
        return Trained(state, log, chosen)


def _ended(log: list[Line]) -> int:
    """Returns the step at which the last epoch of a log ended."""
    return log[-1]['step'] if log else 0


def _validated(
    state: TrainState,
    validation: Images | Arrays | None,
    program: Programs,
    stop: Callable[[], bool],
) -> dict[str, float]:
    """Returns the metrics of the validation images; nothing if there are none.

    Raises:
      StoppedError: the run is asked to stop.
    """
    if stop():
        raise StoppedError
    if validation is None:
        return {}
    return program.evaluate(states.evaluated(state), validation, stop)


def _line(plan: Plan, step: int, state: TrainState, validated: dict[str, float]) -> Line:
    """Returns the line of the epoch that ends with `step`, without times."""
    line = {
        'epoch': -(-step // plan.steps_per_epoch),
        'step': step,
        'rate': float(plan.schedule(step - 1)),
    }
    line |= {f'train_{key}': value for key, value in metrics.mean(state.sums).items()}
    return line | {f'val_{key}': value for key, value in validated.items()}


def _check_loss(state: TrainState) -> None:
    step = int(state.bad_step)
    if step >= 0:
        raise UserError(
            f'The loss of step {step} is not finite: lower config.schedule.rate, add a '
            'config.schedule.warmup or config.optimizer.clip_norm, or locate the operation with '
            '--config.debug.nans=true, in another --workdir.'
        )
