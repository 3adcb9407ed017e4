"""What a run was doing when it was killed, according to the files that it left."""

import functools
import math
import pathlib
import random
import shutil
import time
from collections.abc import Callable

from fault_campaigns.processes import Outcome

PHASES = ('start', 'training', 'checkpoint', 'end')
MOST_KILLS = 3  # of one run
# The longest time from the beginning of a phase to a kill, as a share of the whole command.
_SHARES = {'start': 0.5, 'training': 0.6, 'checkpoint': 0.6, 'end': 0.4}
_FILE_CLOCK_LAG = 0.02  # seconds by which a file's time may lag behind time.time()


def phase(workdir: pathlib.Path, began: float, epochs: int) -> str:
    """Returns 'start', 'training', 'checkpoint' (an unfinished one is there) or 'end'.

    Args:
      began: when the killed process was started, from time.time().
      epochs: the number of epochs of the whole run.
    """
    # A run writes it again when it has been restored, just before its first step.
    started = workdir / 'preprocessing.json'
    if not started.exists() or started.stat().st_mtime < began - _FILE_CLOCK_LAG:
        return 'start'
    if any((workdir / 'checkpoints').glob('*tmp*')):
        return 'checkpoint'
    metrics = workdir / 'metrics.jsonl'
    written = metrics.read_bytes().count(b'\n') if metrics.exists() else 0
    return 'end' if written >= epochs else 'training'


def kill(
    run: Callable[[Callable[[float], bool]], Outcome],
    phase_of: Callable[[float], str],
    folder: pathlib.Path,
    generator: random.Random,
    seconds: float,
) -> tuple[str, ...]:
    """Kills a command one to three times at random moments; returns what it was doing each time.

    A phase is drawn first, and then the time from its beginning to the kill. Where the first kill
    comes too late, an earlier one is drawn for a new start in an empty folder.

    Args:
      run: starts the command, and kills it when the function that it is given says so.
      phase_of: from the time of a start to what the command is doing, or was doing when killed.
      folder: what the command writes.
      seconds: what the whole command takes.
    """
    phases: list[str] = []
    wanted, latest = generator.randint(1, MOST_KILLS), 1.0
    while len(phases) < wanted:
        phase = generator.choice(PHASES)
        # Short delays are likelier, since a phase may be much shorter than that.
        delay = latest * generator.random() ** 2 * _SHARES[phase] * seconds
        began = time.time()
        if run(_due(phase, delay, functools.partial(phase_of, began))).killed:
            phases.append(phase_of(began))
        elif phases:
            break
        else:
            shutil.rmtree(folder, ignore_errors=True)
            latest *= 0.8
    return tuple(phases)


def _due(phase: str, delay: float, now: Callable[[], str]) -> Callable[[float], bool]:
    """Returns the function that says, from the seconds since the start, whether to kill.

    The delay counts from the first moment of the phase, or of a later one. For a checkpoint, which
    takes milliseconds, it counts from the first step, and the next checkpoint is waited for.
    """
    first = PHASES.index('training' if phase == 'checkpoint' else phase)
    reached = 0.0 if first == 0 else math.inf

    def due(elapsed: float) -> bool:
        nonlocal reached
        if reached == math.inf and PHASES.index(now()) >= first:
            reached = elapsed
        if elapsed < reached + delay:
            return False
        return phase != 'checkpoint' or PHASES.index(now()) >= PHASES.index(phase)

    return due
