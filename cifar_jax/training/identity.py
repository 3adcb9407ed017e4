"""The identity of a run: a random number in its folder, repeated in each of its checkpoints."""

import pathlib
import secrets

from cifar_jax import files

FILE = 'run_id'  # in the folder of a run


def read(folder: pathlib.Path) -> str:
    """Returns the identity of the run in a folder, or '' if it has none (yet)."""
    path = folder / FILE
    return path.read_text(errors='replace')[:100].strip() if path.is_file() else ''


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
    """
    if stored is not None and stored != read(folder):
        raise ValueError('it belongs to another run')
