"""Official CIFAR archives: reading them, and errors of damaged or unsafe ones."""

import hashlib
import io
import os
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from cifar_jax.data import archives, records, sources
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults

KINDS = ('cifar-10-binary', 'cifar-100-binary', 'cifar-10-python', 'cifar-100-python')
BATCHES = [*(f'data_batch_{number}' for number in range(1, 6)), 'test_batch']
SIZE = 2  # images in a file


def truth(kind):
    """Returns name of file -> (images uint8[n h w c], fine labels, coarse labels)."""
    rng = np.random.default_rng(0)
    hundred = '-100-' in kind
    files = ['train', 'test'] if hundred else BATCHES
    return {
        file: (
            rng.integers(0, 256, (SIZE, 32, 32, 3), np.uint8),
            rng.integers(0, 100 if hundred else 10, SIZE),
            rng.integers(0, 20, SIZE),
        )
        for file in files
    }


def contents(kind):
    """Returns name of file -> bytes, as the archive's own description has them."""
    hundred, binary = '-100-' in kind, kind.endswith('binary')
    names = {'fine': [f'c{i}' for i in range(100 if hundred else 10)]}
    if hundred:
        names['coarse'] = [f's{i}' for i in range(20)]
    content = {'readme.html': b'words'}
    for file, (images, fine, coarse) in truth(kind).items():
        planes = [np.concatenate([image[:, :, c].ravel() for c in range(3)]) for image in images]
        if binary:
            heads = [[c, f] if hundred else [f] for f, c in zip(fine, coarse, strict=True)]
            records = (bytes(map(int, h)) + p.tobytes() for h, p in zip(heads, planes, strict=True))
            content[f'{file}.bin'] = b''.join(records)
            continue
        value = {b'data': np.stack(planes), b'filenames': [b'a.png'] * SIZE}
        keys = {b'fine_labels': fine, b'coarse_labels': coarse} if hundred else {b'labels': fine}
        value |= {key: [int(label) for label in labels] for key, labels in keys.items()}
        content[file] = pickle.dumps(value, protocol=2)
    if binary:
        files = {'fine': 'fine_label_names.txt', 'coarse': 'coarse_label_names.txt'}
        files_of_names = files if hundred else {'fine': 'batches.meta.txt'}
        return content | {files_of_names[k]: '\n'.join([*v, '']).encode() for k, v in names.items()}
    keys = {k: f'{k}_label_names'.encode() if hundred else b'label_names' for k in names}
    meta = {keys[k]: [name.encode() for name in v] for k, v in names.items()}
    return content | {'meta' if hundred else 'batches.meta': pickle.dumps(meta, protocol=2)}


def written(path, files, *, folder='cifar/', mode='w:gz'):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f'{folder}{name}')
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def config(path, **changes):
    data = get_defaults().data
    data.update(source=f'archive:{path}', **changes)
    return data


def refusal(path):
    with pytest.raises(UserError) as error:
        archives.load(path)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('extracted', [False, True])
@pytest.mark.parametrize('kind', KINDS)
def test_every_archive_and_its_folder_give_its_images_in_order(tmp_path, kind, extracted):
    path = tmp_path / f'{kind}.tar.gz'
    if extracted:
        path = tmp_path / 'above'
        (path / 'cifar').mkdir(parents=True)
        for name, content in contents(kind).items():
            (path / 'cifar' / name).write_bytes(content)
    else:
        written(path, contents(kind))
    kinds = ('fine', 'coarse') if '-100-' in kind else ('fine',)
    *train, test = truth(kind).values()
    for place, labels in enumerate(kinds, 1):
        data = sources.load(config(path, labels=labels))
        for actual, parts in ((data.train, train), (data.test, [test])):
            assert (actual.images.dtype, actual.labels.dtype) == (np.uint8, np.int32)
            np.testing.assert_array_equal(actual.images, np.concatenate([p[0] for p in parts]))
            np.testing.assert_array_equal(actual.labels, np.concatenate([p[place] for p in parts]))
        assert data.classes[1] == {'fine': 'c1', 'coarse': 's1'}[labels]
        assert len(data.classes) == {'fine': 10 ** len(kinds), 'coarse': 20}[labels]


