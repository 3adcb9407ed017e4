"""Sets of tensorflow-datasets: their metadata, and small made-up sets."""

import json
import os
import sys
from unittest import mock

import numpy as np
import pytest
from test_sources import config, run, tiny_set

from cifar_jax.data import cache, decoding, metadata, sources
from cifar_jax.errors import UserError

LABEL = {'classLabel': {'numClasses': '4'}}
TEXT = {'text': {}}


def image(*shape, **more):
    return {'image': {'shape': {'dimensions': [str(n) for n in shape]}, 'dtype': 'uint8', **more}}


def refused(specs, supervised=()):
    with pytest.raises(UserError) as caught:
        metadata.features('some_set', specs, supervised)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def prepared(root, specs=None, counts=None, supervised=('image', 'label')):
    """Writes the metadata of a set, as tensorflow-datasets does."""
    folder = root / '1.0.0'
    folder.mkdir(parents=True)
    counts = {'train': [3, 4], 'test': [2]} if counts is None else counts
    info = {
        'splits': [{'name': name, 'shardLengths': [*map(str, n)]} for name, n in counts.items()],
        'supervisedKeys': {'tuple': {'items': [{'featureKey': key} for key in supervised]}},
    }
    specs = specs or {'image': image(28, 28, 1), 'label': LABEL}
    (folder / 'dataset_info.json').write_text(json.dumps(info))
    (folder / 'features.json').write_text(json.dumps({'featuresDict': {'features': specs}}))
    return folder


# Features and splits


def test_image_and_label_are_found_by_name():
    specs = {'image': image(8, 9, 3), 'mask': image(8, 9, 1), 'label': LABEL, 'other': LABEL}
    assert metadata.features('some_set', specs, ()) == ('image', 'label', (8, 9, 3))


def test_or_because_they_are_the_only_ones():
    specs = {'picture': image(8, 9, 3), 'species': LABEL, 'label': TEXT}
    assert metadata.features('some_set', specs, ()) == ('picture', 'species', (8, 9, 3))


def test_what_the_set_is_supervised_with_goes_first():
    specs = {'image': image(8, 9, 3), 'left': image(8, 9, 3), 'label': LABEL, 'pose': LABEL}
    assert metadata.features('some_set', specs, ('left', 'pose'))[:2] == ('left', 'pose')


@pytest.mark.parametrize(
    ('specs', 'words'),
    [
        ({'text': TEXT, 'label': LABEL}, 'its image is not clear'),
        ({'one': image(8, 8, 3), 'two': image(8, 8, 3), 'label': LABEL}, 'its image is not clear'),
        ({'image': image(8, 8, 3), 'objects': {'sequence': {}}}, 'features (image, objects)'),
        ({'image': image(8, 8, 3), 'size': LABEL, 'shape': LABEL}, 'its class is not clear'),
        ({}, 'its image is not clear'),
        ({'image': image(8, 8, 3, dtype='float32'), 'label': LABEL}, 'are float32 of 3 channels'),
        ({'image': image(8, 8, 13), 'label': LABEL}, 'are uint8 of 13 channels'),
    ],
)
def test_a_set_without_one_image_of_bytes_and_one_class_is_refused(specs, words):
    assert words in refused(specs)


def test_the_test_split_is_the_test_part(tmp_path):
    folder = prepared(tmp_path, counts={'test': [2], 'validation': [9], 'train': [3, 4]})
    described = metadata.read('some_set', folder)
    assert described.splits == {'train': ('train', 7), 'test': ('test', 2)}


def test_and_validation_where_there_is_none(tmp_path):
    folder = prepared(tmp_path, counts={'train': [3, 4], 'validation': [9]})
    assert metadata.read('some_set', folder).splits['test'] == ('validation', 9)


@pytest.mark.parametrize('counts', [{'train': [9]}, {'train': [9], 'test': []}, {'test': [9]}])
def test_a_set_in_one_part_is_refused_with_its_splits(tmp_path, counts):
    with pytest.raises(UserError, match=f"but has '.*{next(iter(counts))}'.*choose another set"):
        metadata.read('some_set', prepared(tmp_path, counts=counts))


