"""The processes of a run, on one machine or many: how they connect, wait and stop together.

Process 0 alone writes to the console and to the files of a run; checkpoints are written by all.
"""

import atexit
import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator

import jax
import numpy as np

# JAX has no public functions for what a cluster says, nor for these numbers before its devices are
# set up.
from jax._src import clusters, distributed
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from cifar_jax.errors import UserError, first_line
from cifar_jax.training import lost_process

# A process that sends no heartbeat for so long counts as lost.
_HEARTBEAT_SECONDS = 30
# Preparing a data set, for which the other processes wait, may take hours.
_PATIENCE_SECONDS = 24 * 3600
# JAX knows more clusters, such as Kubernetes, which need another package or must be asked for.
_CLUSTERS = ('slurm', 'ompi', 'gcetpu', 'gketpu')

_unfinished = True


def connect(coordinator: str = '', processes: int = 0, process_id: int = -1) -> None:
    """Connects the processes of a run; call it before JAX's devices are used.

    A TPU pod, SLURM and Open MPI say how many processes there are; without these, and without
    arguments, there is one. Where another process is lost, this one ends within a minute.

    Args:
      coordinator: host:port of process 0, on a port that is free there.
      processes: how many there are.
      process_id: the number of this one, from 0.

    Raises:
      UserError: the arguments are incomplete, or the processes do not meet within five minutes.
    """
    given = bool(coordinator), processes > 0, process_id >= 0
    if any(given) and not all(given):
        raise UserError(
            'Several processes need all of --coordinator HOST:PORT, --processes N and --process_id '
            'I; on a TPU pod, SLURM and Open MPI leave out all three.'
        )
    if all(given) and process_id >= processes:
        raise UserError(f'--process_id={process_id} must be from 0 to {processes - 1}.')
    if not all(given) and _detected() == 1:
        return
    lost_process.expect()
    try:
        jax.distributed.initialize(
            coordinator or None,
            processes or None,
            process_id if all(given) else None,
            cluster_detection_method='deactivate' if all(given) else None,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f'The processes cannot connect ({first_line(error)}): start all of them within five '
            'minutes, with an address of process 0 that the others reach and a port that is free.'
        ) from None
    atexit.register(_leave_unfinished)
    if not is_first():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def count() -> int:
    """Returns the number of processes of this run."""
    return distributed.global_state.num_processes


def is_first() -> bool:
    """Returns whether this is process 0, which writes the console and the files of a run."""
    return distributed.global_state.process_id == 0


def wait(name: str) -> None:
    """Waits until every process calls this with the same name."""
    if count() > 1:
        multihost.get_barrier_sync_fn()(key=name, timeout_ms=1000 * _PATIENCE_SECONDS)


@contextlib.contextmanager
def first_alone(name: str) -> Iterator[None]:
    """Lets process 0 go first, and the others when it is done, so that they find what it wrote."""
    if not is_first():
        wait(name)
    yield
    if is_first():
        wait(name)


def stop_together(stop: Callable[[], bool]) -> Callable[[], bool]:
    """Returns a function that tells all processes at the same call to stop.

    Every process has to call it equally often. With several processes SIGTERM to any of them stops
    all, which JAX takes care of; with one, the function returns `stop()`.
    """
    if count() == 1:
        return stop
    calls, agreed = itertools.count(), False

    def together() -> bool:
        nonlocal agreed
        agreed = agreed or multihost_utils.reached_preemption_sync_point(next(calls))
        return agreed

    return together


def require_same(number: int, message: str) -> None:
    """Raises UserError with a message unless every process calls this with the same number.

    Args:
      number: from -1 to 2**31 - 1.
    """
    if count() > 1 and len({*multihost_utils.process_allgather(np.int32(number)).tolist()}) > 1:
        raise UserError(message)


def finished() -> None:
    """Notes that the run has ended as it should: the process then waits for the others."""
    global _unfinished
    _unfinished = False


def _leave_unfinished() -> None:
    """Ends the process without JAX's farewell, which would wait for all others."""
    if _unfinished:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def _detected() -> int:
    """Returns the number of processes of the cluster that this process runs in; 1 without one."""
    kinds = (kind for kind in clusters.ClusterEnv._cluster_types if kind.name in _CLUSTERS)
    cluster = next((kind for kind in kinds if kind.is_env_present()), None)
    return cluster.get_process_count() if cluster else 1
