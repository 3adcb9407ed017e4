"""The files of a run, and the configs with which a run can resume."""

import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest
from ml_collections import ConfigDict

from cifar_jax import files
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import locks, run
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import evaluation

ROOT = pathlib.Path(__file__).parents[2]
COMMAND = 'python -m cifar_jax.main --config configs/senet.py:digits'


def config_of(**overrides: Any) -> ConfigDict:
    """SENet's config, which has tuples, dicts inside them, and numbers of every kind."""
    arguments = [f'--config.{key.replace("__", ".")}={value}' for key, value in overrides.items()]
    return configs.load(str(ROOT / 'configs' / 'senet.py:digits'), arguments)


@pytest.fixture
def workdir(tmp_path):
    """The workdir of a run that has begun."""
    workdir = Workdir(tmp_path / 'w')
    assert prepare(workdir) == []
    return workdir


def prepare(workdir: Workdir, **overrides: Any) -> list[str]:
    config = config_of(**overrides)
    changes = workdirs.prepare(workdir, config, COMMAND)
    workdirs.update_config(workdir, config)
    return changes


def refusal(workdir: Workdir, **overrides: Any) -> str:
    with pytest.raises(UserError) as caught:
        prepare(workdir, **overrides)
    return str(caught.value)


def stored(workdir: Workdir) -> dict[str, Any]:
    return workdirs.read_config_file(workdir)


def store(workdir: Workdir, **changes: Any) -> None:
    files.write_json(workdir.config, files.with_checksum(stored(workdir) | changes))


@pytest.mark.parametrize('name', ['a[b]', 'a*', '?', 'a\\b'])
def test_a_path_from_which_checkpoints_cannot_be_restored_is_refused(tmp_path, name):
    workdirs.check_path(Workdir(tmp_path / 'a{b} c'))
    for path in (tmp_path / name, tmp_path / name / 'run'):
        with pytest.raises(UserError, match='choose a --workdir without'):
            workdirs.check_path(Workdir(path))


def test_config_json_holds_the_config_the_versions_the_processor_and_the_command(workdir):
    content = stored(workdir)
    assert content['command'] == COMMAND
    assert content['config']['train']['batch_size'] == config_of().train.batch_size
    assert {'processor', 'devices', 'python', 'cifar_jax', 'jax', 'jaxlib'} <= set(
        content['environment']
    )


def test_the_config_of_a_run_is_read_back_as_it_was(workdir):
    restored = workdirs.read_config(workdir)
    assert restored.is_locked
    assert restored.to_json_best_effort() == config_of().to_json_best_effort()


def test_a_run_resumes_with_the_same_config(workdir):
    before = stored(workdir)
    assert prepare(workdir) == []
    assert stored(workdir) == before


def test_a_run_of_another_config_is_refused_with_the_differing_keys(workdir):
    message = refusal(workdir, seed=3, optimizer__l2=0.001, model__widths='(8, 8, 8, 8)')
    assert 'seed (0 there, 3 here)' in message
    assert 'optimizer.l2 (0.0005 there, 0.001 here)' in message
    assert 'model.widths' in message
    assert 'choose another --workdir' in message
    assert 'schedule' not in message


def test_a_changed_augmentation_is_refused(workdir):
    message = refusal(workdir, data__augment="[{'name': 'translate', 'pixels': 3}]")
    assert 'data.augment' in message
    assert "'pixels': 3" in message
    assert '\n' not in message


def test_a_refused_run_changes_nothing(workdir):
    before = workdir.config.read_bytes()
    refusal(workdir, seed=3)
    assert workdir.config.read_bytes() == before


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('train__length', '20 epochs'),
        ('mesh__devices', 2),
        ('ops__backend', 'xla'),
        ('log__every', 3),
        ('log__tensorboard', False),
        ('data__dir', 'elsewhere'),
        ('eval_batch_size', 100),
    ],
)
def test_what_changes_no_number_may_differ_and_is_kept(workdir, key, value):
    assert prepare(workdir, **{key: value}) == []
    stored = configs.flat(workdirs.read_config(workdir))[key.replace('__', '.')]
    assert stored == value


@pytest.mark.parametrize('length', ['7 epochs', '0.5 epochs', '500 steps', '9999999 steps'])
def test_a_shorter_or_incomparable_length_is_refused(workdir, length):
    assert "train.length ('8 epochs' there" in refusal(workdir, train__length=length)


def test_steps_are_compared_with_steps(tmp_path):
    workdir = Workdir(tmp_path / 'w')
    prepare(workdir, train__length='100 steps')
    prepare(workdir, train__length='200')
    assert 'train.length' in refusal(workdir, train__length='150 steps')


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / 'thesis.tex').write_text('important')
    message = refusal(Workdir(tmp_path))
    assert 'holds files but no config.json' in message
    assert not (tmp_path / 'config.json').exists()