@pytest.mark.parametrize(('counts', 'part'), [({'train': [9]}, 'train'), ({'test': [9]}, 'test')])
def test_one_part_is_enough_where_it_is_only_evaluated(tmp_path, counts, part):
    folder = prepared(tmp_path, counts=counts)
    assert metadata.read('some_set', folder, whole=False).splits == {part: (part, 9)}


def test_but_none_is_not(tmp_path):
    folder = prepared(tmp_path, counts={'unlabelled': [9]})
    with pytest.raises(UserError, match=r"needs a 'train' or a 'test' .* but has 'unlabelled'"):
        metadata.read('some_set', folder, whole=False)


@pytest.fixture
def only_a_test_part(tmp_path, monkeypatch):
    """A prepared set of 40 test images, decoded as the tiny set; returns its config."""
    prepared(tmp_path / 'some_set', counts={'test': [40]})

    def decode(version, described, labels, size, resize):
        whole = tiny_set(version)
        arrays = {k: v for k, v in whole.arrays.items() if k.startswith(tuple(described.splits))}
        return cache.Decoded(arrays, whole.classes)

    monkeypatch.setattr(decoding, 'decode', decode)
    return config(source='tfds:some_set', dir=str(tmp_path))


def test_a_set_that_has_only_a_test_part_can_be_evaluated(only_a_test_part):
    for _ in ('decoded', 'from the cache'):
        parts, classes = sources.load_parts(only_a_test_part)
        assert classes == ('a', 'b', 'c', 'd')
        assert [*parts] == ['test']
        np.testing.assert_array_equal(parts['test'].images, tiny_set('').arrays['test_images'])
        np.testing.assert_array_equal(parts['test'].labels, tiny_set('').arrays['test_fine'])


def test_and_its_cache_does_not_make_it_one_to_train_on(only_a_test_part):
    sources.load_parts(only_a_test_part)
    with pytest.raises(UserError, match=r"needs a 'train' and a 'test' .* but has 'test'"):
        sources.load(only_a_test_part)


@pytest.mark.parametrize('file', ['features.json', 'dataset_info.json'])
@pytest.mark.parametrize(
    'content', ['', '{}', '[]', '{"splits": 3, "featuresDict": 3}', '[' * 10**5]
)
def test_damaged_metadata_are_one_sentence(tmp_path, file, content):
    folder = prepared(tmp_path)
    (folder / file).write_text(content)
    with pytest.raises(UserError, match=r'cannot be read .*: delete that folder'):
        metadata.read('some_set', folder)


@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no such pipes')
@pytest.mark.parametrize('file', ['features.json', 'some_set-train.tfrecord-00000-of-00001'])
def test_a_pipe_among_the_records_is_not_waited_for(tmp_path, file):
    folder = prepared(tmp_path)
    (folder / file).unlink(missing_ok=True)
    os.mkfifo(folder / file)
    with pytest.raises(UserError, match=f'{file} is not a regular file'):
        metadata.read('some_set', folder)


def test_what_another_process_removes_meanwhile_is_not_missed(tmp_path, monkeypatch):
    folder = prepared(tmp_path)
    names = [*folder.iterdir(), folder / '.cifar_jax-v1-123-abcdef']  # a cache being written
    monkeypatch.setattr(type(folder), 'iterdir', lambda _: iter(names))
    assert metadata.read('some_set', folder).splits.keys() == {'train', 'test'}


@pytest.mark.parametrize('shape', [(-1, -1, 3), (32, -1, 3)])
def test_images_of_several_sizes_need_one_which_the_sentence_says(tmp_path, shape):
    prepared(tmp_path / 'some_set', {'image': image(*shape), 'label': LABEL})
    with pytest.raises(UserError, match=r'vary in size: .*--config\.data\.image_size=64'):
        sources.load(config(source='tfds:some_set', dir=str(tmp_path)))


def test_memory_is_counted_at_the_size_asked_for(tmp_path, monkeypatch):
    prepared(tmp_path / 'some_set')
    monkeypatch.setattr('shutil.disk_usage', lambda folder: type('usage', (), {'free': 0}))
    # 9 images of 5,000 x 5,000 x 3 bytes.
    with pytest.raises(UserError, match=r'take 0\.629 GB decoded'):
        sources.load(
            config(source='tfds:some_set', dir=str(tmp_path), image_size=5000, memory_gb=0.5)
        )


