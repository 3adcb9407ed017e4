"""How a value of the config is refused: the same sentence wherever its owner is."""

import pathlib
from collections.abc import Iterable
from typing import Any

from cifar_jax.errors import UserError, nearest

_LONGEST = 80  # characters of a value in a message


def require(condition: bool, key: str, value: Any, rule: str) -> None:
    """Refuses a value of the config unless the condition holds.

    Args:
      key: its dotted name, such as 'data.classes'.
      rule: what it must do, such as 'be 2 or more, or 0 for all classes'.

    Raises:
      UserError: 'config.data.classes=1 must be 2 or more, or 0 for all classes.'
    """
    if not condition:
        raise UserError(f'{setting(key, value)} must {rule}.')


def require_choice(key: str, value: str, choices: Iterable[str]) -> None:
    """Refuses a value of the config that is not one of the choices.

    Raises:
      UserError: "config.data.labels='corse' is not valid: did you mean 'coarse'?"
    """
    choices = list(choices)
    if value not in choices:
        raise UserError(f'{setting(key, value)} is not valid: {nearest(str(value), choices)}')


def require_home(key: str, path: str) -> None:
    """Refuses a path of the config that begins with the home folder of an unknown user.

    Raises:
      UserError: "config.data.dir='~someone/data' must begin with a known home folder, ..."
    """
    try:
        pathlib.Path(path).expanduser()
    except RuntimeError:
        require(False, key, path, 'begin with a known home folder, or be written without ~')


def setting(key: str, value: Any) -> str:
    """Returns a key and its value as messages show them, a long value cut.

    >>> setting('data.labels', 'coarse'), setting('seed', 7)
    ("config.data.labels='coarse'", 'config.seed=7')
    """
    text = repr(value)
    return f'config.{key}={text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."}'
