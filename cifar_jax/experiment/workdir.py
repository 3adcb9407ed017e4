"""A workdir holds all of a run; this module knows its files."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cifar_jax import files, machine
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as config_lib
from cifar_jax.files import MissingFileError
from cifar_jax.training import history as histories
from cifar_jax.training.durations import steps

try:
    import fcntl
except ImportError:  # Windows has none: there, two runs in one workdir are not noticed.
    fcntl = None  # type: ignore[assignment]

# What may differ between a run and its continuation: it changes no number, or only adds steps.
_MAY_CHANGE = ('mesh.', 'ops.', 'log.', 'data.dir', 'data.memory_gb', 'eval_batch_size')

# Keys that older runs lack, with the values that mean what was done then.
_ADDED = {
    'data.image_size': 0,
    'data.damaged': 'stop',
    'data.zca_epsilon': 1e-6,
    'init_from': '',
    'init_rename': (),
    'init_skip': (),
    'log.pictures': '',
    'optimizer.groups': (),
}


class Workdir(NamedTuple):
    """The folder of a run and the paths inside it."""

    path: pathlib.Path

    @property
    def config(self) -> pathlib.Path:
        return self.path / 'config.json'

    @property
    def preprocessing(self) -> pathlib.Path:
        return self.path / 'preprocessing.json'

    @property
    def whitening(self) -> pathlib.Path:
        return self.path / 'whitening.npz'

    @property
    def metrics(self) -> pathlib.Path:
        return self.path / histories.FILE

    @property
    def checkpoints(self) -> pathlib.Path:
        return self.path / 'checkpoints'

    @property
    def report(self) -> pathlib.Path:
        return self.path / 'report'

    def predictions(self, split: str) -> pathlib.Path:
        return self.path / 'predictions' / f'{split}.npz'

    @property
    def summary(self) -> pathlib.Path:
        return self.path / 'summary.json'


def write_metrics(workdir: Workdir, history: list[dict[str, Any]]) -> None:
    """Replaces metrics.jsonl by what a resumed run's checkpoint knows, and nothing later."""
    files.write(workdir.metrics, ''.join(files.to_json(line) + '\n' for line in history))


def append_metrics(workdir: Workdir, line: dict[str, Any]) -> None:
    """Adds one line to metrics.jsonl and waits until it is on disk."""
    with workdir.metrics.open('a') as file:
        file.write(files.to_json(line) + '\n')
        file.flush()
        os.fsync(file.fileno())


def read_metrics(workdir: Workdir) -> list[dict[str, Any]]:
    """Returns the lines of metrics.jsonl up to the first that is cut short or damaged.

    Raises:
      UserError: a line is whole and no line of metrics.
    """
    return histories.read(workdir.metrics)


def read_config(workdir: Workdir) -> ConfigDict:
    """Returns the checked config of a run.

    Raises:
      UserError: the workdir, or its config.json, is missing, damaged or of another version.
    """
    if not workdir.path.is_dir():
        raise UserError(f'No workdir {workdir.path}: --workdir names the folder of a run.')
    stored = _read_config_file(workdir)
    try:
        values = _tuples(stored['config'])
        # The parts of a folder were drawn by the number of its images.
        draw = 'count' if values['data']['source'].startswith('folder:') else 'names'
        for key, value in (_ADDED | {'data.draw': draw}).items():
            group, _, leaf = key.rpartition('.')
            (values[group] if group else values).setdefault(leaf, value)
        config = ConfigDict(values)
        config_lib.check(config)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{workdir.config} is of another version of cifar_jax or damaged ({error!r}): '
            'use the version that wrote it, or train again.'
        ) from None
    return config.lock()


def _read_config_file(workdir: Workdir) -> dict[str, Any]:
    try:
        return files.read_json(workdir.config)
    except MissingFileError as error:
        raise UserError(
            f'{error.path} is missing: {workdir.path} is not the workdir of a run.'
        ) from None


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def check_path(workdir: Workdir) -> None:
    """Refuses a path that orbax writes checkpoints to and cannot restore them from.

    Raises:
      UserError: the path has one of the characters that file patterns are made of.
    """
    path = workdir.path.absolute()
    special = next((character for character in str(path) if character in '[*?\\'), '')
    if special:
        raise UserError(
            f'{path} has a {special} in it, and no checkpoint could be restored from there: choose '
            'a --workdir without [, *, ? and backslash.'
        )


