"""Data sets: the cache, its races and damage, missing data, and the real sets."""

import contextlib
import http.server
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from cifar_jax.data import cache, catalogue, decoding, normalize, sources, splits
from cifar_jax.data.records import Records
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults

ROOT = Path(__file__).parents[2]
VERSION = 'cifar10/3.0.2'
REAL = Path(os.environ.get('CIFAR_JAX_DATA', '~/tensorflow_datasets')).expanduser()


def config(**changes):
    data = get_defaults().data
    data.update(changes)
    return data


def tiny_set(version, count=40):
    """Stands in for what decoding a prepared set gives."""
    del version
    rng = np.random.default_rng(0)
    arrays = {}
    for split in catalogue.SPLITS:
        arrays[f'{split}_images'] = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
        arrays[f'{split}_fine'] = np.arange(count, dtype=np.int32) % 4
        arrays[f'{split}_coarse'] = np.arange(count, dtype=np.int32) % 2
    return cache.Decoded(arrays, {'fine': list('abcd'), 'coarse': ['x', 'y']})


def prepared_folder(data_dir, count=40):
    """Writes the metadata that tensorflow-datasets leaves beside the records."""
    folder = data_dir / VERSION
    folder.mkdir(parents=True)
    splits_ = [{'name': name, 'shardLengths': [str(count)]} for name in catalogue.SPLITS]
    (folder / 'dataset_info.json').write_text(json.dumps({'splits': splits_}))
    image = {'image': {'shape': {'dimensions': ['32', '32', '3']}}}
    labels = {key: {'classLabel': {}} for key in ('label', 'coarse_label')}
    features = {'featuresDict': {'features': {'image': image, **labels}}}
    (folder / 'features.json').write_text(json.dumps(features))
    return folder


@pytest.fixture
def decoded(monkeypatch):
    """Replaces tensorflow-datasets by the tiny set; returns the versions that were decoded."""
    calls = []
    monkeypatch.setattr(decoding, 'decode', lambda v, *_: calls.append(v) or tiny_set(v))
    return calls