def test_a_run_killed_before_its_first_file_was_complete_begins_again(tmp_path):
    (tmp_path / '.lock').touch()
    (tmp_path / 'tmp1a2b3c.tmp').write_text('{"conf')
    assert prepare(Workdir(tmp_path)) == []


def test_a_workdir_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UserError, match=r'No workdir .*nowhere'):
        workdirs.read_config(Workdir(tmp_path / 'nowhere'))


def test_a_folder_without_a_config_is_no_workdir(tmp_path):
    with pytest.raises(UserError, match=r'config\.json is missing: .* is not the workdir of a run'):
        workdirs.read_config(Workdir(tmp_path))


@pytest.mark.parametrize('text', ['', '{"config": {"see', '\x00\x00'])
def test_a_damaged_config_json_is_named(workdir, text):
    workdir.config.write_text(text)
    with pytest.raises(UserError, match=r'config\.json is damaged'):
        workdirs.read_config(workdir)


def test_a_changed_value_in_config_json_is_noticed(workdir):
    text = workdir.config.read_text()
    workdir.config.write_text(text.replace('"seed": 0', '"seed": 1'))
    message = r'config\.json does not match its own checksum: restore it from a copy'
    with pytest.raises(UserError, match=message):
        workdirs.read_config(workdir)
    workdir.config.write_text(text)
    assert workdirs.read_config(workdir).seed == 0


def test_whatever_writes_a_file_adds_its_checksum(workdir):
    workdirs.append_metrics(workdir, {'epoch': 1, 'step': 8, 'seconds': 2.5})
    workdirs.update_config(workdir, workdirs.read_config(workdir))
    for path in (workdir.metrics, workdir.config):
        assert len(json.loads(path.read_text())['checksum']) == 16


@pytest.mark.parametrize('content', [[], {}, 3, {'config': {}}, {'config': []}, {'config': 'x'}])
def test_a_config_json_of_another_shape_is_named(workdir, content):
    workdir.config.write_text(json.dumps(content))
    with pytest.raises(UserError, match='damaged'):
        workdirs.read_config(workdir)


@pytest.mark.parametrize(
    'change', [{'seed': 'zero'}, {'train': 5}, {'data': {'source': 'digits'}}, {'ema': None}]
)
def test_a_config_of_another_version_is_refused(workdir, change):
    store(workdir, config=stored(workdir)['config'] | change)
    with pytest.raises(UserError, match='of another version of cifar_jax or damaged'):
        workdirs.read_config(workdir)


@pytest.mark.parametrize(
    ('group', 'key', 'value', 'type_'),
    [
        ('train', 'batch_size', 8.0, 'a whole number'),
        ('train', 'length', 5, 'text'),
        ('data', 'dir', ['/x'], 'text'),
        ('data', 'fraction', True, 'a number'),
        ('data', 'mean', 'white', 'a list'),
        ('debug', 'nans', 0, 'True or False'),
    ],
)
def test_a_value_of_another_type_in_config_json_is_named(workdir, group, key, value, type_):
    config = stored(workdir)['config']
    config[group][key] = value
    store(workdir, config=config)
    with pytest.raises(UserError) as caught:
        workdirs.read_config(workdir)
    message = str(caught.value)
    assert message.startswith(f'{workdir.config} is of another version')
    assert f'config.{group}.{key}=' in message
    assert f'must be {type_}' in message


def make_older(workdir: Workdir) -> None:
    """Takes the keys out of config.json that were added later."""
    older = stored(workdir)['config']
    for key in ('image_size', 'damaged', 'draw', 'zca_epsilon'):
        del older['data'][key]
    del older['init_from'], older['ops']['algorithm']
    store(workdir, config=older)


def test_a_run_from_before_a_key_was_added_has_their_defaults(workdir):
    make_older(workdir)
    data = workdirs.read_config(workdir).data
    assert (data.image_size, data.damaged) == (0, 'stop')
    assert 'data.image_size (0 there, 64 here)' in refusal(workdir, data__image_size=64)


