"""The history of a run: the lines of metrics.jsonl, one per epoch."""

import hashlib
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from cifar_jax import files
from cifar_jax.files import FileError

Line = dict[str, Any]
FILE = 'metrics.jsonl'  # in the folder of a run
_COUNTS = ('epoch', 'step', 'seconds')  # in every line


def read(path: pathlib.Path) -> list[Line]:
    """Returns the lines of a log, without the last one if that is truncated.

    Raises:
      UserError: a line is damaged, or is not a line of a log.
    """
    if not path.exists():
        return []
    lines: list[Line] = []
    texts = path.read_text(errors='replace').splitlines()
    for number, text in enumerate(texts, 1):
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            if number == len(texts):  # a run was killed while it wrote this line
                break
            parsed = None
        line = files.without_checksum(parsed) if isinstance(parsed, dict) else None
        if line is None or not all(is_number(line.get(key)) for key in _COUNTS):
            raise FileError(path, f'is damaged in line {number}')
        lines.append(line)
    return lines


def sha256(lines: Sequence[Line]) -> str:
    """Returns the SHA-256 of the lines of a log, in hexadecimal."""
    return hashlib.sha256(json.dumps(lines, sort_keys=True).encode()).hexdigest()


def is_number(value: object) -> bool:
    """Returns whether a value from JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def score(line: Mapping[str, Any], monitor: str) -> float | None:
    """Returns the validation score of an epoch (higher is better), or None if it is not finite.

    Args:
      monitor: 'accuracy' or 'loss'.
    """
    value = line.get(f'val_{monitor}')
    if value is None or not math.isfinite(value):
        return None
    return -value if monitor == 'loss' else value


def best(history: Sequence[Line], monitor: str) -> Line | None:
    """Returns the line with the best score, the earliest among equals; None without validation."""
    scored = [(value, line) for line in history if (value := score(line, monitor)) is not None]
    return max(scored, key=lambda pair: pair[0], default=(None, None))[1]


def out_of_patience(history: Sequence[Line], config: ConfigDict) -> bool:
    """Returns whether the last `patience` epochs brought no improvement; never with patience 0.

    Args:
      config: `config.train`.
    """
    best_line = best(history, config.monitor)
    if not config.patience or best_line is None:
        return False
    return len(history) - 1 - history.index(best_line) >= config.patience


def chosen(history: Sequence[Line], config: ConfigDict) -> Line:
    """Returns the line of the weights that a run reports: the last or the best one.

    Early stopping implies the best one.

    Args:
      config: `config.train`.
    """
    if config.select == 'best' or config.patience:
        return best(history, config.monitor) or history[-1]
    return history[-1]


def line_of_checkpoint(history: Sequence[Line], config: ConfigDict, checkpoint: str) -> Line | None:
    """Returns the line of the checkpoint 'chosen' or 'best'; None for 'latest'.

    Args:
      config: `config.train`.
    """
    if checkpoint == 'latest' or not history:
        return None
    return best(history, config.monitor) if checkpoint == 'best' else chosen(history, config)