def test_an_archive_is_resized_where_a_size_is_requested(tmp_path):
    path = written(tmp_path / 'a.tar.gz', contents(KINDS[0]))
    data = sources.load(config(path, image_size=20))
    images = np.concatenate([images for images, _, _ in [*truth(KINDS[0]).values()][:-1]])
    for actual, image in zip(data.train.images, images, strict=True):
        expected = Image.fromarray(image).resize((20, 20), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(actual, np.asarray(expected))


def test_a_resized_archive_that_exceeds_the_memory_is_streamed_from_files(tmp_path):
    path = written(tmp_path / 'a.tar.gz', contents(KINDS[0]))
    keys = dict(image_size=20, dir=str(tmp_path / 'data'))
    there, streamed = (sources.load(config(path, **keys, memory_gb=gb)) for gb in (1.0, 1e-6))
    for expected, part in ((there.train, streamed.train), (there.test, streamed.test)):
        assert isinstance(part.images, records.Records)
        np.testing.assert_array_equal(part.images[:], expected.images)
        np.testing.assert_array_equal(part.labels, expected.labels)


def test_each_way_to_resize_a_streamed_archive_has_files_of_its_own(tmp_path):
    path = written(tmp_path / 'a.tar.gz', contents(KINDS[0]))
    keys = dict(dir=str(tmp_path / 'data'), memory_gb=1e-6)
    ways = [(20, 'stretch'), (20, 'crop'), (24, 'stretch')]
    sets = [sources.load(config(path, image_size=size, resize=way, **keys)) for size, way in ways]
    assert [data.train.images.shape[1] for data in sets] == [20, 20, 24]
    assert (sets[0].train.images[:] != sets[1].train.images[:]).any()


def test_cifar10_has_no_coarse_labels(tmp_path):
    path = written(tmp_path / 'a.tar.gz', contents(KINDS[0]))
    with pytest.raises(UserError, match='has no coarse labels'):
        sources.load(config(path, labels='coarse'))


@pytest.mark.parametrize('source', ['archive:', 'archiv:/tmp', 'cifar10:/tmp'])
def test_an_impossible_source_is_refused(source):
    data = get_defaults().data
    data.source = source
    with pytest.raises(UserError, match=f"data.source='{source}' is not valid"):
        sources.check(data)


class Code:
    """Unpickled, it would make a file."""

    def __reduce__(self):
        return os.mkdir, ('made-by-a-pickle',)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = contents(KINDS[2]) | {'data_batch_3': pickle.dumps({b'data': Code()}, protocol=2)}
    message = refusal(written(tmp_path / 'a.tar.gz', files))
    assert 'data_batch_3: it asks for posix.mkdir' in message or 'nt.mkdir' in message
    assert not (tmp_path / 'made-by-a-pickle').exists()


@pytest.mark.parametrize('folder', ['../', 'cifar/../../', '/'])
def test_an_archive_that_points_out_of_its_folder_is_refused(tmp_path, folder):
    path = written(tmp_path / 'a.tar.gz', contents(KINDS[0]), folder=folder)
    assert 'points out of its folder' in refusal(path)


def test_an_archive_with_a_link_is_refused(tmp_path):
    path = tmp_path / 'a.tar'
    with tarfile.open(path, 'w') as archive:
        member = tarfile.TarInfo('cifar/train.bin')
        member.type, member.linkname = tarfile.SYMTYPE, '/etc/passwd'
        archive.addfile(member)
    assert 'is a link' in refusal(path)


def test_an_archive_with_a_file_of_absurd_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, 'LARGEST', 1000)
    assert 'claims 6,146 bytes' in refusal(written(tmp_path / 'a.tar.gz', contents(KINDS[0])))


@pytest.mark.parametrize('share', [0.0, 0.3, 0.9])
def test_a_truncated_archive_is_refused(tmp_path, share):
    path = written(tmp_path / 'a.tar.gz', contents(KINDS[1]))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert 'is damaged' in refusal(path)


def test_a_flipped_bit_never_loads_other_images(tmp_path):
    path = written(tmp_path / 'a.tar.gz', contents(KINDS[0]))
    content = path.read_bytes()
    expected = archives.load(path)
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.choice(len(content), 60, replace=False):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            arrays = archives.load(path).arrays
        except UserError:
            refused += 1
            continue
        for name, array in expected.arrays.items():
            np.testing.assert_array_equal(arrays[name], array)
    assert refused >= 55  # the rest are bits of gzip's header, such as its time


def test_a_damaged_checksum_is_refused(tmp_path):
    path = written(tmp_path / 'a.tar.gz', contents(KINDS[0]))
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # the CRC stands before the length, four bytes each
    path.write_bytes(content)
    assert 'is damaged (CRC check failed' in refusal(path)


