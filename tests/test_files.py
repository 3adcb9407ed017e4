"""Atomic writes, and readers that neither crash nor exhaust memory on hostile files."""

import json
import os
import struct
import zipfile

import numpy as np
import pytest

from cifar_jax import files
from cifar_jax.files import FileError, MissingFileError

ARRAYS = {'a': np.arange(6, dtype=np.float32).reshape(2, 3), 'name': np.array('text')}


@pytest.fixture
def npz(tmp_path):
    """An .npz file that `files` wrote."""
    path = tmp_path / 'arrays.npz'
    files.write_arrays(path, ARRAYS)
    return path


def test_compressed_arrays_take_less_space_and_are_read_like_others(tmp_path):
    zeros = {'zeros': np.zeros(10_000, np.float32), **ARRAYS}
    plain, small = tmp_path / 'plain.npz', tmp_path / 'small.npz'
    files.write_arrays(plain, zeros)
    files.write_arrays(small, zeros, compressed=True)
    assert small.stat().st_size < plain.stat().st_size / 10
    for name, array in files.read_arrays(small).items():
        np.testing.assert_array_equal(array, zeros[name])


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / 'new' / 'file.txt'
    files.write(path, 'first')
    files.write(path, 'second')
    assert path.read_text() == 'second'
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / 'file.txt'
    files.write(path, 'first')

    def full(descriptor: int) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(files.os, 'fsync', full)
    with pytest.raises(OSError, match='No space') as caught:
        files.write(path, 'second')
    assert caught.value.filename == str(path)
    assert path.read_text() == 'first'
    assert list(tmp_path.iterdir()) == [path]


def test_drafts_of_killed_processes_are_removed_and_nothing_else(tmp_path):
    (tmp_path / 'tmpabc.tmp').write_text('half')
    (tmp_path / 'folder.tmp').mkdir()
    (tmp_path / 'config.json').write_text('{}')
    files.remove_temporary(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {'config.json', 'folder.tmp'}


@pytest.mark.parametrize('number', [float('nan'), float('inf')])
def test_json_never_holds_nan_or_infinity(tmp_path, number):
    path = tmp_path / 'value.json'
    with pytest.raises(ValueError, match='not JSON compliant'):
        files.write_json(path, {'loss': number})
    assert not path.exists()


def test_json_is_read_back(tmp_path):
    files.write_json(tmp_path / 'value.json', {'a': [1, 2.5, None]})
    assert files.read_json(tmp_path / 'value.json') == {'a': [1, 2.5, None]}


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        ('[1]', 'holds a list'),
        ('7', 'holds a int'),
        ('{"a": ', 'is damaged'),
        ('[' * 100_000, 'is damaged'),
        ('{"a": ' + '9' * 5000 + '}', 'is damaged'),
    ],
    ids=['list', 'number', 'cut', 'deep', 'long number'],
)
def test_json_that_is_no_object_is_a_sentence(tmp_path, content, reason):
    path = tmp_path / 'value.json'
    path.write_text(content)
    with pytest.raises(FileError, match=reason):
        files.read_json(path)


def test_json_that_is_no_text_is_a_sentence(tmp_path):
    path = tmp_path / 'value.json'
    path.write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(FileError, match='is damaged'):
        files.read_json(path)


def test_huge_json_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / 'value.json'
    with path.open('wb') as file:
        file.truncate(2**40)
    with pytest.raises(FileError, match='larger than 64 MiB'):
        files.read_json(path)


@pytest.mark.parametrize('read', [files.read_json, files.read_arrays])
def test_what_is_no_regular_file_is_not_opened(tmp_path, read):
    os.mkfifo(tmp_path / 'pipe')
    for path in (tmp_path / 'pipe', tmp_path):
        with pytest.raises(FileError, match='is not a regular file'):
            read(path)
    with pytest.raises(MissingFileError, match='absent is missing'):
        read(tmp_path / 'absent')


def test_arrays_are_read_back_to_the_bit(npz):
    read = files.read_arrays(npz)
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


def test_arrays_that_others_compressed_are_read(tmp_path):
    path = tmp_path / 'compressed.npz'
    np.savez_compressed(path, **ARRAYS)
    np.testing.assert_array_equal(files.read_arrays(path)['a'], ARRAYS['a'])


def test_an_archive_that_claims_terabytes_takes_no_memory(npz):
    content = bytearray(npz.read_bytes())
    central = content.index(b'PK\x01\x02')
    content[central + 24 : central + 28] = struct.pack('<I', 2**32 - 2)
    npz.write_bytes(content)
    with pytest.raises(FileError, match='far more than its size'):
        files.read_arrays(npz)


def test_an_array_whose_own_header_claims_terabytes_takes_no_memory(npz):
    header = {'descr': '<f4', 'fortran_order': False, 'shape': (2**20, 2**20)}
    with zipfile.ZipFile(npz, 'w') as archive, archive.open('a.npy', 'w') as stream:
        np.lib.format.write_array_header_1_0(stream, header)
    with pytest.raises(FileError, match=r'a\.npy does not hold float32'):
        files.read_arrays(npz)


def test_an_encrypted_archive_is_a_sentence(npz):
    content = bytearray(npz.read_bytes())
    for place, offset in ((content.index(b'PK\x03\x04'), 6), (content.index(b'PK\x01\x02'), 8)):
        content[place + offset] |= 1
    npz.write_bytes(content)
    with pytest.raises(FileError, match='is encrypted'):
        files.read_arrays(npz)


def test_pickled_objects_are_never_loaded(npz):
    np.savez(npz, a=np.array([{'a': 1}], dtype=object))
    with pytest.raises(FileError, match='does not hold object'):
        files.read_arrays(npz)


def test_no_damage_to_any_byte_is_a_traceback(npz):
    """Each byte of the file is replaced in turn, and the file cut there."""
    whole = npz.read_bytes()
    for place in range(len(whole)):
        for content in (
            whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :],
            whole[:place],
        ):
            npz.write_bytes(content)
            try:
                read = files.read_arrays(npz)
            except FileError:
                continue
            for name in read.keys() & ARRAYS.keys():
                np.testing.assert_array_equal(read[name], ARRAYS[name])


def test_a_file_that_may_not_be_read_is_a_sentence(tmp_path, monkeypatch):
    path = tmp_path / 'value.json'
    path.write_text(json.dumps({}))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(type(path), 'open', refuse)
    with pytest.raises(FileError, match=r'cannot be read \(Permission denied\)'):
        files.read_json(path)
