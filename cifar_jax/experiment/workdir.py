"""The workdir, which holds all files of a run."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cifar_jax import files, machine
from cifar_jax.data import paths
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as config_lib
from cifar_jax.files import MissingFileError
from cifar_jax.training import history as histories
from cifar_jax.training.durations import steps

# Keys that may differ when a run resumes: they do not change its results.
_MAY_CHANGE = (
    'mesh.',
    'ops.',
    'log.',
    'eval_batch_size',
    'data.dir',
    'data.memory_gb',
    'data.buffer_gb',
)

# Keys that older runs lack, with the values that correspond to their behaviour.
_ADDED = {
    'data.buffer_gb': 0.25,
    'data.image_size': 0,
    'data.damaged': 'stop',
    'data.resize': 'stretch',
    'data.zca_epsilon': 1e-6,
    'init_from': '',
    'init_rename': (),
    'init_skip': (),
    'log.pictures': '',
    'mesh.shard_parameters': False,
    'ops.algorithm': 'direct',
    'optimizer.groups': (),
    'train.accumulate': 1,
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
    """Replaces metrics.jsonl by the history from a resumed run's checkpoint."""
    lines = (files.to_json(files.with_checksum(line)) + '\n' for line in history)
    files.write(workdir.metrics, ''.join(lines))


def append_metrics(workdir: Workdir, line: dict[str, Any]) -> None:
    """Appends one line to metrics.jsonl and waits until it is on disk."""
    with workdir.metrics.open('a') as file:
        file.write(files.to_json(files.with_checksum(line)) + '\n')
        file.flush()
        os.fsync(file.fileno())


def read_metrics(workdir: Workdir) -> list[dict[str, Any]]:
    """Returns the lines of metrics.jsonl, without the last one if that is truncated.

    Raises:
      UserError: a line is damaged, or is not a line of metrics.
    """
    return histories.read(workdir.metrics)


def write_summary(workdir: Workdir, summary: Mapping[str, Any]) -> None:
    """Writes summary.json, with a checksum."""
    files.write_json(workdir.summary, files.with_checksum(summary))


def read_summary(workdir: Workdir) -> dict[str, Any]:
    """Returns what summary.json holds; nothing if the run has not finished.

    Raises:
      UserError: the file is damaged.
    """
    return files.read_checked_json(workdir.summary) if workdir.summary.exists() else {}


def read_config(workdir: Workdir) -> ConfigDict:
    """Returns the checked config of a run.

    Raises:
      UserError: the workdir, or its config.json, is missing, damaged or of another version.
    """
    if not workdir.path.is_dir():
        raise UserError(f'No workdir {workdir.path}: --workdir names the folder of a run.')
    stored = read_config_file(workdir)
    problem = f'{workdir.config} is of another version of cifar_jax or damaged'
    try:
        values = as_tuples(stored['config'])
        # The parts of a folder were drawn by the number of its images.
        draw = 'count' if values['data']['source'].startswith('folder:') else 'names'
        for key, value in (_ADDED | {'data.draw': draw}).items():
            group, _, leaf = key.rpartition('.')
            (values[group] if group else values).setdefault(leaf, value)
        config = ConfigDict(values)
        try:
            config_lib.check_types(config)
        except UserError as error:
            raise UserError(f'{problem}: {error}') from None
        config_lib.check(config)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{problem} ({error!r}): use the version that wrote it, or train again.'
        ) from None
    return config.lock()


def read_config_file(workdir: Workdir) -> dict[str, Any]:
    """Returns what config.json holds: the config, the environment and the command.

    Raises:
      UserError: the file is missing or damaged.
    """
    try:
        return files.read_checked_json(workdir.config)
    except MissingFileError as error:
        raise UserError(
            f'{error.path} is missing: {workdir.path} is not the workdir of a run.'
        ) from None


def as_tuples(value: Any) -> Any:
    """Returns a value from JSON with tuples in place of lists, as configs have them."""
    if isinstance(value, dict):
        return {k: as_tuples(v) for k, v in value.items()}
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


def check_path(workdir: Workdir) -> None:
    """Checks that orbax can restore checkpoints from a path.

    Raises:
      UserError: the path contains a wildcard character or a backslash.
    """
    path = workdir.path.absolute()
    special = next((character for character in str(path) if character in '[*?\\'), '')
    if special:
        raise UserError(
            f'{path} contains {special}, so that no checkpoint could be restored from it: choose '
            'a --workdir without [, *, ? and backslash.'
        )