def run(script, *arguments, **environment):
    """Runs Python as a user would: another process, and none of the tests' settings."""
    return subprocess.run(
        [sys.executable, '-c', script, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


# The cache


def test_a_set_is_decoded_once_and_then_mapped(tmp_path, decoded):
    folder = prepared_folder(tmp_path)
    first = sources.load(config(dir=str(tmp_path)))
    second = sources.load(config(dir=str(tmp_path)))
    assert decoded == [folder]
    assert isinstance(second.train.images, np.memmap)
    assert second.classes == ('a', 'b', 'c', 'd')
    for one, two in zip(first.train + first.test, second.train + second.test, strict=True):
        assert np.array_equal(one, two)
        assert one.dtype == two.dtype


def test_the_newest_version_is_taken_by_number(tmp_path, decoded):
    for version in ('3.0.2', '3.0.10', 'incomplete.3.1.0'):
        (tmp_path / 'cifar10' / version).mkdir(parents=True)
        (tmp_path / 'cifar10' / version / 'dataset_info.json').touch()
    assert cache.newest(tmp_path / 'cifar10', 'dataset_info.json').name == '3.0.10'
    assert cache.newest(tmp_path / 'cifar100', 'dataset_info.json') is None


@pytest.mark.parametrize('file', ['train_images.npy', 'test_fine.npy', 'index.json'])
@pytest.mark.parametrize('damage', ['truncated', 'empty', 'missing', 'flipped'])
def test_a_damaged_cache_is_made_anew_and_said_to_be(tmp_path, decoded, caplog, file, damage):
    prepared_folder(tmp_path)
    expected = sources.load(config(dir=str(tmp_path)))
    path = tmp_path / VERSION / cache.FOLDER / file
    content = path.read_bytes()
    path.unlink()
    if damage == 'flipped':
        # Of index.json the first letter of a class's name.
        place = content.index(b'"a"') + 1 if file == 'index.json' else len(content) - 7
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
    elif damage != 'missing':
        path.write_bytes(content[: len(content) // 2] if damage == 'truncated' else b'')
    again = sources.load(config(dir=str(tmp_path)))
    assert np.array_equal(again.train.images, expected.train.images)
    assert 'damaged' in caplog.text
    assert str(path.parent) in caplog.text
    assert file in caplog.text or file == 'index.json'
    caplog.clear()
    assert isinstance(sources.load(config(dir=str(tmp_path))).train.images, np.memmap)
    assert not caplog.text


def test_a_cache_from_before_there_were_checksums_is_read(tmp_path, decoded):
    prepared_folder(tmp_path)
    expected = sources.load(config(dir=str(tmp_path)))
    index = tmp_path / VERSION / cache.FOLDER / cache.INDEX
    content = json.loads(index.read_text())
    del content['sha256'], content['of']
    index.write_text(json.dumps(content))
    assert np.array_equal(
        sources.load(config(dir=str(tmp_path))).train.images, expected.train.images
    )
    assert len(decoded) == 1


def test_the_cache_of_another_set_is_made_anew_and_said_to_be(tmp_path, decoded, caplog):
    prepared_folder(tmp_path)
    sources.load(config(dir=str(tmp_path)))
    shutil.copytree(tmp_path / 'cifar10', tmp_path / 'cifar100')
    sources.load(config(source='cifar100', dir=str(tmp_path)))
    assert f'it is the cache of {VERSION}/{cache.FOLDER}' in caplog.text
    assert len(decoded) == 2


def test_a_cache_moves_with_its_data_folder(tmp_path, decoded):
    prepared_folder(tmp_path / 'before')
    sources.load(config(dir=str(tmp_path / 'before')))
    (tmp_path / 'before').rename(tmp_path / 'after')
    sources.load(config(dir=str(tmp_path / 'after')))
    assert len(decoded) == 1


@pytest.mark.parametrize('content', ['[]', '3', '{"arrays": []}', '[' * 100_000, '{"of": "x"}'])
def test_an_index_of_another_form_is_a_damaged_cache(tmp_path, decoded, content):
    prepared_folder(tmp_path)
    sources.load(config(dir=str(tmp_path)))
    (tmp_path / VERSION / cache.FOLDER / cache.INDEX).write_text(content)
    sources.load(config(dir=str(tmp_path)))
    assert len(decoded) == 2


def test_an_index_whose_checksums_are_gone_is_a_damaged_cache(tmp_path, decoded):
    prepared_folder(tmp_path)
    sources.load(config(dir=str(tmp_path)))
    index = tmp_path / VERSION / cache.FOLDER / cache.INDEX
    index.write_text(index.read_text().replace('"sha256"', '"sha257"'))
    sources.load(config(dir=str(tmp_path)))
    assert len(decoded) == 2


@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no such pipes')
@pytest.mark.parametrize('file', ['train_images.npy', 'index.json'])
def test_a_pipe_in_the_cache_is_not_waited_for(tmp_path, decoded, file):
    prepared_folder(tmp_path)
    sources.load(config(dir=str(tmp_path)))
    path = tmp_path / VERSION / cache.FOLDER / file
    path.unlink()
    os.mkfifo(path)
    sources.load(config(dir=str(tmp_path)))
    assert len(decoded) == 2


def test_a_file_in_the_place_of_the_cache_is_removed(tmp_path, decoded):
    folder = prepared_folder(tmp_path)
    (folder / cache.FOLDER).write_text('')
    sources.load(config(dir=str(tmp_path)))
    assert {path.name for path in folder.iterdir()} == {
        'dataset_info.json',
        'features.json',
        cache.FOLDER,
    }
    assert (folder / cache.FOLDER).is_dir()


def test_a_pickle_in_the_cache_is_never_executed(tmp_path, decoded):
    prepared_folder(tmp_path)
    sources.load(config(dir=str(tmp_path)))
    path = tmp_path / VERSION / cache.FOLDER / 'train_fine.npy'
    np.save(path, np.array([{}] * 40, dtype=object), allow_pickle=True)
    labels = sources.load(config(dir=str(tmp_path))).train.labels
    assert labels.dtype == np.int32
    assert len(decoded) == 2


def test_where_nothing_may_be_written_the_run_goes_on(tmp_path, decoded, caplog, monkeypatch):
    prepared_folder(tmp_path)

    def refuse(*_, **__):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(Path, 'mkdir', refuse)
    data = sources.load(config(dir=str(tmp_path)))
    assert len(data.train.labels) == 40
    warnings = [record for record in caplog.records if record.levelname == 'WARNING']
    assert len(warnings) == 1
    assert 'not cached' in warnings[0].message
    assert not (tmp_path / VERSION / cache.FOLDER).exists()


def test_the_loser_of_a_race_leaves_the_winners_cache_alone(tmp_path, caplog):
    folder = tmp_path / cache.FOLDER
    cache.write(folder, tiny_set(None))
    inode = (folder / cache.INDEX).stat().st_ino
    cache.write(folder, tiny_set(None, count=8))
    assert (folder / cache.INDEX).stat().st_ino == inode
    assert [path.name for path in tmp_path.iterdir()] == [cache.FOLDER]
    assert not caplog.text


RACE = """
import sys, time
from pathlib import Path
import numpy as np
sys.path.insert(0, 'tests/data')
from test_sources import VERSION, tiny_set
from cifar_jax.data import cache, catalogue, decoding, sources

data_dir, me, other = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
decoding.decode = lambda version, *_: tiny_set(version)
expected = tiny_set(None)
me.touch()
while not other.exists():
    time.sleep(0.001)
for i in range(60):
    decoded = catalogue.load(sources.CIFAR10, str(data_dir), 1.0)
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(decoded.arrays[name], array)
    if i % 3 == 0:
        cache.remove(data_dir / VERSION / cache.FOLDER)
catalogue.load(sources.CIFAR10, str(data_dir), 1.0)
"""


@pytest.mark.slow
def test_two_processes_at_once_never_see_half_a_cache(tmp_path):
    folder = prepared_folder(tmp_path / 'data')
    flags = [tmp_path / 'one', tmp_path / 'two']
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', RACE, str(tmp_path / 'data'), *map(str, order)],
            cwd=ROOT,
            env={**os.environ, 'PYTHONPATH': str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for order in (flags, flags[::-1])
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    left = {path.name for path in folder.iterdir()}
    assert left == {'dataset_info.json', 'features.json', cache.FOLDER}
    assert np.array_equal(
        cache.read(folder / cache.FOLDER).arrays['train_images'],
        tiny_set(None).arrays['train_images'],
    )


# What a config asks of a set


def test_the_first_classes_are_kept_with_their_labels(tmp_path, decoded):
    prepared_folder(tmp_path)
    data = sources.load(config(dir=str(tmp_path), classes=3))
    assert data.classes == ('a', 'b', 'c')
    whole = tiny_set(None).arrays
    for part, split in ((data.train, 'train'), (data.test, 'test')):
        rows = whole[f'{split}_fine'] < 3
        assert np.array_equal(part.labels, whole[f'{split}_fine'][rows])
        assert np.array_equal(part.images, whole[f'{split}_images'][rows])


def test_a_fraction_is_a_fixed_stratified_share_of_both_parts(tmp_path, decoded):
    prepared_folder(tmp_path)
    data, again = (sources.load(config(dir=str(tmp_path), fraction=0.2, seed=s)) for s in (0, 1))
    for part in (data.train, data.test):
        assert splits.class_counts(part.labels, 4).tolist() == [2, 2, 2, 2]
    assert np.array_equal(data.train.images, again.train.images)


def test_cifar100_has_coarse_labels_too(tmp_path, decoded):
    folder = prepared_folder(tmp_path)
    folder.parent.rename(tmp_path / 'cifar100')
    data = sources.load(config(source='cifar100', labels='coarse', dir=str(tmp_path)))
    assert data.classes == ('x', 'y')
    assert np.array_equal(data.train.labels, tiny_set(None).arrays['train_coarse'])


def test_digits_are_1797_real_images_with_a_fixed_stratified_test_set():
    data, again = (sources.load(config(source='digits')) for _ in range(2))
    assert data.train.images.shape == (1437, 32, 32, 3)
    assert data.test.images.shape == (360, 32, 32, 3)
    assert data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == np.int32
    assert splits.class_counts(data.test.labels, 10).min() >= 34
    assert data.train.images.min() == 0
    assert data.train.images.max() == 255
    assert np.array_equal(data.test.images, again.test.images)
    both = np.concatenate([data.train.images, data.test.images]).reshape(1797, -1)
    assert len(np.unique(both, axis=0)) == 1797


def test_digits_of_another_size_are_resized_from_8x8_at_once():
    data = sources.load(config(source='digits', image_size=12))
    assert data.train.images.shape == (1437, 12, 12, 3)
    grey = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    sizes = [Image.fromarray(x).resize((12, 12), Image.Resampling.BILINEAR) for x in grey]
    expected = {np.asarray(x.convert('RGB')).tobytes() for x in sizes}
    assert {image.tobytes() for image in data.test.images} <= expected


def test_digits_too_large_for_memory_and_disk_are_refused_before_they_are_resized(tmp_path):
    # 1,437 training images of 16,384 x 16,384 x 3 bytes.
    with pytest.raises(UserError, match=r'take 1\.08e\+03 GB decoded, more than .*memory_gb'):
        sources.load(config(source='digits', image_size=16_384, dir=str(tmp_path)))


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'source': 'cifar11'}, "'cifar10'"),
        ({'labels': 'corse'}, "labels='corse' is not valid: did you mean 'coarse'"),
        ({'labels': 'coarse'}, 'no coarse labels'),
        ({'fraction': 0.0}, 'fraction=0.0 must be above 0'),
        ({'fraction': 1.5}, 'fraction=1.5 must be above 0 and at most 1'),
        ({'classes': -1}, 'classes=-1 must be 2 or more'),
        ({'classes': 1}, 'classes=1 must be 2 or more, or 0 for all classes'),
        ({'memory_gb': 0.0}, 'memory_gb=0.0 must be above 0'),
        ({'image_size': -1}, 'image_size=-1 must be from 1 to 16384, or 0'),
        ({'resize': 'crops'}, "resize='crops'.*crop"),
        ({'resize': 'crop'}, 'to a size: set --config.data.image_size, such as 224'),
        ({'damaged': 'ignore'}, "damaged='ignore' is not valid: known: skip, stop"),
        ({'source': 'svhn_cropped'}, 'tfds:NAME'),
        ({'source': 'tfds:../mnist'}, "'../mnist' cannot be a set's name"),
        ({'source': 'tfds:mnist/..'}, "'mnist/..' cannot be a set's name"),
        ({'source': 'tfds:mnist:3.0.1'}, 'the newest version is used'),
        ({'source': 'tfds:mnist', 'labels': 'coarse'}, 'no coarse labels'),
        ({'source': 'digits', 'classes': 11}, 'from 2 to 10, the classes of digits'),
        ({'source': 'digits', 'fraction': 0.001}, 'cannot be split into 1 and 1436'),
    ],
)
def test_what_is_impossible_is_refused(changes, words):
    with pytest.raises(UserError, match=words):
        sources.load(config(**changes))


def test_a_set_of_one_class_is_refused(monkeypatch):
    one = sources.digits(config())._replace(classes=('zero',))
    monkeypatch.setattr(sources, 'SOURCES', {'digits': lambda config: one})
    with pytest.raises(UserError, match='digits has fewer than two classes: choose another'):
        sources.load(config(source='digits'))


def test_a_cached_set_larger_than_the_memory_allowed_is_streamed(tmp_path, decoded):
    prepared_folder(tmp_path)
    cached, streamed = (sources.load(config(dir=str(tmp_path), memory_gb=gb)) for gb in (1.0, 1e-4))
    assert len(decoded) == 1
    for expected, part in ((cached.train, streamed.train), (cached.test, streamed.test)):
        assert isinstance(part.images, Records)
        np.testing.assert_array_equal(part.images[:], expected.images)
        np.testing.assert_array_equal(part.labels, expected.labels)


# No data


NOTHING = """
import sys
from cifar_jax.data import sources
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults
config = get_defaults().data
config.dir = sys.argv[1]
try:
    sources.load(config)
except UserError as error:
    print(error)
print({'tensorflow', 'tensorflow_datasets'} & set(sys.modules))
"""


def test_no_data_and_no_network_is_one_sentence_in_less_than_half_a_minute(tmp_path):
    start = time.monotonic()
    # A proxy that nobody serves: the host is out of reach on any machine.
    proxy = dict.fromkeys(('https_proxy', 'HTTPS_PROXY'), 'http://127.0.0.1:9')
    done = run(NOTHING, tmp_path / 'sets', no_proxy='', NO_PROXY='', **proxy)
    assert time.monotonic() - start < 30
    message, imported = done.stdout.splitlines()
    assert "'cifar10'" in message
    assert str(tmp_path / 'sets') in message
    assert 'www.cs.toronto.edu' in message
    assert "':digits'" in message
    assert '--config.data.dir' in message
    assert imported == 'set()'


@contextlib.contextmanager
def server(status):
    """Serves one status to every request; gives its address and the requests it saw."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield f'http://127.0.0.1:{serving.server_port}', seen
        finally:
            serving.shutdown()
            thread.join()


@pytest.fixture
def no_proxies(monkeypatch):
    for name in ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(('status', 'problem'), [(200, None), (403, '127.0.0.1:.* answers 403')])
def test_a_host_that_answers_is_asked_for_the_archive(no_proxies, status, problem):
    with server(status) as (address, seen):
        answer = catalogue.unreachable(f'{address}/archive.tar.gz')
    assert seen == ['/archive.tar.gz']
    assert answer is None if problem is None else answer.endswith('answers 403')


def test_a_proxy_is_asked_where_there_is_one(no_proxies, monkeypatch):
    with server(200) as (address, seen):
        monkeypatch.setenv('http_proxy', address)
        assert catalogue.unreachable('http://nowhere.invalid/archive.tar.gz') is None
    assert seen == ['http://nowhere.invalid/archive.tar.gz']


def test_a_host_that_stays_silent_is_given_up(no_proxies, monkeypatch):
    monkeypatch.setattr(catalogue, 'TIMEOUT', 0.2)
    with socket.create_server(('127.0.0.1', 0)) as silent:
        url = f'http://127.0.0.1:{silent.getsockname()[1]}/archive.tar.gz'
        start = time.monotonic()
        assert catalogue.unreachable(url)
        assert time.monotonic() - start < 5


@pytest.mark.parametrize('recipe', [sources.CIFAR10, sources.CIFAR100])
def test_the_address_asked_is_the_one_that_preparing_downloads(recipe):
    package = Path(importlib.util.find_spec('tensorflow_datasets').origin).parent
    checksums = (package / 'url_checksums' / f'{recipe.name}.txt').read_text()
    assert recipe.url in checksums.split()


# tensorflow-datasets itself, with a set made up here

PREPARE = """
import os, sys
sys.path.insert(0, 'tests/data')
from pathlib import Path
import numpy as np
from test_sources import VERSION, tiny_set
from cifar_jax.data import cache, catalogue, decoding, sources
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults

tfds = decoding.tensorflow_datasets()
import tensorflow as tf
assert tf.config.get_visible_devices('GPU') == []
whole = tiny_set(None).arrays


class Cifar10(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version('3.0.2')
    name = 'cifar10'

    def _info(self):
        label = tfds.features.ClassLabel(names=list('abcd'))
        image = tfds.features.Image(shape=(32, 32, 3))
        features = tfds.features.FeaturesDict({'image': image, 'label': label})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, manager):
        print('noise')
        return {name: self._generate_examples(name) for name in ('train', 'test')}

    def _generate_examples(self, split):
        for i in range(40):
            image, label = whole[f'{split}_images'][i], int(whole[f'{split}_fine'][i])
            yield i, {'image': image, 'label': label}


catalogue.unreachable = lambda url: None
tfds.builder = lambda name, data_dir: Cifar10(data_dir=data_dir)
config = get_defaults().data
config.dir = sys.argv[1]
data = sources.load(config)
assert data.classes == tuple('abcd')
for part, split in ((data.train, 'train'), (data.test, 'test')):
    # Preparing shuffles the records, by a fixed rule.
    key = lambda image: image.tobytes()
    expected = dict(zip(map(key, whole[f'{split}_images']), whole[f'{split}_fine']))
    assert {key(i): int(l) for i, l in zip(part.images, part.labels)} == expected
    assert len(part.labels) == 40

version = Path(sys.argv[1]) / VERSION
cache.remove(version / cache.FOLDER)
for file in version.glob('*.tfrecord*'):
    os.truncate(file, file.stat().st_size // 2)
try:
    sources.load(config)
except UserError as error:
    print(error)
"""
CACHED = """
import sys
from cifar_jax.data import sources
from cifar_jax.experiment.defaults import get_defaults
config = get_defaults().data
config.dir = sys.argv[1]
print(len(sources.load(config).train.labels))
heavy = {'tensorflow', 'tensorflow_datasets', 'sklearn', 'scipy.stats', 'requests'}
print(sorted(heavy & set(sys.modules)))
"""


@pytest.mark.slow
def test_a_set_is_prepared_quietly_and_damaged_records_are_named(tmp_path):
    done = run(PREPARE, tmp_path)
    assert done.returncode == 0, done.stderr
    (message,) = done.stdout.splitlines()
    assert str(tmp_path / VERSION) in message
    assert re.search(r'cannot be read \([^{}\[\]]+\w\): delete that folder', message)


def test_a_cached_start_imports_neither_tensorflow_nor_sklearn(tmp_path, decoded):
    prepared_folder(tmp_path)
    sources.load(config(dir=str(tmp_path)))
    done = run(CACHED, tmp_path)
    assert done.stdout.splitlines() == ['40', '[]'], done.stderr


# The real sets

PUBLISHED = {
    'cifar10': ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 10),
    'cifar100': ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), 100),
}


def real(name, **changes):
    if not [*REAL.glob(f'{name}/*/dataset_info.json')]:
        pytest.skip(f'{name} is not prepared in {REAL}')
    return sources.load(config(source=name, dir=str(REAL), **changes))


@pytest.mark.realdata
@pytest.mark.parametrize('name', sorted(PUBLISHED))
def test_the_real_sets_have_the_published_sizes_counts_and_moments(name):
    data = real(name)
    mean, std, classes = PUBLISHED[name]
    assert data.train.images.shape == (50000, 32, 32, 3)
    assert data.test.images.shape == (10000, 32, 32, 3)
    assert set(splits.class_counts(data.train.labels, classes)) == {50000 // classes}
    assert set(splits.class_counts(data.test.labels, classes)) == {10000 // classes}
    assert len(data.classes) == classes
    normalizer = normalize.fit(data.train.images, config(normalize='channel'))
    np.testing.assert_allclose(normalizer.mean[0, 0], mean, atol=6e-5)
    np.testing.assert_allclose(normalizer.std[0, 0], std, atol=6e-5)


@pytest.mark.realdata
def test_25_classes_of_cifar100_are_12500_and_2500_images():
    data = real('cifar100', classes=25)
    assert (len(data.train.labels), len(data.test.labels)) == (12500, 2500)
    assert data.classes[0] == 'apple'


@pytest.mark.realdata
def test_cifar100_has_20_coarse_classes_of_2500_images():
    data = real('cifar100', labels='coarse')
    assert set(splits.class_counts(data.train.labels, 20)) == {2500}


@pytest.mark.realdata
def test_five_percent_of_cifar10_split_as_s0_did():
    data = real('cifar10', fraction=0.05)
    train, validation = splits.split(data, 'stratified', 0.2, 0)
    assert (len(train.labels), len(validation.labels), len(data.test.labels)) == (2000, 500, 500)
    assert set(splits.class_counts(train.labels, 10)) == {200}