def prepare(workdir: Workdir, config: ConfigDict, command: str) -> list[str]:
    """Writes config.json for a new run, or checks that the run there may go on with `config`.

    What a run has already is not replaced before it is restored: `update_config` then does that.

    Args:
      command: what the user typed, kept for those who want to repeat the run.

    Returns:
      Sentences on what is different about this machine from the one that began the run.

    Raises:
      UserError: the folder belongs to a run of another config; the differing keys are named.
    """
    from cifar_jax.ops import backend

    now = {'config': _plain(config), 'environment': machine.environment(backend.chosen())}
    if not workdir.config.exists():
        # A run that was killed as it began leaves its lock and an unfinished file.
        if workdir.path.is_dir() and any(
            p.name != '.lock' and p.suffix != '.tmp' for p in workdir.path.iterdir()
        ):
            raise UserError(
                f'{workdir.path} holds files but no config.json: choose an empty --workdir.'
            )
        files.write_json(workdir.config, now | {'command': command})
        return []
    before = _read_config_file(workdir)
    refuse_differences(workdir, config)
    changed = [
        f'{key} was {old!r} and is {now["environment"].get(key)!r}'
        for key, old in before.get('environment', {}).items()
        if now['environment'].get(key) != old
    ]
    return changed


def update_config(
    workdir: Workdir, config: ConfigDict, extension: Mapping[str, Any] | None = None
) -> None:
    """Stores the config that a run is continued with.

    Args:
      extension: what to record of a run that --extend lengthens.
    """
    stored = _read_config_file(workdir)
    if extension:
        stored['extended'] = [*stored.get('extended', []), extension]
    files.write_json(workdir.config, stored | {'config': _plain(config)})


def remove_drafts(workdir: Workdir) -> None:
    """Removes what killed processes left of files that they were writing."""
    for folder in (workdir.path, workdir.checkpoints, workdir.predictions('').parent):
        files.remove_temporary(folder)


def refuse_differences(workdir: Workdir, config: ConfigDict) -> None:
    """Checks that the run in a workdir may go on with a config.

    Raises:
      UserError: it is a run of another config, whose differing keys are named, or of none.
    """
    before = config_lib.flat(read_config(workdir))
    after = config_lib.flat(ConfigDict(_tuples(_plain(config))))
    differing = [
        f'{key} ({before.get(key, "absent")!r} there, {after.get(key, "absent")!r} here)'
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
        and not changes_no_number(key)
        and not (key == 'train.length' and _longer(before[key], after[key]))
    ]
    if differing:
        raise UserError(
            f'{workdir.path} is the run of another config, which differs in '
            f'{"; ".join(differing)}: choose another --workdir.'
        )


def changes_no_number(key: str) -> bool:
    """Tells whether a run with another value of a config key has the same results.

    >>> changes_no_number('data.dir'), changes_no_number('data.source')
    (True, False)
    """
    return key.startswith(_MAY_CHANGE)


def _plain(config: ConfigDict) -> Any:
    return json.loads(config.to_json_best_effort())


def _longer(old: str, new: str) -> bool:
    """Compares lengths of the same unit; epochs and steps cannot be compared without the data."""
    if ('epoch' in str(old)) != ('epoch' in str(new)):
        return False
    length_in_steps = (steps(value, steps_per_epoch=1000, total_steps=None) for value in (old, new))
    return next(length_in_steps) <= next(length_in_steps)


@contextlib.contextmanager
def lock(workdir: Workdir) -> Iterator[None]:
    """Keeps a second process out of a workdir; the lock goes with the process, however it ends.

    Raises:
      UserError: another process trains there.
    """
    workdir.path.mkdir(parents=True, exist_ok=True)
    with (workdir.path / '.lock').open('w') as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f'Another process trains in {workdir.path}: wait for it, or choose another '
                '--workdir.'
            ) from None
        try:
            yield
        except BaseException:
            if not workdir.config.exists():  # A run that was refused leaves nothing behind.
                with contextlib.suppress(OSError):
                    pathlib.Path(file.name).unlink()
                    workdir.path.rmdir()
            raise