# The cache


@pytest.fixture
def decoded(monkeypatch):
    """Replaces tensorflow-datasets; returns the sizes that were decoded at."""
    sizes = []

    def decode(version, described, labels, size, resize):
        sizes.append((labels, size))
        return tiny_set(version)

    monkeypatch.setattr(decoding, 'decode', decode)
    return sizes


def test_each_image_size_has_a_cache_of_its_own(tmp_path, decoded):
    folder = prepared(tmp_path / 'some_set')
    for size in (0, 16, 20, 16, 0):
        sources.load(config(source='tfds:some_set', dir=str(tmp_path), image_size=size))
    assert [size for _, size in decoded] == [(28, 28), (16, 16), (20, 20)]
    caches = {path.name for path in folder.glob('cifar_jax-*')}
    assert caches == {cache.FOLDER, f'{cache.FOLDER}-16', f'{cache.FOLDER}-20'}


def test_each_way_to_resize_has_a_cache_of_its_own(tmp_path, decoded):
    folder = prepared(tmp_path / 'some_set')
    for resize in ('stretch', 'crop', 'crop_bicubic', 'crop', 'stretch'):
        keys = dict(dir=str(tmp_path), image_size=16, resize=resize)
        sources.load(config(source='tfds:some_set', **keys))
    assert len(decoded) == 3
    caches = {path.name for path in folder.glob('cifar_jax-*')}
    assert caches == {f'{cache.FOLDER}-16{end}' for end in ('', '-crop', '-crop_bicubic')}


def test_tfds_cifar100_shares_the_cache_of_cifar100_with_both_kinds_of_labels(tmp_path, decoded):
    specs = {'image': image(32, 32, 3), 'label': LABEL, 'coarse_label': LABEL}
    prepared(tmp_path / 'cifar100', specs)
    sources.load(config(source='tfds:cifar100', dir=str(tmp_path)))
    sources.load(config(source='cifar100', labels='coarse', dir=str(tmp_path)))
    assert [labels for labels, _ in decoded] == [sources.CIFAR100.labels]


def test_a_set_with_configs_is_found_by_name_or_by_its_default(tmp_path, decoded):
    for name in ('blur', 'fog'):
        prepared(tmp_path / 'some_set' / name)
    (tmp_path / 'some_set' / '.config').mkdir()
    default = tmp_path / 'some_set' / '.config' / 'metadata.json'
    default.write_text(json.dumps({'default_config_name': 'fog'}))
    for source, folder in (('some_set/blur', 'blur'), ('some_set', 'fog')):
        sources.load(config(source=f'tfds:{source}', dir=str(tmp_path)))
        assert (tmp_path / 'some_set' / folder / '1.0.0' / cache.FOLDER).is_dir()


def test_labels_of_array_records_are_read_once_until_a_file_changes(tmp_path, monkeypatch):
    folder = prepared(tmp_path, {'image': image(8, 8, 3), 'label': LABEL})
    counts, read = {'train': 7, 'test': 2}, []

    class Source:
        def __init__(self, version, split, *_):
            self.split = split

        def __len__(self):
            return counts[self.split]

        def __getitem__(self, row):
            read.append(row)
            return {'label': row % 4}

    tfds = mock.Mock()
    tfds.builder_from_directory().info.features = {'label': mock.Mock(names=['a', 'b', 'c', 'd'])}
    monkeypatch.setattr(decoding, 'catalogue', lambda: tfds)
    monkeypatch.setattr(decoding, '_source', Source)
    described = metadata.read('some_set', folder)

    def labels():
        decoded = decoding.open_records(folder, described, {'fine': 'label'}, (8, 8))
        assert decoded.arrays['test_images'].shape == (2, 8, 8, 3)
        assert decoded.classes == {'fine': ['a', 'b', 'c', 'd']}
        return decoded.arrays['train_fine'].tolist()

    assert labels() == labels() == [0, 1, 2, 3, 0, 1, 2]
    assert len(read) == 9
    (folder / 'some_set-train.array_record').write_text('changed')
    assert labels() == [0, 1, 2, 3, 0, 1, 2]
    assert len(read) == 18
    (folder / 'some_set-train.array_record').write_text('CHANGED')  # of the same size
    os.utime(folder / 'some_set-train.array_record', (0, 0))
    labels()
    assert len(read) == 27
    counts['test'] = 3
    (folder / 'some_set-train.array_record').write_text('changed again')
    with pytest.raises(UserError, match=r"'test' has 3 images and not 2.*delete that folder"):
        labels()


