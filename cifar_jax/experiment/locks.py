"""Locks of workdirs, which keep a second process out."""

import contextlib
import pathlib
from collections.abc import Iterator

from cifar_jax.errors import UserError
from cifar_jax.experiment.workdir import Workdir

try:
    import fcntl
except ImportError:  # Windows has none: there, two runs in one workdir are not noticed.
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def lock(workdir: Workdir) -> Iterator[None]:
    """Locks a workdir against other processes; the lock ends with the process.

    Raises:
      UserError: another process is training there.
    """
    workdir.path.mkdir(parents=True, exist_ok=True)
    with (workdir.path / '.lock').open('w') as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(refusal(workdir)) from None
        try:
            yield
        except BaseException:
            if not workdir.config.exists():  # A refused run leaves no files.
                with contextlib.suppress(OSError):
                    pathlib.Path(file.name).unlink()
                    workdir.path.rmdir()
            raise


def refusal(workdir: Workdir) -> str:
    """Returns the sentence that refuses a locked workdir."""
    return (
        f'Another process is training in {workdir.path}: wait for it, or choose another --workdir.'
    )