def prepare(workdir: Workdir, config: ConfigDict, command: str) -> list[str]:
    """Writes config.json for a new run, or checks that the existing run can resume with `config`.

    The config of an existing run is only replaced after the run is restored, by `update_config`.

    Args:
      command: the command line, stored so that the run can be repeated.

    Returns:
      Sentences on what differs from the start of the run: this machine, or the algorithm.

    Raises:
      UserError: the folder belongs to a run with another config; the message names the keys.
    """
    from cifar_jax.ops import backend

    now = {'config': _plain(config), 'environment': machine.environment(backend.chosen())}
    if not workdir.config.exists():
        # A run that was killed at its start leaves its lock and an unfinished file.
        if workdir.path.is_dir() and any(
            p.name != '.lock' and p.suffix != '.tmp' for p in workdir.path.iterdir()
        ):
            raise UserError(
                f'{workdir.path} holds files but no config.json: choose an empty --workdir.'
            )
        files.write_json(workdir.config, files.with_checksum(now | {'command': command}))
        return []
    before = read_config_file(workdir)
    stored = refuse_differences(workdir, config)
    changed = [
        f'{key} was {old!r} and is {now["environment"].get(key)!r}'
        for key, old in before.get('environment', {}).items()
        if now['environment'].get(key) != old
    ]
    old, new = config_lib.flat(stored), config_lib.flat(config)
    return changed + [
        f'{key} was {old[key]!r} and is {new[key]!r}'
        for key in ('ops.algorithm', 'mesh.shard_parameters')
        if old[key] != new[key]
    ]


def update_config(
    workdir: Workdir, config: ConfigDict, extension: Mapping[str, Any] | None = None
) -> None:
    """Stores the config with which a run resumes.

    Args:
      extension: the entry for a run that --extend extends.
    """
    stored = read_config_file(workdir)
    if extension:
        stored['extended'] = [*stored.get('extended', []), extension]
    files.write_json(workdir.config, files.with_checksum(stored | {'config': _plain(config)}))


def remove_temporary(workdir: Workdir) -> None:
    """Removes temporary files that killed processes left."""
    for folder in (workdir.path, workdir.checkpoints, workdir.predictions('').parent):
        files.remove_temporary(folder)


def refuse_differences(workdir: Workdir, config: ConfigDict) -> ConfigDict:
    """Checks that the run in a workdir can resume with a config; returns the run's own config.

    A folder or archive may have moved if the run has digests of its data, which are checked later.

    Raises:
      UserError: the config differs (the message names the keys), or the folder is not a workdir.
    """
    stored = read_config(workdir)
    before = config_lib.flat(stored)
    after = config_lib.flat(ConfigDict(as_tuples(_plain(config))))
    differing = [
        f'{key} ({before.get(key, "absent")!r} there, {after.get(key, "absent")!r} here)'
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
        and not keeps_results(key)
        and not (key == 'train.length' and _is_longer(before[key], after[key]))
        and not (key == 'data.source' and _may_have_moved(workdir, before[key], after[key]))
    ]
    if differing:
        raise UserError(
            f'{workdir.path} is a run with another config, which differs in '
            f'{"; ".join(differing)}: choose another --workdir.'
        )
    return stored


def keeps_results(key: str) -> bool:
    """Returns whether runs that differ in a config key have the same results.

    >>> keeps_results('data.dir'), keeps_results('data.source')
    (True, False)
    """
    return key.startswith(_MAY_CHANGE)


def _plain(config: ConfigDict) -> Any:
    return json.loads(config.to_json_best_effort())


def _is_longer(old: str, new: str) -> bool:
    """Compares lengths in the same unit; comparing epochs with steps would need the data."""
    if ('epoch' in str(old)) != ('epoch' in str(new)):
        return False
    length_in_steps = (steps(value, steps_per_epoch=1000, total_steps=None) for value in (old, new))
    return next(length_in_steps) <= next(length_in_steps)


def _may_have_moved(workdir: Workdir, old: str, new: str) -> bool:
    if paths.absolute(old) == paths.absolute(new):
        return True
    kind = new.partition(':')[0]
    if kind not in paths.ON_DISK or kind != old.partition(':')[0]:
        return False
    return workdir.preprocessing.exists() and bool(
        files.read_json(workdir.preprocessing).get('digests')
    )