@pytest.mark.parametrize('mode', ['w', 'w:bz2', 'w:xz'])
def test_an_archive_packed_again_is_read(tmp_path, mode):
    path = written(tmp_path / 'a.tar', contents(KINDS[0]), mode=mode)
    expected = archives.load(written(tmp_path / 'a.tar.gz', contents(KINDS[0])))
    for name, array in archives.load(path).arrays.items():
        np.testing.assert_array_equal(array, expected.arrays[name])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert 'is damaged' in refusal(path)


@pytest.mark.parametrize('kind', [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_name_of_a_gigabyte_is_refused_before_it_takes_memory(tmp_path, kind):
    member = tarfile.TarInfo('name')
    member.type, member.size = kind, 10**9
    with tarfile.open(tmp_path / 'a.tar', 'w') as archive:
        archive.addfile(tarfile.TarInfo('data_batch_1.bin'))
        archive.fileobj.write(member.tobuf())
    assert 'is damaged (a name of 1,000,000,000 bytes)' in refusal(tmp_path / 'a.tar')


def test_an_archive_with_much_behind_its_last_file_is_refused(tmp_path, monkeypatch):
    path = written(tmp_path / 'a.tar', contents(KINDS[0]), mode='w')
    with path.open('ab') as file:
        file.truncate(path.stat().st_size + 3 * 2**20)
    assert archives.load(path)
    monkeypatch.setattr(archives, 'LARGEST', 2**20)
    assert 'much follows its last file' in refusal(path)


@pytest.mark.parametrize('official', [True, False])
def test_an_official_name_with_another_md5_is_reported_and_read(
    tmp_path, monkeypatch, caplog, official
):
    path = written(tmp_path / 'cifar-10-binary.tar.gz', contents(KINDS[0]))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    if official:
        monkeypatch.setitem(archives.MD5, path.name, md5)
    assert len(archives.load(path).arrays['test_fine']) == SIZE
    words = f'is not the archive that {archives.PAGE} publishes (its MD5 is {md5}'
    assert (words in caplog.text) == (not official)


@pytest.mark.parametrize(
    ('kind', 'changes', 'words'),
    [
        (
            0,
            {'data_batch_2.bin': b'x' * 3074},
            'data_batch_2.bin has 3,074 bytes, not whole',
        ),
        (0, {'test_batch.bin': b''}, 'test_batch.bin has 0 bytes'),
        (0, {'test_batch.bin': b'\x0a' * 3073}, 'test_batch.bin has fine labels beyond 0 to 9'),
        (1, {'test.bin': b'\x14' * 3074}, 'test.bin has coarse labels beyond 0 to 19'),
        (0, {'batches.meta.txt': b'a\nb\n'}, 'does not name 10 fine classes'),
        (2, {'test_batch': b'no pickle'}, 'test_batch: '),
        (2, {'test_batch': pickle.dumps([1], 2)}, 'test_batch is not a dictionary'),
        (2, {'test_batch': pickle.dumps({'data': 1}, 2)}, 'no uint8 array'),
        (2, {'test_batch': pickle.dumps({'data': np.ones((2, 3072), 'u1')}, 2)}, 'list of labels'),
        (
            2,
            {'test_batch': pickle.dumps({'data': np.ones((2, 3072), 'u1'), 'labels': [1]}, 2)},
            '2 images and 1 labels',
        ),
        (
            2,
            {'test_batch': pickle.dumps({'data': np.ones((1, 3072), 'u1'), 'labels': [-1]}, 2)},
            'labels beyond 0 to 9',
        ),
        (0, {'train.bin': b'x'}, 'several CIFAR archives'),
        (0, {'test_batch': b'x'}, 'several CIFAR archives'),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path, kind, changes, words):
    path = written(tmp_path / 'a.tar.gz', contents(KINDS[kind]) | changes)
    assert words in refusal(path)


@pytest.mark.parametrize('kind', KINDS)
def test_a_missing_file_is_named(tmp_path, kind):
    files = contents(kind)
    name = next(name for name in files if name.startswith(('data_batch_1', 'train')))
    del files[name]
    assert f'{name} is missing' in refusal(written(tmp_path / 'a.tar.gz', files))


def test_no_archive_and_no_cifar_are_one_sentence(tmp_path):
    assert 'There is no archive' in refusal(tmp_path / 'a.tar.gz')
    assert 'holds no CIFAR' in refusal(tmp_path)
    assert 'holds no CIFAR' in refusal(written(tmp_path / 'b.tar.gz', {'a.txt': b'x'}))
    (tmp_path / 'c.tar.gz').write_bytes(b'no archive')
    assert 'is damaged' in refusal(tmp_path / 'c.tar.gz')
