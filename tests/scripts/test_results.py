"""The tables of the README and docs/, which are generated from results/."""

import json
import pathlib
import shlex
import shutil
import zipfile

import kept_runs
import numpy as np
import pytest

import results
from cifar_jax import files
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import records
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import predictions
from tables import kept, pages, published


@pytest.fixture(scope='module')
def groups():
    return kept.groups(kept.read_all())


@pytest.fixture
def folder(tmp_path):
    """A copy of a finished run, to be damaged or changed."""
    target = tmp_path / 'results' / 'senet'
    shutil.copytree(kept.RESULTS / 'senet', target)
    return target


def with_seed(folder: pathlib.Path, seed: int, **summary: float) -> pathlib.Path:
    """Returns a copy of a run with another seed, started with a workdir."""
    target = folder.with_name(f'{folder.name}{seed}')
    shutil.copytree(folder, target)
    stored = json.loads((target / 'config.json').read_text())
    stored['config']['seed'] = seed
    stored['command'] += f' --config.seed {seed} --workdir runs/x --json'
    (target / 'config.json').write_text(json.dumps(stored))
    changed = json.loads((target / 'summary.json').read_text()) | summary
    (target / 'summary.json').write_text(json.dumps(changed))
    return target


@pytest.mark.parametrize(('name', 'mark', 'table'), pages.TABLES)
def test_a_table_of_a_page_is_generated_from_the_results(groups, name, mark, table):
    text = (kept.ROOT / name).read_text()
    assert f'<!-- {mark} -->\n\n{table(groups)}\n\n<!-- end of {mark} -->' in text


def test_results_md_is_generated_from_the_results(groups):
    assert (kept.ROOT / 'docs' / 'results.md').read_text() == published.page(groups)


def test_the_headline_has_the_best_run_of_each_network_by_validation_accuracy(folder):
    better = with_seed(folder, 0, val_accuracy=0.9, test={'accuracy': 0.7, 'top5': 1.0})
    text = (better / 'config.json').read_text()
    (better / 'config.json').write_text(text.replace('10 epochs', '11 epochs'))
    [row] = pages.headline(kept.groups(kept.read_all(folder.parent))).splitlines()[2:]
    assert row.startswith('| SENet | 10 | 70.00 % |')
    assert "'--config.train.length=11 epochs'" in row


def test_seeds_of_one_command_are_one_group(folder):
    with_seed(folder, 1)
    with_seed(folder, 2)
    groups = kept.groups(kept.read_all(folder.parent))
    command = "--config configs/senet.py:short '--config.train.length=10 epochs'"
    assert list(groups) == [command]
    assert [run.seed for run in groups[command]] == [0, 1, 2]


def test_runs_with_other_overrides_are_another_group(folder):
    other = with_seed(folder, 1)
    text = (other / 'config.json').read_text()
    (other / 'config.json').write_text(text.replace('10 epochs', '11 epochs'))
    assert len(kept.groups(kept.read_all(folder.parent))) == 2


def test_a_seed_that_ran_twice_raises_an_error(folder):
    shutil.copytree(folder, folder.with_name('again'))
    with pytest.raises(UserError, match=r'again and .*senet have the same command and seed'):
        kept.groups(kept.read_all(folder.parent))


def test_a_group_has_mean_and_sample_deviation(folder):
    accuracies = [0.8826, 0.9, 0.86]
    for seed, accuracy in enumerate(accuracies[1:], 1):
        with_seed(folder, seed, val_accuracy=accuracy)
    members = kept.read_all(folder.parent)
    mean, deviation = np.mean(accuracies), np.std(accuracies, ddof=1)
    expected = f'{100 * mean:.2f} ± {100 * deviation:.2f} %'
    assert records.percent(members, 'validation', digits=2) == expected
    assert f'validation {expected}' in published.page(kept.groups(members))


def test_a_split_that_is_missing_in_one_run_is_left_out(folder):
    other = with_seed(folder, 1)
    summary = json.loads((other / 'summary.json').read_text())
    del summary['test']
    (other / 'summary.json').write_text(json.dumps(summary))
    members = kept.read_all(folder.parent)
    assert records.percent(members, 'test') == ''
    assert records.percent(members, 'validation') == '88.3 ± 0.0 %'