# tensorflow-datasets itself, in a process of its own

ASK = """
import sys
sys.path.insert(0, 'tests/data')
from test_sources import config
from cifar_jax.data import sources
from cifar_jax.errors import UserError

for name in sys.argv[2:]:
    try:
        sources.load(config(source=f'tfds:{name}', dir=sys.argv[1]))
    except UserError as error:
        print(error)
    print('tensorflow' in sys.modules)
"""


@pytest.mark.slow
def test_what_is_not_prepared_is_looked_up_and_without_a_network_one_sentence(tmp_path):
    messages = {
        'mnits': "has no 'mnits', and none is prepared: did you mean 'mnist'?",
        'MNIST': "did you mean 'mnist'?",
        'zzzzzzzz': 'https://www.tensorflow.org/datasets',
        'mnist/grey': "'mnist' has no config 'grey': write 'tfds:mnist'.",
        'mnist_corrupted/fogg': "has no config 'fogg': did you mean 'fog'?",
        'imdb_reviews': "'imdb_reviews' is not a set of images with one class each",
        'dsprites': 'its class is not clear from its features',
    }
    unavailable = ('svhn_cropped', 'mnist', 'mnist_corrupted/fog')
    names = ('http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY')
    proxy = dict.fromkeys(names, 'http://127.0.0.1:9')
    done = run(ASK, tmp_path, *messages, *unavailable, no_proxy='', NO_PROXY='', **proxy)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1::2] == ['False'] * len(lines[1::2])  # No TensorFlow was needed.
    sentences = lines[::2]
    for sentence, words in zip(sentences, messages.values(), strict=False):
        assert words in sentence
    for sentence, name in zip(sentences[len(messages) :], unavailable, strict=True):
        assert f"'{name}' is not in {tmp_path} and cannot be downloaded" in sentence
        assert '--config.data.dir' in sentence


