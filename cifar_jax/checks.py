"""Checks of config values with uniform messages."""

import pathlib
from collections.abc import Iterable
from typing import Any

from cifar_jax.errors import UserError, nearest

_MAX_LENGTH = 80  # of a value in a message


def require(condition: bool, key: str, value: Any, rule: str) -> None:
    """Raises UserError for a config value unless the condition holds.

    Args:
      key: the dotted name of the key, such as 'data.classes'.
      rule: the rule for valid values, such as 'be 2 or more, or 0 for all classes'.

    Raises:
      UserError: 'config.data.classes=1 must be 2 or more, or 0 for all classes.'
    """
    if not condition:
        raise UserError(f'{setting(key, value)} must {rule}.')


def require_choice(key: str, value: str, choices: Iterable[str]) -> None:
    """Raises UserError for a config value that is not one of the choices.

    Raises:
      UserError: "config.data.labels='corse' is not valid: did you mean 'coarse'?"
    """
    choices = list(choices)
    if value not in choices:
        raise UserError(f'{setting(key, value)} is not valid: {nearest(str(value), choices)}')


def require_home(key: str, path: str) -> None:
    """Raises UserError for a path that begins with the home folder of an unknown user.

    Raises:
      UserError: "config.data.dir='~someone/data' must begin with a known home folder, ..."
    """
    try:
        pathlib.Path(path).expanduser()
    except RuntimeError:
        require(False, key, path, 'begin with a known home folder, or be written without ~')


def setting(key: str, value: Any) -> str:
    """Formats a key and its value for messages; long values are truncated.

    >>> setting('data.labels', 'coarse'), setting('seed', 7)
    ("config.data.labels='coarse'", 'config.seed=7')
    """
    text = ' '.join(repr(value).splitlines()).strip()  # a ConfigDict takes a line per key
    return f'config.{key}={text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 3] + "..."}'