def test_rows_without_a_run_say_so():
    page = published.page({})
    commands = [*published.commands()]
    assert page.count('not run yet') == len(commands)
    assert 'seeds' in page
    assert 'AMD' not in page


def test_every_published_experiment_has_a_row():
    count = {system['name']: len(system['row']) for system in published.systems()}
    assert list(count.values()) == [5, 7, 6, 3, 1, 4]


@pytest.mark.parametrize('command', [*published.commands()])
def test_a_command_of_a_published_row_is_valid(command):
    spec, overrides = kept.parsed(['--config', *shlex.split(command)])
    configs.load(str(kept.ROOT / spec), [f'--config.{key}={text}' for key, text in overrides])


def test_a_row_only_matches_runs_without_other_overrides(folder):
    groups = kept.groups(kept.read_all(folder.parent))
    page = published.page(groups)
    [full] = [line for line in page.splitlines() if line.endswith('| `configs/senet.py` |')]
    assert 'not run yet' in full
    assert '| - one cycle, 10 epochs |  | test 88.07 % (0.42)' in page


def test_runs_that_match_no_row_are_listed_too(folder):
    text = (folder / 'config.json').read_text()
    (folder / 'config.json').write_text(text.replace('10 epochs', '11 epochs'))
    page = published.page(kept.groups(kept.read_all(folder.parent)))
    assert "`configs/senet.py:short '--config.train.length=11 epochs'`" in page


@pytest.mark.parametrize(
    ('name', 'content', 'sentence'),
    [
        ('summary.json', None, 'senet is not finished'),
        ('summary.json', '{"finished": true', 'summary.json is damaged'),
        ('summary.json', '{"finished": false}', 'senet is not finished'),
        ('metrics.jsonl', '', 'senet is not finished'),
        ('metrics.jsonl', None, 'senet is not finished'),
        ('metrics.jsonl', '{"epoch": 1', 'senet is not finished'),
        ('config.json', None, 'config.json is missing'),
        (
            'config.json',
            '{"config": {}}',
            'config.json is of another version of cifar_jax or damaged',
        ),
    ],
)
def test_a_damaged_or_unfinished_folder_is_named_in_one_sentence(folder, name, content, sentence):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(UserError, match=sentence) as exc_info:
        kept.read_all(folder.parent)
    assert '\n' not in str(exc_info.value)
    assert str(folder) in str(exc_info.value)


def test_a_run_is_stored_without_its_workdir_option(folder, tmp_path, monkeypatch):
    workdir = with_seed(folder, 1)
    (workdir / 'preprocessing.json').write_text('{}')
    (workdir / 'initial.npz').write_bytes(b'large')
    monkeypatch.setattr(kept, 'RESULTS', tmp_path / 'kept')
    results.keep(workdir)
    stored = tmp_path / 'kept' / workdir.name
    assert sorted(path.name for path in stored.iterdir()) == sorted(results.FILES)
    command = json.loads((stored / 'config.json').read_text())['command']
    assert command == (
        'python -m cifar_jax.main --config configs/senet.py:short '
        "'--config.train.length=10 epochs' --config.seed=1"
    )
    assert kept.read(stored)[3:] == kept.read(workdir)[3:]


@pytest.fixture
def predicted(folder, tmp_path, monkeypatch):
    """A function that keeps a run with predictions of certain weights, and returns its results."""
    monkeypatch.setattr(kept, 'RESULTS', tmp_path / 'kept')

    def keep(sha256):
        kept_runs.keep_predictions(folder, np.array([0, 1]), np.array([0, 2]), sha256=sha256)
        results.keep(folder)
        return Workdir(tmp_path / 'kept' / 'senet')

    return keep


def test_predictions_for_the_test_images_are_kept_compressed_in_half_precision(folder, predicted):
    sha256 = workdirs.read_summary(Workdir(folder))['sha256']
    workdir = predicted(sha256)
    with zipfile.ZipFile(workdir.predictions('test')) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    stored = predictions.read(workdir, 'test')
    assert stored.logits.dtype == np.float16
    assert stored.classes.tolist() == [0, 2]
    assert (stored.labels.tolist(), stored.sha256) == ([0, 1], sha256)


def test_predictions_of_other_weights_are_not_kept(predicted):
    assert predictions.read(predicted('ab' * 32), 'test') is None


