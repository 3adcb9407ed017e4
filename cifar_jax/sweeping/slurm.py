"""Starts the commands of a sweep as jobs of a SLURM cluster, by submitit."""

import pathlib
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cifar_jax import files
from cifar_jax.errors import UserError, first_line
from cifar_jax.sweeping import child
from cifar_jax.sweeping.jobs import Cores, Launch

FOLDER = '.slurm'  # of submitit's files and the numbers of jobs, in the folder of the sweep
_RESUBMISSIONS = 100  # of a job that its time limit ends: a run continues where it was
_POLL_SECONDS = 0.2
_STOP_SECONDS = 60  # for a step and its checkpoint


class Options(NamedTuple):
    """What each job asks the cluster for; '' or 0 leaves it to the cluster.

    minutes: the time limit, after which a job is submitted again. others: options of sbatch.
    """

    partition: str = ''
    minutes: int = 24 * 60
    gpus: int = 0
    cpus: int = 0
    memory_gb: int = 0
    others: Mapping[str, str] = {}


def launcher(out: pathlib.Path, options: Options, cluster: str = 'slurm') -> Launch:
    """Returns a function that submits a command as a job, or finds the job that still has it.

    Args:
      out: the folder of the sweep, which the machines of the cluster share.
      cluster: 'slurm', or submitit's 'local' for tests.

    Raises:
      UserError: submitit is not installed, SLURM is not here, or it has no such option.
    """
    executor = _executor(out, options, cluster)

    def launch(words: Sequence[str], log: pathlib.Path, cores: Cores) -> 'Submitted':
        number = out / FOLDER / f'{log.stem}.job'
        job = _unfinished(executor, number)
        if job is None:
            executor.update_parameters(name=log.stem)
            job = executor.submit(Command(words, log.absolute()))
            files.write(number, job.job_id)
        return Submitted(job, log)

    return launch


def _executor(out: pathlib.Path, options: Options, cluster: str) -> Any:
    try:
        import submitit
    except ModuleNotFoundError:
        raise UserError(
            "--launcher slurm needs another package: pip install 'cifar_jax[cluster]'."
        ) from None
    asked = {
        'slurm_partition': options.partition,
        'gpus_per_node': options.gpus,
        'cpus_per_task': options.cpus,
        'mem_gb': options.memory_gb,
        'slurm_additional_parameters': dict(options.others),
    }
    try:
        folder = (out / FOLDER).absolute() / '%j'
        executor = submitit.AutoExecutor(
            folder, cluster=cluster, slurm_max_num_timeout=_RESUBMISSIONS
        )
        executor.update_parameters(
            timeout_min=options.minutes, **{key: value for key, value in asked.items() if value}
        )
    except RuntimeError as error:
        raise UserError(
            f'SLURM is not on this machine ({first_line(error)}): start the sweep where sbatch and '
            'srun are.'
        ) from None
    return executor


def _unfinished(executor: Any, number: pathlib.Path) -> Any:
    """Returns the job whose number an earlier sweep left in a file, or None if it has ended."""
    if not number.exists():
        return None
    import submitit

    kinds = {'slurm': submitit.SlurmJob, 'local': submitit.LocalJob}
    job = kinds[executor.cluster](executor.folder, number.read_text().strip())
    # SLURM forgets old jobs.
    return None if job.done(force_check=True) or job.state == 'UNKNOWN' else job


class Command:
    """A command as submitit calls it in a job, and stops it at its time limit.

    Args:
      words: the command.
      log: the file that its output is appended to.
    """

    def __init__(self, words: Sequence[str], log: pathlib.Path) -> None:
        self._words, self._log = list(words), log
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Runs the command; returns its exit status."""
        self._process = child.start(self._words, self._log)
        # `checkpoint` interrupts this, and `wait` would then hold a lock that it needs.
        while (code := self._process.poll()) is None:
            time.sleep(_POLL_SECONDS)
        return code

    def checkpoint(self) -> Any:
        """Ends the command with a checkpoint; returns what continues it in another job."""
        import submitit

        if self._process is not None:
            self._process.terminate()
            until = time.monotonic() + _STOP_SECONDS
            while self._process.poll() is None and time.monotonic() < until:
                time.sleep(_POLL_SECONDS)
        return submitit.helpers.DelayedSubmission(Command(self._words, self._log))


class Submitted:
    """A submitted job as a process of a sweep.

    Args:
      job: submitit's.
      log: the output of its command, which gets a line if the job ends without a result.
    """

    def __init__(self, job: Any, log: pathlib.Path) -> None:
        self._job, self._log = job, log

    def poll(self) -> int | None:
        """Returns the exit status of the command, 1 if the job was lost; None until it ends."""
        from submitit.core.utils import UncompletedJobError

        if not self._job.done():
            return None
        try:
            return self._job.result()
        except UncompletedJobError:
            with self._log.open('a') as log:
                log.write(
                    f'job {self._job.job_id} ended without a result ({self._job.state}); '
                    f'its output is in {self._job.paths.stderr}\n'
                )
            return 1

    def terminate(self) -> None:
        """Cancels the job; SLURM gives its command half a minute for a checkpoint."""
        self._job.cancel(check=False)

    kill = terminate