def test_a_folder_may_be_written_as_a_relative_or_an_absolute_path(workdir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    older = stored(workdir)['config']
    older['data']['source'] = 'folder:pictures'
    store(workdir, config=older)
    prepare(workdir, data__source=f'folder:{tmp_path / "pictures"}')
    assert 'data.source' in refusal(workdir, data__source='folder:/elsewhere/pictures')


def test_a_folder_may_have_moved_if_digests_tell_whether_it_is_the_same(workdir):
    prepared = stored(workdir)['config']
    prepared['data']['source'] = 'folder:/here/pictures'
    store(workdir, config=prepared)
    workdir.preprocessing.write_text('{"digests": {"train": "ab"}}')
    prepare(workdir, data__source='folder:/elsewhere/pictures')
    assert 'data.source' in refusal(workdir, data__source='archive:/elsewhere/pictures')
    workdir.preprocessing.write_text('{}')
    assert 'data.source' in refusal(workdir, data__source='folder:/here/pictures')


@pytest.mark.parametrize(('source', 'draw'), [('folder:pictures', 'count'), ('digits', 'names')])
def test_an_older_run_on_a_folder_keeps_its_draw_by_count(workdir, source, draw):
    make_older(workdir)
    older = stored(workdir)['config']
    older['data']['source'] = source
    store(workdir, config=older)
    assert workdirs.read_config(workdir).data.draw == draw


@pytest.mark.slow
def test_a_run_from_before_a_key_was_added_is_evaluated_and_resumes(tmp_path):
    shorter, longer = (
        # NumPy's, which trains in a second.
        configs.load(
            str(ROOT / 'configs' / 'numpy_cnn.py:smoke'),
            [f'--config.train.length={epochs} epochs', '--config.log.tensorboard=false'],
        )
        for epochs in (1, 2)
    )
    workdir = Workdir(tmp_path)
    sha256 = run.train(shorter, tmp_path)['sha256']
    make_older(workdir)
    assert evaluation.evaluate(tmp_path, 'test')['sha256'] == sha256
    assert run.train(longer, tmp_path)['finished']
    assert [line['epoch'] for line in workdirs.read_metrics(workdir)] == [1, 2]
    assert stored(workdir)['config']['data']['image_size'] == 0
    assert stored(workdir)['config']['ops']['algorithm'] == 'direct'


def test_another_algorithm_is_named_as_a_difference(workdir):
    (difference,) = prepare(workdir, ops__algorithm='direct')
    assert difference == "ops.algorithm was 'auto' and is 'direct'"


@pytest.mark.parametrize('path', sorted(ROOT.glob('results/*/config.json')), ids=str)
def test_a_published_run_lacks_no_key_and_could_resume(path):
    stored = configs.flat(workdirs.read_config(Workdir(path.parent)))
    keys = {key for key in configs.flat(get_defaults()) if not key.startswith('model.')}
    assert not keys - stored.keys(), 'workdir._ADDED lacks the former values of these keys'


def test_a_key_that_this_version_does_not_know_is_named(workdir):
    store(workdir, config=stored(workdir)['config'] | {'later': 1})
    assert "later (1 there, 'absent' here)" in refusal(workdir)


def test_a_changed_environment_is_reported_and_the_first_one_kept(workdir):
    environment = stored(workdir)['environment'] | {'jax': '0.1', 'processor': 'Z80'}
    store(workdir, environment=environment)
    changes = prepare(workdir)
    assert [change.split(' and is ')[0] for change in changes] == [
        "processor was 'Z80'",
        "jax was '0.1'",
    ]
    assert stored(workdir)['environment'] == environment


def test_a_second_process_is_kept_out_until_the_first_ends(tmp_path):
    pytest.importorskip('fcntl')
    workdir = Workdir(tmp_path / 'w')
    # Only the lock: importing the package takes seconds.
    code = (
        'import fcntl, sys\n'
        'file = open(sys.argv[1], "w")\n'
        'fcntl.flock(file, fcntl.LOCK_EX)\n'
        'print("locked", flush=True)\n'
        'sys.stdin.read()\n'
    )
    with locks.lock(workdir):
        pass
    other = subprocess.Popen(
        [sys.executable, '-S', '-c', code, str(workdir.path / '.lock')],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert other.stdout.readline() == b'locked\n'
        with (
            pytest.raises(UserError, match='Another process is training in'),
            locks.lock(workdir),
        ):
            pass
    finally:
        other.kill()
        other.communicate()
    with locks.lock(workdir):
        pass


def test_the_lock_is_held_against_other_processes(tmp_path):
    pytest.importorskip('fcntl')
    code = (
        'import fcntl, sys\n'
        'try:\n'
        '    fcntl.flock(open(sys.argv[1], "w"), fcntl.LOCK_EX | fcntl.LOCK_NB)\n'
        'except OSError:\n'
        '    print("kept out")\n'
    )
    with locks.lock(Workdir(tmp_path)):
        command = [sys.executable, '-S', '-c', code, str(tmp_path / '.lock')]
        assert subprocess.check_output(command) == b'kept out\n'


def test_the_config_of_a_run_is_not_replaced_before_it_is_restored(workdir):
    before = workdir.config.read_bytes()
    workdirs.prepare(workdir, config_of(log__every=7), COMMAND)
    assert workdir.config.read_bytes() == before