MADE_UP = """
import contextlib
import json
import shutil
import sys
sys.path.insert(0, 'tests/data')
from pathlib import Path
from unittest import mock
import numpy as np
from PIL import Image
from test_sources import config
from cifar_jax.data import decoding, image_files, records, sources
from cifar_jax.data.arrays import Arrays, digest
from cifar_jax.errors import UserError

tfds = decoding.tensorflow_datasets()
rng = np.random.default_rng(0)
folder = sys.argv[1]


def define(own, shape, pictures, splits, unlabelled=None):
    class MadeUp(tfds.core.GeneratorBasedBuilder):
        name = own
        VERSION = tfds.core.Version('1.0.0')

        def _info(self):
            features = {
                'picture': tfds.features.Image(shape=shape),
                'kind': tfds.features.ClassLabel(names=['cat', 'dog']),
                'mask': tfds.features.Tensor(shape=(2,), dtype=np.float32),
            }
            features = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {split: self._generate_examples(split) for split in splits}

        def _generate_examples(self, split):
            for i, picture in enumerate(pictures):
                kind = -1 if split == unlabelled else i % 2
                yield i, {'picture': picture, 'kind': kind, 'mask': [0.0, 1.0]}

    return MadeUp


def check(name, pictures, size, image_size, resize='stretch', **keys):
    keys |= dict(image_size=image_size, resize=resize)
    data = sources.load(config(source=f'tfds:{name}', dir=folder, **keys))
    assert data.classes == ('cat', 'dog')
    expected = {}
    for i, picture in enumerate(pictures):
        image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
        image = image.convert('RGB')
        if resize == 'stretch':
            image = image.resize(size, Image.Resampling.BILINEAR)
        else:
            image = image_files.pixels(image, size, resize)
        expected[np.asarray(image).tobytes()] = i % 2
    for part in (data.train, data.test):
        assert (part.images.dtype, part.labels.dtype) == (np.uint8, np.int32)
        assert part.images.shape == (len(pictures), *size, 3)
        # Preparing shuffles the records.
        pairs = zip(part.images, part.labels, strict=True)
        assert {image.tobytes(): int(label) for image, label in pairs} == expected
    return data.train.images


def picture(*shape):
    return rng.integers(0, 256, shape, np.uint8)


grey = [picture(28, 28, 1) for _ in range(12)]
define('made_up_grey', (28, 28, 1), grey, ['train', 'validation'])
check('made_up_grey', grey, (28, 28), 0)
check('made_up_grey', grey, (14, 14), 14)
sizes = [picture(10 + i, 30 - i, 3) for i in range(12)]
define('made_up_sizes', (None, None, 3), sizes, ['train', 'test'])
check('made_up_sizes', sizes, (16, 16), 16)
check('made_up_sizes', sizes, (16, 16), 16, 'crop')
check('made_up_sizes', sizes, (12, 12), 12, memory_gb=1e-9)
in_records = define('made_up_records', (None, None, 3), sizes, ['train', 'test'])
with contextlib.redirect_stdout(sys.stderr):
    in_records(data_dir=folder, file_format='array_record').download_and_prepare()
streamed, kept, there = (
    check('made_up_records', sizes, (16, 16), 16, memory_gb=gb) for gb in (1e-9, 1e-9, 1.0)
)
assert (type(streamed), type(there)) == (records.Records, np.ndarray)
labels = np.zeros(len(sizes), np.int32)
assert len({digest(Arrays(images, labels)) for images in (streamed, kept, there)}) == 1
secret = define('secret_records', (28, 28, 1), grey, ['train', 'test'], unlabelled='test')
with contextlib.redirect_stdout(sys.stderr):
    secret(data_dir=folder, file_format='array_record').download_and_prepare()
with mock.patch.object(records, 'write', side_effect=OSError('the disk is full')):
    try:
        check('made_up_grey', grey, (9, 9), 9, memory_gb=1e-9)
    except UserError as error:
        print(error)
record, = Path(folder, 'made_up_records/1.0.0').glob('*-train*')
content = bytearray(record.read_bytes())
content[400] ^= 1
record.write_bytes(content)
for read in (
    lambda: sources.load(config(source='tfds:secret_records', dir=folder, memory_gb=1e-9)),
    lambda: streamed[:],
    lambda: check('made_up_records', sizes, (12, 12), 12, memory_gb=1e-9),
):
    try:
        read()
    except UserError as error:
        print(error)
define('made_up_secret', (28, 28, 1), grey, ['train', 'test'], unlabelled='test')
define('made_up_count', (28, 28, 1), grey, ['train', 'test'])
check('made_up_count', grey, (28, 28), 0)
shutil.rmtree(Path(folder, 'made_up_count/1.0.0/cifar_jax-v1'))
for claimed in (11, 13):
    info = Path(folder, 'made_up_count/1.0.0/dataset_info.json')
    stored = json.loads(info.read_text())
    next(split for split in stored['splits'] if split['name'] == 'test')['shardLengths'] = [claimed]
    info.write_text(json.dumps(stored))
    try:
        sources.load(config(source='tfds:made_up_count', dir=folder))
    except UserError as error:
        print(error)
try:
    sources.load(config(source='tfds:made_up_secret', dir=folder))
except UserError as error:
    print(error)
"""


@pytest.mark.slow
def test_made_up_sets_are_prepared_decoded_and_then_found_without_tensorflow(tmp_path):
    done = run(MADE_UP, tmp_path)
    assert done.returncode == 0, done.stderr
    full, unlabelled, *damaged, _, _, sentence = done.stdout.splitlines()
    assert 'cannot be written to files to stream them (the disk is full)' in full
    assert f"'test' of {tmp_path / 'secret_records' / '1.0.0'} has images without" in unlabelled
    assert len(damaged) == 2  # read, and opened at another size
    for line in damaged:
        assert f'set in {tmp_path / "made_up_records" / "1.0.0"} cannot be read' in line
    miscounted = done.stdout.splitlines()[4:-1]
    assert len(miscounted) == 2
    for line in miscounted:
        assert f'set in {tmp_path / "made_up_count" / "1.0.0"} cannot be read' in line
    assert f"'test' of {tmp_path / 'made_up_secret' / '1.0.0'} has images without" in sentence
    done = run(ASK, tmp_path, 'made_up_grey')
    assert done.stdout.splitlines() == ['False'], done.stderr
