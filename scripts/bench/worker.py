"""The process of a contestant: reads one request per line and answers each with one line.

    python -m bench.worker FRAMEWORK MODE

The first line is the task. Requests are {"do": "steps", "count": n}, {"do": "epoch", "form": f,
"batches": n or null}, {"do": "memory"} and {"do": "reset peak memory"}; answers {"seconds": s},
{"bytes": b} or {"error": "a sentence"}.
"""

import contextlib
import importlib
import json
import os
import pathlib
import resource
import sys
import time
from typing import Any

from bench import features
from bench.task import Contestant, Task

REMEDY = 'is not installed: pip install "cifar_jax[bench]"'
MODULES = {'ours': 'bench.ours', 'torch': 'bench.pytorch', 'keras': 'bench.keras_tf'}


def main() -> None:
    """Answers requests until the input ends."""
    # Send what libraries print to standard error, and keep standard output for the answers.
    answers = os.fdopen(os.dup(1), 'w', buffering=1)
    os.dup2(2, 1)
    framework, mode = sys.argv[1:]
    task = Task(**json.loads(sys.stdin.readline()))
    try:
        if task.features:
            contestant = features.build(task, framework, mode)
        else:
            contestant = importlib.import_module(MODULES[framework]).build(task, mode)
    except ModuleNotFoundError as error:
        print(json.dumps({'error': f'{error.name} {REMEDY}'}), file=answers)
        return
    print(json.dumps({'parameters': contestant.parameters}), file=answers)
    for line in sys.stdin:
        print(json.dumps(_answer(contestant, json.loads(line))), file=answers)


def _answer(contestant: Contestant, request: dict[str, Any]) -> dict[str, Any]:
    if request['do'] == 'memory':
        return {'bytes': _peak_memory()}
    if request['do'] == 'reset peak memory':
        with contextlib.suppress(OSError):  # on other systems than Linux, compilation counts too
            pathlib.Path('/proc/self/clear_refs').write_text('5')
        return {'bytes': _peak_memory()}
    start = time.perf_counter()
    if request['do'] == 'steps':
        contestant.steps(request['count'])
    else:
        contestant.epoch(request['form'], request['batches'])
    return {'seconds': time.perf_counter() - start}


def _peak_memory() -> int:
    """Returns the peak of resident memory in bytes."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path('/proc/self/status').read_text().splitlines():
            if line.startswith('VmHWM:'):
                return 1024 * int(line.split()[1])
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == 'darwin' else 1024 * largest


if __name__ == '__main__':
    main()