def test_predictions_of_a_run_without_a_test_are_not_kept(folder, predicted):
    summary = workdirs.read_summary(Workdir(folder))
    del summary['test']
    workdirs.write_summary(Workdir(folder), summary)
    assert predictions.read(predicted(summary['sha256']), 'test') is None


WITH_PREDICTIONS = [run for run in kept.read_all() if run.workdir.predictions('test').exists()]


@pytest.mark.parametrize('run', WITH_PREDICTIONS, ids=lambda run: run.workdir.path.name)
def test_kept_predictions_give_the_reported_accuracy_and_loss(run):
    stored = predictions.read(run.workdir, 'test')
    metrics = predictions.mean_metrics(stored)
    assert stored.sha256 == run.summary['sha256']
    assert metrics['accuracy'] == run.test
    np.testing.assert_allclose(metrics['loss'], run.summary['test']['loss'], rtol=1e-4)


def test_results_on_other_data_than_those_of_the_run_are_not_kept(folder, tmp_path, monkeypatch):
    workdir = with_seed(folder, 1)
    summary = workdirs.read_summary(Workdir(workdir))
    workdirs.write_summary(Workdir(workdir), summary | {'other': {'folder:/home/me': {}}})
    monkeypatch.setattr(kept, 'RESULTS', tmp_path / 'kept')
    results.keep(workdir)
    assert workdirs.read_summary(Workdir(tmp_path / 'kept' / workdir.name)) == summary


def test_a_run_on_files_is_kept_with_their_path_as_it_was_typed(folder, tmp_path, monkeypatch):
    text = (folder / 'config.json').read_text()
    text = text.replace('"source": "cifar10"', '"source": "folder:/home/me/birds"')
    text = text.replace("'--config.train", "--config.data.source=folder:birds '--config.train")
    (folder / 'config.json').write_text(text)
    monkeypatch.setattr(kept, 'RESULTS', tmp_path / 'kept')
    results.keep(folder)
    stored = (tmp_path / 'kept' / 'senet' / 'config.json').read_text()
    assert '"source": "folder:birds"' in stored
    assert '/home/me' not in stored


@pytest.fixture
def probed(tmp_path):
    """A folder of features with results of probes, by a command with options of its machine."""
    folder = tmp_path / 'features' / 'birds' / '1b9d02c8a4f5e6d7'
    probe = {'value': 0.01, 'validation': 0.8, 'test': 0.75, 'seconds': 41.6}
    command = (
        'python -m cifar_jax.features --config configs/birds.py --config.data.source folder:birds '
        '--probe --json --out /home/me'
    )
    stored = {
        'source': 'folder:birds',
        'features': {'model': 'EfficientNetLite0', 'size': 96},
        'probes': {'linear': probe},
        'environment': {'processor': 'Abacus 2000', 'cores': 2},
        'command': command,
    }
    files.write_json(folder / 'probes.json', files.with_checksum(stored))
    return folder


def test_probes_are_kept_with_a_command_that_repeats_them(probed, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, 'RESULTS', tmp_path / 'kept')
    results.keep_probes(probed)
    row = pages.probes({}).splitlines()[2]
    command = (
        '`python -m cifar_jax.features --config configs/birds.py --config.data.source folder:birds '
        '--probe`'
    )
    cells = ['folder:birds', 'EfficientNetLite0', '96', 'logistic regression', '0.01', '80.00%']
    assert row[2:-2].split(' | ') == [*cells, '75.00%', '42', 'Abacus 2000, 2 cores', command]


def test_changed_probes_are_not_kept(probed):
    path = probed / 'probes.json'
    path.write_text(path.read_text().replace('0.75', '0.95'))
    with pytest.raises(UserError, match='does not match its own checksum'):
        results.keep_probes(probed)


def test_numpy_runs_were_tested_with_the_weights_they_report(groups):
    for members in groups.values():
        for run in members if members[0].in_numpy else []:
            assert run.summary['test']['sha256'] == run.summary['sha256']
            assert run.summary['test']['images'] == 500


def test_cells_of_a_table_are_escaped():
    assert kept.table('a >b', [('x|y', 1)]) == '| a | b |\n| --- | ---: |\n| x\\|y | 1 |'
