"""The identity of a run: a random number in its folder, repeated in each of its checkpoints."""

import pathlib
import re
import secrets

from cifar_jax import files
from cifar_jax.errors import UserError

FILE = 'run_id'  # in the folder of a run


class UnknownRunError(UserError):
    """The file with the identity of a run is missing or damaged."""


def read(folder: pathlib.Path) -> str:
    """Returns the identity of the run in a folder, or '' if it has none (yet).

    Raises:
      UnknownRunError: the file is damaged or cannot be read.
    """
    path = folder / FILE
    try:
        text = path.read_text(errors='replace')[:100].strip() if path.is_file() else None
    except OSError:
        text = ''
    if text is not None and not re.fullmatch('[0-9a-f]{32}', text):
        raise _unknown(path, 'is damaged')
    return text or ''


def read_or_create(folder: pathlib.Path) -> str:
    """Returns the identity of the run in a folder, which gets one if it has none."""
    if not read(folder):
        files.write(folder / FILE, secrets.token_hex(16) + '\n')
    return read(folder)


def check(folder: pathlib.Path, stored: str | None) -> None:
    """Compares the identity in a checkpoint with that of the run in a folder.

    Args:
      stored: None in a checkpoint that was written before runs had an identity.

    Raises:
      ValueError: the checkpoint belongs to another run.
      UnknownRunError: the file with the identity is missing or damaged.
    """
    if stored is None:
        return
    own = read(folder)
    if not own:
        raise _unknown(folder / FILE, 'is missing')
    if stored != own:
        raise ValueError('it belongs to another run')


def _unknown(path: pathlib.Path, problem: str) -> UnknownRunError:
    return UnknownRunError(
        f'{path} {problem}, so that no checkpoint can be recognised as one of this run: restore it '
        'from a copy, or train again in another --workdir.'
    )
