"""What a run was doing when it was killed, according to the files that it left."""

import pathlib
import random
import shutil
import time
from collections.abc import Callable

from fault_campaigns.processes import Outcome

PHASES = ('start', 'training', 'checkpoint', 'end')
MOST_KILLS = 3  # of one run
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
    run: Callable[[float], Outcome],
    phase_of: Callable[[float], str],
    folder: pathlib.Path,
    generator: random.Random,
    seconds: float,
) -> tuple[str, ...]:
    """Kills a command one to three times at random moments; returns what it was doing each time.

    Where the first kill comes too late, an earlier one is drawn for a new start in an empty folder.

    Args:
      run: starts the command, and kills it after so many seconds.
      phase_of: from the time of a start to what the killed command was doing.
      folder: what the command writes.
      seconds: what the whole command takes.
    """
    phases: list[str] = []
    wanted, latest = generator.randint(1, MOST_KILLS), 1.0
    while len(phases) < wanted:
        began = time.time()
        if run(generator.uniform(0.02, latest) * seconds).killed:
            phases.append(phase_of(began))
        elif phases:
            break
        else:
            shutil.rmtree(folder, ignore_errors=True)
            latest *= 0.8
    return tuple(phases)
